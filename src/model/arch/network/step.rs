//! What a network computes, step by step: layers with their weights, on the host, and the shapes between them.

use super::layer::{Activation, Conv, Pooling, Window};

/// One step, from rows of shape `from` to rows of shape `to` (without the batch).
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model::arch) struct Step {
    pub(in crate::model::arch) from: Vec<usize>,
    pub(in crate::model::arch) to: Vec<usize>,
    pub(in crate::model::arch) work: Work,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model::arch) enum Work {
    Affine(Affine),
    Linear(Linear),
    Convolve(Convolve),
    Normalise(Normalise),
    Pool { of: Pooling, window: Window },
    GlobalPool(Pooling),
    Flatten,
    Activate(Activation),
    Softmax,
    Residual(Residual),
}

/// `(x - center) * scale + shift`, one of each for every index of one dimension.
///
/// The difference comes first: with a mean far from zero, `x * scale + (shift - center * scale)` would cancel.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model::arch) struct Affine {
    pub(in crate::model::arch) axis: Axis,
    pub(in crate::model::arch) center: Vec<f32>,
    pub(in crate::model::arch) scale: Vec<f32>,
    pub(in crate::model::arch) shift: Vec<f32>,
}

/// A dimension of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::model::arch) enum Axis {
    /// The first of a row, dimension 1 of a batch.
    Channel,
    Last,
}

/// `x * weight + bias` over the last dimension.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model::arch) struct Linear {
    pub(in crate::model::arch) inputs: usize,
    pub(in crate::model::arch) outputs: usize,
    /// `[inputs, outputs]`: transposed once here, so that a row is multiplied from the left.
    pub(in crate::model::arch) weight: Vec<f32>,
    pub(in crate::model::arch) bias: Option<Vec<f32>>,
}

/// A convolution; over one dimension, the height is 1.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model::arch) struct Convolve {
    pub(in crate::model::arch) how: Conv,
    /// Output channels, input channels of a group, kernel height, kernel width.
    pub(in crate::model::arch) sizes: [usize; 4],
    /// As `sizes`, row-major.
    pub(in crate::model::arch) weight: Vec<f32>,
    pub(in crate::model::arch) bias: Option<Vec<f32>>,
}

/// The sum of two branches that begin at the same rows and end in rows of one shape. A branch without steps is the rows themselves.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model::arch) struct Residual {
    pub(in crate::model::arch) main: Vec<Step>,
    pub(in crate::model::arch) shortcut: Vec<Step>,
}

/// Layer norm over the last `weight.len()` elements.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model::arch) struct Normalise {
    pub(in crate::model::arch) weight: Vec<f32>,
    pub(in crate::model::arch) bias: Option<Vec<f32>>,
    pub(in crate::model::arch) epsilon: f64,
}

impl Conv {
    /// Kernel elements reach so far in a dimension of this size. `None` if the kernel does not fit.
    pub(in crate::model::arch) fn slide(&self, size: usize, kernel: usize) -> Option<usize> {
        let span = kernel.checked_sub(1)?.checked_mul(self.dilation)?.checked_add(1)?;
        slide(size, span, self.stride, self.padding)
    }
}

impl Window {
    /// Number of windows in a dimension of this size. `None` if the window does not fit.
    pub(in crate::model::arch) fn slide(&self, size: usize) -> Option<usize> {
        slide(size, self.kernel, self.stride, self.padding)
    }
}

/// Positions of a window of `span` in `size` elements with `padding` at both ends.
fn slide(size: usize, span: usize, stride: usize, padding: usize) -> Option<usize> {
    let padded = padding.checked_mul(2)?.checked_add(size)?;
    padded.checked_sub(span)?.checked_div(stride)?.checked_add(1)
}
