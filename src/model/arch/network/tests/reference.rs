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

/// Runs one layer, whose tensors are named by its position.
pub(super) fn layer(kind: Kind, position: usize, tensors: &Tensors, row: &Row) -> Row {
    let tensor = |part: &str| tensors.get(&format!("{position}.{part}"));
    let wide = |part: &str| tensor(part).map(|(_, values)| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>());
    let last = *row.dims.last().expect("a dimension");
    match kind {
        Kind::Dropout => row.clone(),
        Kind::Standardise => {
            let (mean, scale) = (wide("mean").expect("mean"), wide("scale").expect("scale"));
            let values = row.values.iter().enumerate().map(|(at, x)| (x - mean[at % last]) / scale[at % last]);
            Row::of(&row.dims, values.collect())
        }
        Kind::Linear => {
            let (dims, weight) = (tensor("weight").expect("weight").0.clone(), wide("weight").expect("weight"));
            let bias = wide("bias").unwrap_or_else(|| vec![0.0; dims[0]]);
            let mut values = Vec::new();
            for features in row.values.chunks(last) {
                for (out, bias) in bias.iter().enumerate() {
                    values.push(bias + (0..last).map(|at| weight[out * last + at] * features[at]).sum::<f64>());
                }
            }
            let mut to = row.dims.clone();
            *to.last_mut().expect("a dimension") = dims[0];
            Row::of(&to, values)
        }
        Kind::Conv(how) => {
            let (dims, weight) = (tensor("weight").expect("weight").0.clone(), wide("weight").expect("weight"));
            convolve(how, &dims, &weight, wide("bias").as_deref(), row)
        }
        Kind::BatchNorm { epsilon } => {
            let (mean, variance) = (wide("running_mean").expect("mean"), wide("running_var").expect("variance"));
            let weight = wide("weight").unwrap_or_else(|| vec![1.0; mean.len()]);
            let bias = wide("bias").unwrap_or_else(|| vec![0.0; mean.len()]);
            let each = row.values.len() / row.dims[0];
            let values = row.values.iter().enumerate().map(|(at, x)| {
                let channel = at / each;
                (x - mean[channel]) / (variance[channel] + epsilon).sqrt() * weight[channel] + bias[channel]
            });
            Row::of(&row.dims, values.collect())
        }
        Kind::LayerNorm { epsilon } => {
            let weight = wide("weight").expect("weight");
            let bias = wide("bias").unwrap_or_else(|| vec![0.0; weight.len()]);
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

fn convolve(how: Conv, dims: &[usize], weight: &[f64], bias: Option<&[f64]>, row: &Row) -> Row {
    let [channels, height, width] = row.image();
    let (outputs, of_group) = (dims[0], dims[1]);
    let flat = how.dimensions == 1;
    let (kernel_height, kernel_width) = if flat { (1, dims[2]) } else { (dims[2], dims[3]) };
    let size = |size: usize, kernel: usize| (size + 2 * how.padding - how.dilation * (kernel - 1) - 1) / how.stride + 1;
    let (out_height, out_width) = (if flat { 1 } else { size(height, kernel_height) }, size(width, kernel_width));
    let place = |at: usize, tap: usize| {
        i64::try_from(at * how.stride + tap * how.dilation).expect("small") - i64::try_from(how.padding).expect("small")
    };
    let mut values = Vec::new();
    for out in 0..outputs {
        let group = out / (outputs / how.groups);
        for y in 0..out_height {
            for x in 0..out_width {
                let mut sum = bias.map_or(0.0, |bias| bias[out]);
                for of in 0..of_group {
                    for ky in 0..kernel_height {
                        for kx in 0..kernel_width {
                            let at = if flat { 0 } else { place(y, ky) };
                            let pixel = row.pixel(group * (channels / how.groups) + of, at, place(x, kx)).unwrap_or(0.0);
                            sum += pixel * weight[((out * of_group + of) * kernel_height + ky) * kernel_width + kx];
                        }
                    }
                }
                values.push(sum);
            }
        }
    }
    let to = if flat { vec![outputs, out_width] } else { vec![outputs, out_height, out_width] };
    Row::of(&to, values)
}

fn pool(of: Pooling, window: Window, row: &Row) -> Row {
    let [channels, height, width] = row.image();
    let flat = row.dims.len() == 2;
    let size = |size: usize| (size + 2 * window.padding - window.kernel) / window.stride + 1;
    let (out_height, out_width) = (if flat { 1 } else { size(height) }, size(width));
    let place = |at: usize, tap: usize| {
        i64::try_from(at * window.stride + tap).expect("small") - i64::try_from(window.padding).expect("small")
    };
    let taps_down = if flat { 1 } else { window.kernel };
    let mut values = Vec::new();
    for channel in 0..channels {
        for y in 0..out_height {
            for x in 0..out_width {
                let mut inside = Vec::new();
                for ky in 0..taps_down {
                    for kx in 0..window.kernel {
                        let at = if flat { 0 } else { place(y, ky) };
                        inside.extend(row.pixel(channel, at, place(x, kx)));
                    }
                }
                values.push(reduce(of, inside.into_iter(), taps_down * window.kernel));
            }
        }
    }
    let to = if flat { vec![channels, out_width] } else { vec![channels, out_height, out_width] };
    Row::of(&to, values)
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
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
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
