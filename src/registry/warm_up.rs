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
    /// Each batch with the best time of its size: others were slowed down by what the server did beside them.
    pub(super) fn best(&self) -> impl Iterator<Item = (usize, Duration)> {
        self.batches.iter().map(|(size, _)| (*size, self.best_of(*size).unwrap_or_default()))
    }

    fn best_of(&self, size: usize) -> Option<Duration> {
        self.batches.iter().filter(|batch| batch.0 == size).map(|batch| batch.1).min()
    }

    /// The best time of the largest batch that was tried.
    pub(super) fn largest(&self) -> Option<Duration> {
        let size = self.batches.iter().map(|(size, _)| *size).max()?;
        self.best_of(size)
    }
}

/// Runs batches of 1, 2, 4 … `rows_max` made-up rows until done or until `time_max` has passed. Rows that differ in length are
/// as long as they can be in the larger batches, and short in the first. `progress` hears before each how many sizes are
/// done, and of how many.
///
/// Errors: the model fails on them.
pub(super) fn warm_up(
    executor: &mut dyn Executor,
    about: &About,
    rows_max: usize,
    time_max: Duration,
    mut progress: impl FnMut(usize, usize),
) -> Result<WarmUp, Error> {
    let begun = Instant::now();
    let mut batches = Vec::new();
    let sizes = sizes(rows_max);
    for (done, rows) in sizes.iter().copied().enumerate() {
        progress(done, sizes.len());
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

/// 1, 2, 4 … and `rows_max`.
fn sizes(rows_max: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> =
        std::iter::successors(Some(1_usize), |rows| rows.checked_mul(2)).take_while(|rows| *rows < rows_max).collect();
    sizes.push(rows_max);
    sizes
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{WarmUp, sizes};

    #[test]
    fn sizes_double_up_to_the_largest() {
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(6), [1, 2, 4, 6]);
        assert_eq!(sizes(8), [1, 2, 4, 8]);
    }

    #[test]
    fn the_best_time_of_each_size_counts() {
        let batches = [(1, 9), (1, 3), (2, 4), (2, 8)].map(|(rows, ms)| (rows, Duration::from_millis(ms)));
        let warmed = WarmUp { batches: batches.to_vec() };
        let best: Vec<_> = warmed.best().map(|(rows, took)| (rows, took.as_millis())).collect();
        assert_eq!(best, [(1, 3), (1, 3), (2, 4), (2, 4)]);
        assert_eq!(warmed.largest(), Some(Duration::from_millis(4)));
    }
}
