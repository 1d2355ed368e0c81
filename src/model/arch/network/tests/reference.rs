//! The layers written down as their definitions say, in `f64`, one row at a time, without any care for speed.

use std::collections::BTreeMap;

use crate::model::arch::network::layer::{Activation, Conv, Kind, Pooling, Window};

/// Tensors by name: shape and numbers.
pub(super) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A row: its dimensions and its numbers.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<f64>,
}

impl Row {
    fn of(dims: &[usize], values: Vec<f64>) -> Self {
        assert_eq!(dims.iter().product::<usize>(), values.len());
        Self { dims: dims.to_vec(), values }
    }

    /// As an image: channels, height, width; a row without height has height 1.
    fn image(&self) -> [usize; 3] {
        match self.dims.as_slice() {
            [channels, width] => [*channels, 1, *width],
            [channels, height, width] => [*channels, *height, *width],
            other => panic!("no image: {other:?}"),
        }
    }

    fn pixel(&self, channel: usize, y: i64, x: i64) -> Option<f64> {
        let [_, height, width] = self.image();
        let y = usize::try_from(y).ok().filter(|y| *y < height)?;
        let x = usize::try_from(x).ok().filter(|x| *x < width)?;
        Some(self.values[(channel * height + y) * width + x])
    }
}

/// The tensors of one layer, in `f64`.
struct Layer<'a> {
    tensors: &'a Tensors,
    position: usize,
}

impl Layer<'_> {
    fn dims(&self, part: &str) -> Vec<usize> {
        self.tensors[&format!("{}.{part}", self.position)].0.clone()
    }

    fn get(&self, part: &str) -> Option<Vec<f64>> {
        let (_, values) = self.tensors.get(&format!("{}.{part}", self.position))?;
        Some(values.iter().map(|value| f64::from(*value)).collect())
    }

    fn take(&self, part: &str) -> Vec<f64> {
        self.get(part).expect("a tensor")
    }

    fn take_or(&self, part: &str, count: usize, value: f64) -> Vec<f64> {
        self.get(part).unwrap_or_else(|| vec![value; count])
    }
}

/// Runs one layer, whose tensors are named by its position.
pub(super) fn layer(kind: Kind, position: usize, tensors: &Tensors, row: &Row) -> Row {
    let layer = Layer { tensors, position };
    let last = *row.dims.last().expect("a dimension");
    match kind {
        Kind::Dropout => row.clone(),
        Kind::Standardise => {
            let (mean, scale) = (layer.take("mean"), layer.take("scale"));
            let values = row.values.iter().enumerate().map(|(at, x)| (x - mean[at % last]) / scale[at % last]);
            Row::of(&row.dims, values.collect())
        }
        Kind::Linear => linear(&layer, row, last),
        Kind::Conv(how) => {
            let bias = layer.get("bias");
            convolve(how, &layer.dims("weight"), &layer.take("weight"), bias.as_deref(), row)
        }
        Kind::BatchNorm { epsilon } => batch_norm(&layer, epsilon, row),
        Kind::LayerNorm { epsilon } => layer_norm(&layer, epsilon, row),
        Kind::Pool { of, window } => pool(of, window, row),
        Kind::GlobalPool(of) => {
            let each = row.values.len() / row.dims[0];
            let values = row.values.chunks(each).map(|channel| reduce(of, channel.iter().copied(), each));
            Row::of(&row.dims[..1], values.collect())
        }
        Kind::Flatten => Row::of(&[row.values.len()], row.values.clone()),
        Kind::Activate(function) => Row::of(&row.dims, row.values.iter().map(|x| activate(function, *x)).collect()),
        Kind::Softmax => {
            let mut values = Vec::new();
            for group in row.values.chunks(last) {
                let top = group.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = group.iter().map(|x| (x - top).exp()).sum();
                values.extend(group.iter().map(|x| (x - top).exp() / sum));
            }
            Row::of(&row.dims, values)
        }
    }
}

fn linear(layer: &Layer<'_>, row: &Row, last: usize) -> Row {
    let outputs = layer.dims("weight")[0];
    let (weight, bias) = (layer.take("weight"), layer.take_or("bias", outputs, 0.0));
    let mut values = Vec::new();
    for features in row.values.chunks(last) {
        for (out, bias) in bias.iter().enumerate() {
            values.push(bias + (0..last).map(|at| weight[out * last + at] * features[at]).sum::<f64>());
        }
    }
    let mut to = row.dims.clone();
    *to.last_mut().expect("a dimension") = outputs;
    Row::of(&to, values)
}

