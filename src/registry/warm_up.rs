//! Warm-up: a new version runs on made-up rows, which also tells what its batches cost.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::device::{Executor, guarded};
use crate::model::About;
use crate::types::{Error, Rows, Shape, Tensor, TensorSpec};

/// Runs of each batch size.
const ROUNDS: usize = 3;
/// Elements of the row in the first batch, where rows differ in length.
const SHORT: usize = 8;
/// Batches of more elements than this are not made up.
const ELEMENTS_MAX: usize = 1 << 26;

/// What warm-up saw: size (rows, or tokens) and duration of each batch, in the order in which they ran.
pub(super) struct WarmUp {
    pub(super) batches: Vec<(usize, Duration)>,
}

impl WarmUp {
    /// The best time of the largest batch that was tried.
    pub(super) fn largest(&self) -> Option<Duration> {
        let size = self.batches.iter().map(|(size, _)| *size).max()?;
        self.batches.iter().filter(|batch| batch.0 == size).map(|batch| batch.1).min()
    }
}

/// Runs batches of 1, 2, 4 … `rows_max` made-up rows until done or until `time_max` has passed. Rows that differ in length are
/// as long as they can be in the larger batches, and short in the first.
///
/// Errors: the model fails on them.
pub(super) fn warm_up(
    executor: &mut dyn Executor,
    about: &About,
    rows_max: usize,
    time_max: Duration,
) -> Result<WarmUp, Error> {
    let begun = Instant::now();
    let mut batches = Vec::new();
    let mut rows = 1;
    loop {
        let Some(part) = made_up(about, rows) else { break };
        let (size, parts) = (part.size(), [part]);
        for _ in 0..ROUNDS {
            let started = Instant::now();
            guarded(executor, &parts).map_err(|fault| fault.error)?;
            batches.push((size, started.elapsed()));
            if begun.elapsed() > time_max {
                return Ok(WarmUp { batches });
            }
        }
        if rows == rows_max {
            break;
        }
        rows = (rows * 2).min(rows_max);
    }
    Ok(WarmUp { batches })
}

/// Made-up rows; `None` if they would be huge.
fn made_up(about: &About, rows: usize) -> Option<Rows> {
    if let Some(prepare) = &about.prepare {
        return prepare.made_up(rows, prepare.length_max().unwrap_or(1).min(SHORT * rows));
    }
    let inputs: Option<Vec<_>> = about.signature.inputs.iter().map(|spec| zeros(spec, rows)).collect();
    Some(Rows::uniform(inputs?, rows))
}

/// Rows of zeros (empty strings for BYTES); free dimensions are 1. `None` if they would be huge.
fn zeros(spec: &TensorSpec, rows: usize) -> Option<Tensor> {
    let dims: Vec<usize> = std::iter::once(rows).chain(spec.row.iter().map(|dim| dim.unwrap_or(1))).collect();
    let shape = Shape::new(&dims);
    // An empty string is its length alone: four zero bytes.
    let elements = shape.elements().filter(|elements| *elements <= ELEMENTS_MAX)?;
    let bytes = elements.checked_mul(spec.dtype.width().unwrap_or(4))?;
    Tensor::new(spec.dtype, shape, Bytes::from(vec![0; bytes])).ok()
}
