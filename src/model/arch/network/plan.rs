//! Turns declared layers and their weights into steps: every shape is inferred and checked here, once, at load.

use super::layer::{Conv, Kind, Layer, Window};
use super::step::{Affine, Axis, Convolve, Linear, Normalise, Step, Work};
use crate::model::{LoadError, Weights};

/// Most elements of one row between two layers.
const ROW_ELEMENTS_MAX: usize = 1 << 28;

/// The steps of `layers` for rows of shape `dims`, in order.
///
/// Errors name the layer by its position and type, what it expects and what it gets, or the tensor that is wrong.
pub(super) fn plan(file: &str, dims: &[usize], layers: &[Layer], weights: &Weights) -> Result<Vec<Step>, LoadError> {
    let mut steps = Vec::new();
    let mut row = dims.to_vec();
    check_row(&row).map_err(|reason| LoadError::new(file, format!("input: {reason}")))?;
    for (position, layer) in layers.iter().enumerate() {
        let failed = |reason: String| LoadError::new(file, format!("layer {position} ({}): {reason}", layer.name));
        let tensors = Tensors { weights, position };
        let Some((work, to)) = step(&tensors, layer, &row).map_err(|trouble| trouble.explain(&failed))? else {
            continue;
        };
        check_row(&to).map_err(failed)?;
        steps.push(Step { from: std::mem::replace(&mut row, to.clone()), to, work });
    }
    Ok(steps)
}

fn check_row(row: &[usize]) -> Result<(), String> {
    let elements = row.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    match elements {
        Some(1..=ROW_ELEMENTS_MAX) => Ok(()),
        _ => Err(format!("a row {row:?} has no elements, or more than {ROW_ELEMENTS_MAX}")),
    }
}

/// What is wrong: a tensor, or how a layer meets its input.
enum Trouble {
    Tensor(LoadError),
    Shape(String),
}

impl Trouble {
    fn explain(self, failed: &impl Fn(String) -> LoadError) -> LoadError {
        match self {
            Self::Tensor(error) => error,
            Self::Shape(reason) => failed(reason),
        }
    }
}

impl From<LoadError> for Trouble {
    fn from(error: LoadError) -> Self {
        Self::Tensor(error)
    }
}

/// The tensors of one layer, named as `nn.Sequential` names them.
struct Tensors<'a> {
    weights: &'a Weights,
    position: usize,
}

impl Tensors<'_> {
    fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.position)
    }

    fn dims(&self, part: &str) -> Result<&[usize], LoadError> {
        let name = self.name(part);
        self.weights.dims(&name).ok_or_else(|| self.weights.missing(&name))
    }

    fn take(&self, part: &str, dims: &[usize]) -> Result<Vec<f32>, LoadError> {
        self.weights.take_values(&self.name(part), dims)
    }

    fn take_if_there(&self, part: &str, dims: &[usize]) -> Result<Option<Vec<f32>>, LoadError> {
        if self.weights.dims(&self.name(part)).is_none() {
            return Ok(None);
        }
        self.take(part, dims).map(Some)
    }

    /// A tensor of this shape was not what the layer takes.
    fn misfit(&self, part: &str, dims: &[usize], why: &str) -> Trouble {
        Trouble::Shape(format!("\"{}\" has shape {dims:?}, {why}", self.name(part)))
    }
}

/// What the layer does to rows of this shape, and their shape afterwards; `None` if nothing.
fn step(tensors: &Tensors<'_>, layer: &Layer, row: &[usize]) -> Result<Option<(Work, Vec<usize>)>, Trouble> {
    let same = row.to_vec();
    let done = match layer.kind {
        Kind::Dropout => return Ok(None),
        Kind::Standardise => (standardise(tensors, row)?, same),
        Kind::Linear => linear(tensors, row)?,
        Kind::Conv(how) => convolve(tensors, how, row)?,
        Kind::BatchNorm { epsilon } => (batch_norm(tensors, epsilon, row)?, same),
        Kind::LayerNorm { epsilon } => (layer_norm(tensors, epsilon, row)?, same),
        Kind::Pool { of, window } => (Work::Pool { of, window }, pooled(window, row)?),
        Kind::GlobalPool(of) => {
            let (channels, _) = channels(row, 2..=usize::MAX)?;
            (Work::GlobalPool(of), vec![channels])
        }
        // Rows of one dimension are flat already.
        Kind::Flatten if row.len() == 1 => return Ok(None),
        Kind::Flatten => (Work::Flatten, vec![row.iter().product()]),
        Kind::Activate(function) => (Work::Activate(function), same),
        Kind::Softmax => (Work::Softmax, same),
    };
    Ok(Some(done))
}

fn last(row: &[usize]) -> usize {
    row.last().copied().unwrap_or(1)
}

/// The channels of a row and its other dimensions, of which there must be so many.
fn channels(row: &[usize], ranks: std::ops::RangeInclusive<usize>) -> Result<(usize, &[usize]), Trouble> {
    match row.split_first() {
        Some((channels, rest)) if ranks.contains(&row.len()) => Ok((*channels, rest)),
        _ => {
            let shapes = match (ranks.start(), ranks.end()) {
                (2, 2) => "[channels, length]",
                (3, 3) => "[channels, height, width]",
                (2, 3) => "[channels, length] or [channels, height, width]",
                _ => "[channels, ..] with a dimension after the channels",
            };
            Err(Trouble::Shape(format!("expected rows {shapes}, got {row:?}")))
        }
    }
}