fn batch_norm(layer: &Layer<'_>, epsilon: f64, row: &Row) -> Row {
    let channels = row.dims[0];
    let (mean, variance) = (layer.take("running_mean"), layer.take("running_var"));
    let (weight, bias) = (layer.take_or("weight", channels, 1.0), layer.take_or("bias", channels, 0.0));
    let each = row.values.len() / channels;
    let values = row.values.iter().enumerate().map(|(at, x)| {
        let channel = at / each;
        (x - mean[channel]) / (variance[channel] + epsilon).sqrt() * weight[channel] + bias[channel]
    });
    Row::of(&row.dims, values.collect())
}

fn layer_norm(layer: &Layer<'_>, epsilon: f64, row: &Row) -> Row {
    let weight = layer.take("weight");
    let bias = layer.take_or("bias", weight.len(), 0.0);
    let mut values = Vec::new();
    for group in row.values.chunks(weight.len()) {
        let count = group.len() as f64;
        let mean = group.iter().sum::<f64>() / count;
        let variance = group.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        for (at, x) in group.iter().enumerate() {
            values.push((x - mean) / (variance + epsilon).sqrt() * weight[at] + bias[at]);
        }
    }
    Row::of(&row.dims, values)
}

/// A window that moves over an image; the kernel is `[height, width]`.
struct Moving {
    flat: bool,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
    dilation: usize,
}

impl Moving {
    fn positions(&self, size: usize, kernel: usize) -> usize {
        (size + 2 * self.padding - self.dilation * (kernel - 1) - 1) / self.stride + 1
    }

    /// Height and width of what comes out of an image of this size.
    fn out(&self, height: usize, width: usize) -> [usize; 2] {
        let down = if self.flat { 1 } else { self.positions(height, self.kernel[0]) };
        [down, self.positions(width, self.kernel[1])]
    }

    /// The pixels of one channel under the window at a position, in the kernel's order; `None` in the padding.
    fn pixels(&self, row: &Row, channel: usize, [y, x]: [usize; 2]) -> Vec<Option<f64>> {
        let signed = |number: usize| i64::try_from(number).expect("small");
        let place = |at: usize, tap: usize| signed(at * self.stride + tap * self.dilation) - signed(self.padding);
        let mut pixels = Vec::new();
        for tap in 0..self.kernel[0] * self.kernel[1] {
            let (down, right) = (tap / self.kernel[1], tap % self.kernel[1]);
            let at = if self.flat { 0 } else { place(y, down) };
            pixels.push(row.pixel(channel, at, place(x, right)));
        }
        pixels
    }
}

fn convolve(how: Conv, dims: &[usize], weight: &[f64], bias: Option<&[f64]>, row: &Row) -> Row {
    let [channels, height, width] = row.image();
    let (outputs, of_group) = (dims[0], dims[1]);
    let flat = how.dimensions == 1;
    let kernel = if flat { [1, dims[2]] } else { [dims[2], dims[3]] };
    let window = Moving { flat, kernel, stride: how.stride, padding: how.padding, dilation: how.dilation };
    let [down, right] = window.out(height, width);
    let taps = kernel[0] * kernel[1];
    let mut values = Vec::new();
    for out in 0..outputs {
        let group = out / (outputs / how.groups);
        for position in 0..down * right {
            let mut sum = bias.map_or(0.0, |bias| bias[out]);
            for of in 0..of_group {
                let channel = group * (channels / how.groups) + of;
                let pixels = window.pixels(row, channel, [position / right, position % right]);
                let weights = &weight[(out * of_group + of) * taps..];
                sum += pixels.iter().zip(weights).map(|(pixel, weight)| pixel.unwrap_or(0.0) * weight).sum::<f64>();
            }
            values.push(sum);
        }
    }
    Row::of(&if flat { vec![outputs, right] } else { vec![outputs, down, right] }, values)
}

fn pool(of: Pooling, window: Window, row: &Row) -> Row {
    let [channels, height, width] = row.image();
    let flat = row.dims.len() == 2;
    let kernel = [if flat { 1 } else { window.kernel }, window.kernel];
    let moving = Moving { flat, kernel, stride: window.stride, padding: window.padding, dilation: 1 };
    let [down, right] = moving.out(height, width);
    let mut values = Vec::new();
    for channel in 0..channels {
        for position in 0..down * right {
            let pixels = moving.pixels(row, channel, [position / right, position % right]);
            values.push(reduce(of, pixels.iter().copied().flatten(), pixels.len()));
        }
    }
    Row::of(&if flat { vec![channels, right] } else { vec![channels, down, right] }, values)
}

fn reduce(of: Pooling, values: impl Iterator<Item = f64>, count: usize) -> f64 {
    match of {
        Pooling::Max => values.fold(f64::MIN, f64::max),
        Pooling::Average => values.sum::<f64>() / count as f64,
    }
}

fn activate(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Relu => x.max(0.0),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    }
}

/// The error function by its power series; beyond 5 it is 1 to twelve digits.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}
