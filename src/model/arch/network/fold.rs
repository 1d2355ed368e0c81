//! Folds batch norms into the layer before them: a step less at each run, computed once in `f64`.

use super::plan::narrow;
use super::step::{Affine, Axis, Convolve, Linear, Residual, Step, Work};

/// Folds every affine step over channels into the convolution or linear layer right before it.
///
/// Standardisation at the input is not folded forward: with means far from zero, differences taken before the product
/// are exact where the folded form would cancel.
pub(super) fn fold(steps: Vec<Step>) -> Vec<Step> {
    let mut folded: Vec<Step> = Vec::with_capacity(steps.len());
    for mut step in steps {
        if let Work::Residual(Residual { main, shortcut }) = &mut step.work {
            for branch in [main, shortcut] {
                *branch = fold(std::mem::take(branch));
            }
        }
        let absorbed = match (folded.last_mut(), &step.work) {
            (Some(before), Work::Affine(affine)) => absorb(before, affine),
            _ => false,
        };
        if !absorbed {
            folded.push(step);
        }
    }
    folded
}

/// Changes the weights of `before` so that they do what `affine` does; `false` if they cannot.
fn absorb(before: &mut Step, affine: &Affine) -> bool {
    match &mut before.work {
        Work::Convolve(convolve) if affine.axis == Axis::Channel => absorb_convolve(convolve, affine),
        // The features of a linear layer are the last dimension, which is the channel in flat rows only.
        Work::Linear(linear) if affine.axis == Axis::Last || before.to.len() == 1 => absorb_linear(linear, affine),
        _ => return false,
    }
    true
}

fn absorb_linear(linear: &mut Linear, affine: &Affine) {
    for row in linear.weight.chunks_exact_mut(linear.outputs.max(1)) {
        for (weight, scale) in row.iter_mut().zip(&affine.scale) {
            *weight = narrow(f64::from(*weight) * f64::from(*scale));
        }
    }
    linear.bias = Some(shifted(linear.bias.take(), affine));
}

fn absorb_convolve(convolve: &mut Convolve, affine: &Affine) {
    let [_, of_group, height, width] = convolve.sizes;
    for (kernel, scale) in convolve.weight.chunks_exact_mut((of_group * height * width).max(1)).zip(&affine.scale) {
        for weight in kernel {
            *weight = narrow(f64::from(*weight) * f64::from(*scale));
        }
    }
    convolve.bias = Some(shifted(convolve.bias.take(), affine));
}

/// `(bias - center) * scale + shift`
fn shifted(bias: Option<Vec<f32>>, affine: &Affine) -> Vec<f32> {
    let bias = bias.unwrap_or_else(|| vec![0.0; affine.center.len()]);
    let mut shifted = Vec::with_capacity(bias.len());
    for (((bias, center), scale), shift) in bias.iter().zip(&affine.center).zip(&affine.scale).zip(&affine.shift) {
        let centered = f64::from(*bias) - f64::from(*center);
        shifted.push(narrow(centered * f64::from(*scale) + f64::from(*shift)));
    }
    shifted
}
