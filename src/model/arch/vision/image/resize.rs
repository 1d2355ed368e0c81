//! Resizing as Pillow does it, bit for bit, and torchvision on 8-bit images within one level: two passes, each rounded.
//!
//! A pixel is the sum of those around its place, weighted by a filter that grows with the scale where an image becomes
//! smaller ("antialias"). Weights have 22 bits of fraction, `PRECISION_BITS` of Pillow's `Resample.c`.

use super::Picture;

const FRACTION: u32 = 22;

/// What weighs the pixels around a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model::arch::vision) enum Filter {
    Nearest,
    Box,
    Bilinear,
    Hamming,
    Bicubic,
    Lanczos,
}

/// Which pass comes first, where both are needed. It matters where a pass leaves the range of 8 bits and is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model::arch::vision) enum First {
    /// As in torchvision.
    Across,
    /// As in Pillow: what leaves less to do.
    Cheaper,
}

/// The picture with other sides, which are at least 1.
pub(in crate::model::arch::vision) fn resize(picture: &Picture, (width, height): (usize, usize), filter: Filter, first: First) -> Picture {
    if filter == Filter::Nearest {
        return nearest(picture, (width, height));
    }
    let across = (width != picture.width).then(|| Weights::new(filter, picture.width, width));
    let down = (height != picture.height).then(|| Weights::new(filter, picture.height, height));
    match (across, down) {
        (None, None) => picture.clone(),
        (Some(across), None) => across.across(picture),
        (None, Some(down)) => down.down(picture),
        (Some(across), Some(down)) if first == First::Cheaper && down.goes_first(&across, picture) => {
            across.across(&down.down(picture))
        }
        (Some(across), Some(down)) => down.down(&across.across(picture)),
    }
}

fn nearest(picture: &Picture, (width, height): (usize, usize)) -> Picture {
    // The middle of each new pixel, in half pixels of the picture.
    let place = |at: usize, new: usize, old: usize| ((2 * at + 1) * old / (2 * new)).min(old.saturating_sub(1));
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let line = picture.line(place(y, height, picture.height));
        for x in 0..width {
            pixels.extend_from_slice(line.get(place(x, width, picture.width)).unwrap_or(&[0; 3]));
        }
    }
    Picture { width, height, pixels }
}

/// For each new pixel: the first old one that counts, and the weights from it on.
struct Weights {
    firsts: Vec<usize>,
    weights: Vec<i32>,
    /// Weights for each new pixel; the last may be zero.
    each: usize,
}

impl Weights {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides are far below what f64 counts exactly, and weights within 2"
    )]
    fn new(filter: Filter, old: usize, new: usize) -> Self {
        let scale = old as f64 / new as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let each = (support.ceil() as usize * 2 + 1).min(old);
        let (mut firsts, mut weights) = (Vec::with_capacity(new), Vec::with_capacity(new * each));
        for at in 0..new {
            let center = (at as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(old);
            let exact: Vec<f64> = (first..end)
                .map(|old| filter.weight((old as f64 - center + 0.5) / stretch))
                .collect();
            let sum: f64 = exact.iter().sum();
            let whole = f64::from(1 << FRACTION);
            let rounded = exact.iter().map(|weight| (weight / sum * whole).round() as i32);
            firsts.push(first);
            weights.extend(rounded.chain(std::iter::repeat(0)).take(each));
        }
        Self { firsts, weights, each }
    }

    fn rows(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.firsts.iter().copied().zip(self.weights.chunks_exact(self.each.max(1)))
    }

    fn across(&self, picture: &Picture) -> Picture {
        let width = self.firsts.len();
        let mut pixels = Vec::with_capacity(width * picture.height * 3);
        for y in 0..picture.height {
            let line = picture.line(y);
            for (first, weights) in self.rows() {
                let mut sums = [1 << (FRACTION - 1); 3];
                for (pixel, weight) in line.get(first..).unwrap_or_default().iter().zip(weights) {
                    for (sum, value) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(*value) * weight;
                    }
                }
                pixels.extend(sums.map(clip));
            }
        }
        Picture { width, height: picture.height, pixels }
    }

    fn down(&self, picture: &Picture) -> Picture {
        let height = self.firsts.len();
        let stride = picture.width * 3;
        let mut pixels = Vec::with_capacity(stride * height);
        let mut sums = vec![0; stride];
        for (first, weights) in self.rows() {
            sums.fill(1 << (FRACTION - 1));
            let lines = picture.pixels.chunks_exact(stride.max(1)).skip(first);
            for (line, weight) in lines.zip(weights) {
                for (sum, value) in sums.iter_mut().zip(line) {
                    *sum += i32::from(*value) * weight;
                }
            }
            pixels.extend(sums.iter().map(|sum| clip(*sum)));
        }
        Picture { width: picture.width, height, pixels }
    }

    /// Is it cheaper to do these lines before those columns?
    fn goes_first(&self, across: &Self, picture: &Picture) -> bool {
        let (width, height) = (across.firsts.len(), self.firsts.len());
        let lines_first = picture.width * height * self.each + width * height * across.each;
        let columns_first = width * picture.height * across.each + width * height * self.each;
        lines_first < columns_first
    }
}

fn clip(sum: i32) -> u8 {
    u8::try_from((sum >> FRACTION).clamp(0, 255)).unwrap_or(0)
}

impl Filter {
    /// How far it reaches.
    fn support(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Nearest | Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming => hamming(x),
            Self::Bicubic => bicubic(x.abs()),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

fn hamming(x: f64) -> f64 {
    let x = x.abs() * std::f64::consts::PI;
    if x == 0.0 {
        1.0
    } else if x >= std::f64::consts::PI {
        0.0
    } else {
        x.sin() / x * (0.54 + 0.46 * x.cos())
    }
}

/// Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}