fn standardise(tensors: &Tensors<'_>, row: &[usize]) -> Result<Work, Trouble> {
    let width = last(row);
    let center = tensors.take("mean", &[width])?;
    let spread = tensors.take("scale", &[width])?;
    let scale: Vec<f32> = spread.iter().map(|value| narrow(1.0 / f64::from(*value))).collect();
    if let Some((position, (value, _))) =
        spread.iter().zip(&scale).enumerate().find(|(_, (_, scale))| !scale.is_finite())
    {
        let name = tensors.name("scale");
        return Err(Trouble::Shape(format!("\"{name}\" is {value} at {position}, which cannot be divided by")));
    }
    Ok(Work::Affine(Affine { axis: Axis::Last, center, scale, shift: vec![0.0; width] }))
}

fn linear(tensors: &Tensors<'_>, row: &[usize]) -> Result<(Work, Vec<usize>), Trouble> {
    let dims = tensors.dims("weight")?;
    let (outputs, inputs) = match dims {
        [outputs, inputs] if *inputs == last(row) => (*outputs, *inputs),
        [_, inputs] => {
            return Err(tensors.misfit("weight", dims, &format!("which takes {inputs} features, got rows {row:?}")));
        }
        _ => return Err(tensors.misfit("weight", dims, "expected [out, in]")),
    };
    let stored = tensors.take("weight", &[outputs, inputs])?;
    let weight = transpose(&stored, outputs, inputs);
    let bias = tensors.take_if_there("bias", &[outputs])?;
    let mut to = row.to_vec();
    if let Some(width) = to.last_mut() {
        *width = outputs;
    }
    Ok((Work::Linear(Linear { inputs, outputs, weight, bias }), to))
}

/// `[rows, columns]` to `[columns, rows]`.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(values.len());
    for column in 0..columns {
        turned.extend(values.iter().skip(column).step_by(columns.max(1)).take(rows));
    }
    turned
}

fn convolve(tensors: &Tensors<'_>, how: Conv, row: &[usize]) -> Result<(Work, Vec<usize>), Trouble> {
    let rank = how.dimensions + 1;
    let (inputs, sizes) = channels(row, rank..=rank)?;
    let dims = tensors.dims("weight")?;
    let (outputs, of_group, kernel) = match dims {
        [outputs, of_group, kernel @ ..] if kernel.len() == how.dimensions => (*outputs, *of_group, kernel),
        _ if how.dimensions == 1 => return Err(tensors.misfit("weight", dims, "expected [out, in / groups, kernel]")),
        _ => return Err(tensors.misfit("weight", dims, "expected [out, in / groups, kernel height, kernel width]")),
    };
    let groups = how.groups;
    if of_group.checked_mul(groups) != Some(inputs) {
        let why = format!("which takes {of_group} channels in each of {groups} groups, got rows {row:?}");
        return Err(tensors.misfit("weight", dims, &why));
    }
    if outputs == 0 || !outputs.is_multiple_of(groups) {
        return Err(tensors.misfit("weight", dims, &format!("expected a multiple of {groups} groups for out")));
    }
    let mut to = vec![outputs];
    for (size, kernel) in sizes.iter().zip(kernel) {
        let Some(positions) = how.slide(*size, *kernel) else {
            return Err(tensors.misfit("weight", dims, &format!("which does not fit into rows {row:?}")));
        };
        to.push(positions);
    }
    let (height, width) = match kernel {
        [height, width] => (*height, *width),
        _ => (1, last(kernel)),
    };
    let weight = tensors.take("weight", dims)?;
    let bias = tensors.take_if_there("bias", &[outputs])?;
    Ok((Work::Convolve(Convolve { how, sizes: [outputs, of_group, height, width], weight, bias }), to))
}

fn batch_norm(tensors: &Tensors<'_>, epsilon: f64, row: &[usize]) -> Result<Work, Trouble> {
    let (channels, _) = channels(row, 1..=usize::MAX)?;
    let center = tensors.take("running_mean", &[channels])?;
    let variance = tensors.take("running_var", &[channels])?;
    let weight = tensors.take_if_there("weight", &[channels])?.unwrap_or_else(|| vec![1.0; channels]);
    let shift = tensors.take_if_there("bias", &[channels])?.unwrap_or_else(|| vec![0.0; channels]);
    let mut scale = Vec::with_capacity(channels);
    for (position, (variance, weight)) in variance.iter().zip(&weight).enumerate() {
        let spread = f64::from(*variance) + epsilon;
        let factor = narrow(f64::from(*weight) / spread.sqrt());
        if spread <= 0.0 || !factor.is_finite() {
            let name = tensors.name("running_var");
            return Err(Trouble::Shape(format!("\"{name}\" is {variance} at {position}, expected a positive number")));
        }
        scale.push(factor);
    }
    Ok(Work::Affine(Affine { axis: Axis::Channel, center, scale, shift }))
}

fn layer_norm(tensors: &Tensors<'_>, epsilon: f64, row: &[usize]) -> Result<Work, Trouble> {
    let dims = tensors.dims("weight")?;
    if dims.is_empty() || !row.ends_with(dims) {
        return Err(tensors.misfit("weight", dims, &format!("which are not the last dimensions of rows {row:?}")));
    }
    let weight = tensors.take("weight", dims)?;
    let bias = tensors.take_if_there("bias", dims)?;
    Ok(Work::Normalise(Normalise { weight, bias, epsilon }))
}

fn pooled(window: Window, row: &[usize]) -> Result<Vec<usize>, Trouble> {
    let (channels, sizes) = channels(row, 2..=3)?;
    let mut to = vec![channels];
    for size in sizes {
        let Some(positions) = window.slide(*size) else {
            return Err(Trouble::Shape(format!("a kernel of {} does not fit into rows {row:?}", window.kernel)));
        };
        to.push(positions);
    }
    Ok(to)
}

#[expect(clippy::cast_possible_truncation, reason = "weights are f32; what was computed in f64 is rounded once")]
pub(in crate::model::arch) fn narrow(value: f64) -> f32 {
    value as f32
}
