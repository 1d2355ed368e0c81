//! What is done to each row by itself, in place: affine maps, norms, activations, softmax, turning channels.

use crate::model::arch::network::layer::Activation;

/// `(x - center) * scale + shift` over the last dimension.
pub(super) struct Affine {
    pub(super) center: Vec<f32>,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) then: Option<Activation>,
}

impl Affine {
    pub(super) fn run(&self, mut values: Vec<f32>) -> Vec<f32> {
        for row in values.chunks_exact_mut(self.center.len().max(1)) {
            for (((value, center), scale), shift) in row.iter_mut().zip(&self.center).zip(&self.scale).zip(&self.shift)
            {
                *value = (*value - center) * scale + shift;
            }
            if let Some(function) = self.then {
                apply(row, function);
            }
        }
        values
    }
}

/// Layer norm over so many numbers at a time as there are weights. Mean and variance are summed in `f64`.
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
    pub(super) epsilon: f64,
}

impl Norm {
    pub(super) fn run(&self, mut values: Vec<f32>) -> Vec<f32> {
        for row in values.chunks_exact_mut(self.weight.len().max(1)) {
            self.normalise(row);
        }
        values
    }

    #[expect(clippy::cast_precision_loss, reason = "a row has fewer elements than f64 counts exactly")]
    fn normalise(&self, row: &mut [f32]) {
        let count = row.len() as f64;
        let mean = row.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let squares = row.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
        let spread = 1.0 / (squares / count + self.epsilon).sqrt();
        for (value, weight) in row.iter_mut().zip(&self.weight) {
            *value = narrow((f64::from(*value) - mean) * spread) * weight;
        }
        for (value, bias) in row.iter_mut().zip(self.bias.iter().flatten()) {
            *value += bias;
        }
    }
}

/// Turns each `[first, second]` matrix into `[second, first]`: channels from the front to the back, or back again.
pub(super) struct Turn {
    pub(super) first: usize,
    pub(super) second: usize,
}

impl Turn {
    pub(super) fn run(&self, values: &[f32]) -> Vec<f32> {
        let mut turned = Vec::with_capacity(values.len());
        for matrix in values.chunks_exact((self.first * self.second).max(1)) {
            for column in 0..self.second {
                turned.extend(matrix.iter().skip(column).step_by(self.second));
            }
        }
        turned
    }
}

/// Applies a function to every number.
pub(super) fn activate(mut values: Vec<f32>, function: Activation) -> Vec<f32> {
    apply(&mut values, function);
    values
}

/// Applies a function to every number, in place. NaN stays NaN.
pub(super) fn apply(values: &mut [f32], function: Activation) {
    match function {
        Activation::Relu => each(values, |x| if x < 0.0 { 0.0 } else { x }),
        Activation::Gelu => each(values, gelu),
        Activation::GeluTanh => each(values, gelu_tanh),
        Activation::Silu => each(values, |x| x / (1.0 + (-x).exp())),
        Activation::Tanh => each(values, f32::tanh),
        Activation::Sigmoid => each(values, |x| 1.0 / (1.0 + (-x).exp())),
    }
}

fn each(values: &mut [f32], function: impl Fn(f32) -> f32) {
    for value in values {
        *value = function(*value);
    }
}

/// `x * Phi(x)`, torch's `gelu`.
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + candle_core::cpu::erf::erf_f32(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// torch's `gelu(approximate="tanh")`.
fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + (SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x)).tanh())
}

/// Softmax over `width` numbers at a time; the largest is subtracted first, so that nothing overflows.
pub(super) fn softmax(mut values: Vec<f32>, width: usize) -> Vec<f32> {
    for row in values.chunks_exact_mut(width.max(1)) {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for value in row.iter_mut() {
            *value = (*value - top).exp();
            sum += *value;
        }
        for value in row.iter_mut() {
            *value /= sum;
        }
    }
    values
}

#[expect(clippy::cast_possible_truncation, reason = "the result is f32; only sums are taken in f64")]
fn narrow(value: f64) -> f32 {
    value as f32
}
