//! Parts of networks written out in `f64`, one image at a time.

use super::folder::Tensors;

/// Numbers `[channels, height, width]`.
#[derive(Clone)]
pub(super) struct Volume {
    pub(super) dims: [usize; 3],
    pub(super) numbers: Vec<f64>,
}

impl Volume {
    pub(super) fn new(dims: [usize; 3], numbers: &[f32]) -> Self {
        Self { dims, numbers: numbers.iter().map(|number| f64::from(*number)).collect() }
    }

    fn at(&self, channel: usize, y: isize, x: isize) -> Option<f64> {
        let [_, height, width] = self.dims;
        let (y, x) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        (y < height && x < width).then(|| self.numbers[(channel * height + y) * width + x])
    }

    /// What `of` makes of the window at each place: a kernel's side, stride, and half the side as padding.
    fn slide(&self, channels: usize, side: usize, stride: usize, of: impl Fn(usize, isize, isize) -> f64) -> Self {
        let padding = side / 2;
        let places = |size: usize| (size + 2 * padding - side) / stride + 1;
        let [_, height, width] = self.dims;
        let dims = [channels, places(height), places(width)];
        let first = |place: usize| (place * stride).cast_signed() - padding.cast_signed();
        let mut numbers = Vec::new();
        for channel in 0..channels {
            for y in 0..dims[1] {
                numbers.extend((0..dims[2]).map(|x| of(channel, first(y), first(x))));
            }
        }
        Self { dims, numbers }
    }

    pub(super) fn convolve(&self, weights: &Weights<'_>, name: &str, stride: usize) -> Self {
        let (dims, weight) = weights.get(&format!("{name}.weight"));
        let (inputs, side) = (dims[1], dims[2]);
        self.slide(dims[0], side, stride, |output, top, left| {
            let mut sum = 0.0;
            for input in 0..inputs {
                for place in 0..side * side {
                    let (down, right) = ((place / side).cast_signed(), (place % side).cast_signed());
                    let value = self.at(input, top + down, left + right).unwrap_or(0.0);
                    sum += value * weight[(output * inputs + input) * side * side + place];
                }
            }
            sum
        })
    }

    pub(super) fn batch_norm(mut self, weights: &Weights<'_>, name: &str) -> Self {
        let part = |part: &str| weights.get(&format!("{name}.{part}")).1;
        let (mean, variance) = (part("running_mean"), part("running_var"));
        let (weight, bias) = (part("weight"), part("bias"));
        let places = self.dims[1] * self.dims[2];
        for (at, number) in self.numbers.iter_mut().enumerate() {
            let channel = at / places;
            let spread = (variance[channel] + 1e-5).sqrt();
            *number = (*number - mean[channel]) / spread * weight[channel] + bias[channel];
        }
        self
    }

    pub(super) fn pooled(&self) -> Self {
        self.slide(self.dims[0], 3, 2, |channel, top, left| {
            let places = (0..9).map(|place| self.at(channel, top + place / 3, left + place % 3));
            places.flatten().fold(f64::NEG_INFINITY, f64::max)
        })
    }

    pub(super) fn relu(mut self) -> Self {
        self.numbers.iter_mut().for_each(|number| *number = number.max(0.0));
        self
    }

    pub(super) fn plus(mut self, other: &Self) -> Self {
        assert_eq!(self.dims, other.dims);
        self.numbers.iter_mut().zip(&other.numbers).for_each(|(sum, number)| *sum += number);
        self
    }

    pub(super) fn means(&self) -> Vec<f64> {
        let places = self.dims[1] * self.dims[2];
        self.numbers.chunks(places).map(|channel| channel.iter().sum::<f64>() / places as f64).collect()
    }
}

/// Tensors in `f64`.
pub(super) struct Weights<'a>(pub(super) &'a Tensors);

impl Weights<'_> {
    pub(super) fn get(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let (dims, numbers) = self.0.get(name).unwrap_or_else(|| panic!("no tensor {name}"));
        (dims.clone(), numbers.iter().map(|number| f64::from(*number)).collect())
    }

    pub(super) fn linear(&self, name: &str, row: &[f64]) -> Vec<f64> {
        let (_, weight) = self.get(&format!("{name}.weight"));
        let bias = self.0.contains_key(&format!("{name}.bias")).then(|| self.get(&format!("{name}.bias")).1);
        let product = |(at, weights): (usize, &[f64])| dot(weights, row) + bias.as_ref().map_or(0.0, |bias| bias[at]);
        weight.chunks(row.len()).enumerate().map(product).collect()
    }

    pub(super) fn layer_norm(&self, name: &str, row: &[f64], epsilon: f64) -> Vec<f64> {
        let (weight, bias) = (self.get(&format!("{name}.weight")).1, self.get(&format!("{name}.bias")).1);
        let count = row.len() as f64;
        let mean = row.iter().sum::<f64>() / count;
        let variance = row.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / count;
        let spread = (variance + epsilon).sqrt();
        let norm = |(at, number): (usize, &f64)| (number - mean) / spread * weight[at] + bias[at];
        row.iter().enumerate().map(norm).collect()
    }
}

pub(super) fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

pub(super) fn softmax(row: &[f64]) -> Vec<f64> {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = row.iter().map(|number| (number - most).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|number| number / sum).collect()
}
