//! Pooling of images that have their channels last.

use crate::model::arch::network::layer::{Pooling, Window};

/// Sizes of an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

impl Image {
    pub(super) fn elements(self) -> usize {
        self.height * self.width * self.channels
    }
}

/// A window that moves over an image, `[height, width]` each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) dilation: [usize; 2],
}

/// Pooling with a window; padding counts as zeros in an average and not at all in a maximum.
pub(super) struct Pool {
    pub(super) of: Pooling,
    pub(super) from: Image,
    pub(super) to: Image,
    pub(super) window: Move,
}

impl Pool {
    pub(super) fn new(of: Pooling, window: Window, from: Image, to: Image, flat: bool) -> Self {
        let Window { kernel, stride, padding } = window;
        let both = |size: usize, of_height: usize| [if flat { of_height } else { size }, size];
        let window =
            Move { kernel: both(kernel, 1), stride: both(stride, 1), padding: both(padding, 0), dilation: [1, 1] };
        Self { of, from, to, window }
    }

    #[expect(clippy::cast_precision_loss, reason = "a kernel has fewer elements than f32 counts exactly")]
    pub(super) fn run(&self, values: &[f32], rows: usize) -> Vec<f32> {
        let [kernel_height, kernel_width] = self.window.kernel;
        let count = (kernel_height * kernel_width) as f32;
        let start = if self.of == Pooling::Max { f32::NEG_INFINITY } else { 0.0 };
        let mut pooled = vec![start; rows * self.to.elements()];
        let places = pooled.chunks_exact_mut(self.to.elements().max(1));
        for (image, pooled) in values.chunks_exact(self.from.elements().max(1)).zip(places) {
            for (position, place) in pooled.chunks_exact_mut(self.to.channels.max(1)).enumerate() {
                let (y, x) = (position / self.to.width, position % self.to.width);
                self.reduce(image, [y, x], place);
                if self.of == Pooling::Average {
                    for value in place {
                        *value /= count;
                    }
                }
            }
        }
        pooled
    }

    /// Takes the window at one position into `place`, a number for each channel.
    fn reduce(&self, image: &[f32], at: [usize; 2], place: &mut [f32]) {
        let ([start_y, start_x], channels) = (self.window.start(at), self.from.channels);
        for down in 0..self.window.kernel[0] {
            for right in 0..self.window.kernel[1] {
                let y = self.window.inside(start_y + down, 0, self.from.height);
                let x = self.window.inside(start_x + right, 1, self.from.width);
                let (Some(y), Some(x)) = (y, x) else { continue };
                let first = (y * self.from.width + x) * channels;
                take(self.of, place, image.get(first..first + channels).unwrap_or_default());
            }
        }
    }
}

impl Move {
    /// Where the window begins, counted from the beginning of the padding.
    pub(super) fn start(&self, [y, x]: [usize; 2]) -> [usize; 2] {
        [y * self.stride[0], x * self.stride[1]]
    }

    /// A place counted from the beginning of the padding as a place in the image; `None` if it is in the padding.
    pub(super) fn inside(&self, padded: usize, dimension: usize, size: usize) -> Option<usize> {
        let padding = self.padding.get(dimension).copied().unwrap_or(0);
        padded.checked_sub(padding).filter(|place| *place < size)
    }
}

fn take(of: Pooling, place: &mut [f32], values: &[f32]) {
    match of {
        // A NaN wins, as in torch, and then stays: no comparison with it is true.
        Pooling::Max => place.iter_mut().zip(values).for_each(|(most, value)| {
            *most = if *value > *most || value.is_nan() { *value } else { *most };
        }),
        Pooling::Average => place.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
    }
}

/// Pooling over all positions of an image.
pub(super) struct Global {
    pub(super) of: Pooling,
    pub(super) positions: usize,
    pub(super) channels: usize,
}

impl Global {
    pub(super) fn run(&self, values: &[f32]) -> Vec<f32> {
        let images = values.chunks_exact((self.positions * self.channels).max(1));
        match self.of {
            Pooling::Max => images.flat_map(|image| self.most(image)).collect(),
            Pooling::Average => images.flat_map(|image| self.mean(image)).collect(),
        }
    }

    fn most(&self, image: &[f32]) -> Vec<f32> {
        let mut most = vec![f32::NEG_INFINITY; self.channels];
        for values in image.chunks_exact(self.channels.max(1)) {
            take(Pooling::Max, &mut most, values);
        }
        most
    }

    /// Summed in `f64`: an image may have many positions.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a mean of f32 is wanted as f32")]
    fn mean(&self, image: &[f32]) -> Vec<f32> {
        let mut sums = vec![0.0_f64; self.channels];
        for values in image.chunks_exact(self.channels.max(1)) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += f64::from(*value);
            }
        }
        sums.iter().map(|sum| (sum / self.positions as f64) as f32).collect()
    }
}
