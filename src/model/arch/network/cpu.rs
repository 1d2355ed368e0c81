//! The steps on the processor: one candle operation for the whole network.
//!
//! A small network run by candle one operation at a time spends its time around the arithmetic: a tensor, a lock and
//! several small allocations for each step, two or three passes over memory for a bias and an activation. Here the
//! products still are candle's; all else happens in place on plain memory. Images are kept with their channels last,
//! so that a window's numbers lie side by side.

mod convolve;
mod kernel;
mod lower;
mod pool;
mod product;
mod rows;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use self::convolve::Convolution;
use self::pool::{Global, Pool};
use self::product::Product;
use self::rows::{Affine, Norm, Turn};
use super::layer::Activation;
use super::step::{Step, Work};
use crate::model::CandleModel;

/// A network, lowered for the processor.
pub(super) struct Program {
    ops: Vec<Op>,
    /// Elements of an input row.
    width: usize,
    /// Dimensions of an output row.
    row: Vec<usize>,
    /// Rows that go through the whole network at once.
    pass_rows: usize,
}

/// Numbers between two layers of a convolutional network that stay in a core's own cache.
const PASS_NUMBERS: usize = 1 << 13;
const PASS_ROWS_MIN: usize = 4;

/// One operation on rows in `f32`, row-major.
enum Op {
    Product(Product),
    Convolve(Convolution),
    Pool(Pool),
    Global(Global),
    Turn(Turn),
    Affine(Affine),
    Norm(Norm),
    Activate(Activation),
    /// Over so many numbers at a time.
    Softmax(usize),
    Residual(Branches),
}

/// Two branches whose results are added.
struct Branches {
    main: Vec<Op>,
    shortcut: Vec<Op>,
}

impl Program {
    /// For rows of shape `dims`.
    pub(super) fn new(steps: Vec<Step>, dims: &[usize]) -> Self {
        let row = steps.last().map_or_else(|| dims.to_vec(), |step| step.to.clone());
        let pass_rows = pass_rows(&steps);
        Self { ops: lower::lower(steps), width: dims.iter().product(), row, pass_rows }
    }

    /// The whole batch, a few rows at a time if that is faster.
    fn run_all(&self, storage: &CpuStorage, start: usize, rows: usize) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        for first in (0..rows).step_by(self.pass_rows) {
            let count = self.pass_rows.min(rows - first);
            let from = start + first * self.width;
            let input = Rows::Input { storage, start: from, end: from + count * self.width };
            let part = run(&self.ops, input, count)?;
            if count == rows {
                return Ok(part);
            }
            values.extend_from_slice(&part);
        }
        Ok(values)
    }
}

/// Runs one operation after the other.
fn run(ops: &[Op], input: Rows<'_>, rows: usize) -> Result<Vec<f32>> {
    let mut values = input;
    for op in ops {
        values = Rows::Own(CpuStorage::F32(op.run(values, rows)?));
    }
    values.into_vec()
}

impl CandleModel for Program {
    fn compute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let [input] = inputs else { bail!("expected one input, got {}", inputs.len()) };
        Ok(vec![input.apply_op1_no_bwd(self)?])
    }
}

impl CustomOp1 for Program {
    fn name(&self) -> &'static str {
        "network"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("expected a contiguous input") };
        let rows = layout.dims().first().copied().unwrap_or(0);
        if rows.checked_mul(self.width) != Some(end - start) {
            bail!("expected rows of {} elements, got shape {:?}", self.width, layout.dims());
        }
        let values = self.run_all(storage, start, rows)?;
        let dims: Vec<usize> = std::iter::once(rows).chain(self.row.iter().copied()).collect();
        Ok((CpuStorage::F32(values), Shape::from(dims)))
    }
}

/// Convolutions make many numbers of few weights, so that more rows at once only leave the cache; a linear layer's
/// weights are read once for all rows.
fn pass_rows(steps: &[Step]) -> usize {
    let convolves = steps.iter().any(|step| matches!(step.work, Work::Convolve(_) | Work::Residual(_)));
    let widest = steps.iter().map(|step| step.to.iter().product::<usize>()).max().unwrap_or(1);
    let rows = PASS_NUMBERS / widest.max(1);
    if convolves { rows.next_multiple_of(PASS_ROWS_MIN).max(PASS_ROWS_MIN) } else { usize::MAX }
}

impl Op {
    fn run(&self, input: Rows<'_>, rows: usize) -> Result<Vec<f32>> {
        match self {
            Self::Product(product) => product.run(&input),
            Self::Convolve(convolution) => convolution.run(&input, rows),
            Self::Pool(pool) => Ok(pool.run(input.values()?, rows)),
            Self::Global(global) => Ok(global.run(input.values()?)),
            Self::Turn(turn) => Ok(turn.run(input.values()?)),
            Self::Affine(affine) => Ok(affine.run(input.into_vec()?)),
            Self::Norm(norm) => Ok(norm.run(input.into_vec()?)),
            Self::Activate(function) => Ok(rows::activate(input.into_vec()?, *function)),
            Self::Residual(branches) => branches.run(&input, rows),
            Self::Softmax(width) => Ok(rows::softmax(input.into_vec()?, *width)),
        }
    }
}

impl Branches {
    fn run(&self, input: &Rows<'_>, rows: usize) -> Result<Vec<f32>> {
        let mut sums = run(&self.main, input.view(), rows)?;
        let add = |sums: &mut [f32], values: &[f32]| {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        };
        if self.shortcut.is_empty() {
            add(&mut sums, input.values()?);
        } else {
            add(&mut sums, &run(&self.shortcut, input.view(), rows)?);
        }
        Ok(sums)
    }
}

/// What an operation gets: a part of the input's memory, or what the operation before it made.
enum Rows<'a> {
    Input { storage: &'a CpuStorage, start: usize, end: usize },
    Own(CpuStorage),
}

impl Rows<'_> {
    /// The same, for another operation that gets them.
    fn view(&self) -> Rows<'_> {
        match self {
            Self::Input { storage, start, end } => Rows::Input { storage, start: *start, end: *end },
            Self::Own(storage) => {
                Rows::Input { storage, start: 0, end: storage.as_slice::<f32>().map_or(0, <[f32]>::len) }
            }
        }
    }

    fn storage(&self) -> (&CpuStorage, usize) {
        match self {
            Self::Input { storage, start, .. } => (storage, *start),
            Self::Own(storage) => (storage, 0),
        }
    }

    fn values(&self) -> Result<&[f32]> {
        let part = match self {
            Self::Input { storage, start, end } => storage.as_slice::<f32>()?.get(*start..*end),
            Self::Own(storage) => Some(storage.as_slice::<f32>()?),
        };
        part.ok_or_else(|| candle_core::Error::Msg("the input's layout exceeds its memory".to_owned()))
    }

    /// The values to work on in place; the caller's input is copied, never changed.
    fn into_vec(self) -> Result<Vec<f32>> {
        match self {
            Self::Own(CpuStorage::F32(values)) => Ok(values),
            other => other.values().map(<[f32]>::to_vec),
        }
    }
}
