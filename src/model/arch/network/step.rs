//! What a network computes, step by step: layers with their weights, on the host, and the shapes between them.

use super::layer::{Activation, Conv, Pooling, Window};

/// One step, from rows of shape `from` to rows of shape `to` (without the batch).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) from: Vec<usize>,
    pub(super) to: Vec<usize>,
    pub(super) work: Work,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Work {
    Affine(Affine),
    Linear(Linear),
    Convolve(Convolve),
    Normalise(Normalise),
    Pool { of: Pooling, window: Window },
    GlobalPool(Pooling),
    Flatten,
    Activate(Activation),
    Softmax,
}

/// `(x - center) * scale + shift`, one of each for every index of one dimension.
///
/// The difference comes first: with a mean far from zero, `x * scale + (shift - center * scale)` would cancel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Affine {
    pub(super) axis: Axis,
    pub(super) center: Vec<f32>,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

/// A dimension of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Axis {
    /// The first of a row, dimension 1 of a batch.
    Channel,
    Last,
}

/// `x * weight + bias` over the last dimension.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Linear {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// `[inputs, outputs]`: transposed once here, so that a row is multiplied from the left.
    pub(super) weight: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
}

/// A convolution; over one dimension, the height is 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Convolve {
    pub(super) how: Conv,
    /// Output channels, input channels of a group, kernel height, kernel width.
    pub(super) sizes: [usize; 4],
    /// As `sizes`, row-major.
    pub(super) weight: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
}

/// Layer norm over the last `weight.len()` elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Normalise {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
    pub(super) epsilon: f64,
}

impl Conv {
    /// Kernel elements reach so far in a dimension of this size. `None` if the kernel does not fit.
    pub(super) fn slide(&self, size: usize, kernel: usize) -> Option<usize> {
        let span = kernel.checked_sub(1)?.checked_mul(self.dilation)?.checked_add(1)?;
        slide(size, span, self.stride, self.padding)
    }
}

impl Window {
    /// Number of windows in a dimension of this size. `None` if the window does not fit.
    pub(super) fn slide(&self, size: usize) -> Option<usize> {
        slide(size, self.kernel, self.stride, self.padding)
    }
}

/// Positions of a window of `span` in `size` elements with `padding` at both ends.
fn slide(size: usize, span: usize, stride: usize, padding: usize) -> Option<usize> {
    let padded = padding.checked_mul(2)?.checked_add(size)?;
    padded.checked_sub(span)?.checked_div(stride)?.checked_add(1)
}
