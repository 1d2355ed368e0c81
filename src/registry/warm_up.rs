//! Warm-up: a new version runs on made-up rows, which also tells what its batches cost.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use crate::batch::BatchShape;
use crate::device::{Executor, guarded};
use crate::model::{About, zeros};
use crate::types::{Error, Reason, Rows};

/// Runs of each batch size, if they are short; and as many in all, however long they are, lest no cost can be told.
const ROUNDS: usize = 3;
/// One run that takes so long tells enough of its size by itself.
const ONCE: Duration = Duration::from_millis(20);
/// Elements of the row in the first batch, where rows differ in length.
const SHORT: usize = 8;
/// After a batch that took so long, larger ones would tell nothing that its time does not, and keep the model from serving.
const LONG_ENOUGH: Duration = Duration::from_millis(200);
/// The same beside a version that serves: larger batches than those that are used would take the cores from it.
const LONG_ENOUGH_BESIDE: Duration = ONCE;

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

/// What a version is warmed up on.
pub(super) struct Plan<'a> {
    /// Shapes that the version before was used with.
    pub(super) used: &'a [BatchShape],
    /// Rows of its largest batch.
    pub(super) rows_max: usize,
    /// Elements of its largest batch of rows that differ in length.
    pub(super) tokens_max: usize,
    /// How long it may take.
    pub(super) time_max: Duration,
}

/// Runs batches of the shapes that were used, then of 1, 2, 4 … `rows_max` made-up rows, until done, or until one takes long,
/// or the time is up. Rows that differ in length are long in the larger batches, and short in the first. `progress` hears
/// before each how many shapes are done, and of how many.
///
/// Errors: the model fails on made-up rows, or the device has no memory for a single one. What was used with another version it may
/// refuse.
pub(super) fn warm_up(
    executor: &mut dyn Executor,
    about: &About,
    plan: &Plan<'_>,
    mut progress: impl FnMut(usize, usize),
) -> Result<WarmUp, Error> {
    let begun = Instant::now();
    let mut warmed = WarmUp { batches: Vec::new() };
    let sizes = sizes(plan.rows_max);
    let of = plan.used.len() + sizes.len();
    let long_enough = if plan.used.is_empty() { LONG_ENOUGH } else { LONG_ENOUGH_BESIDE };
    let used = plan.used.iter().map(|shape| (again(about, shape), true));
    let made = sizes.iter().map(|rows| (made_up(about, *rows, plan.tokens_max), false));
    for (done, (part, may_fail)) in used.chain(made).enumerate() {
        progress(done, of);
        let Some(part) = part else { continue };
        if !may_fail && warmed.batches.last().is_some_and(|(size, took)| *took > long_enough && *size < part.size()) {
            break;
        }
        let size = part.size();
        match run(executor, part, &mut warmed, begun + plan.time_max) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if may_fail => debug!(%error, "a shape that the version before was used with"),
            // Larger batches will be halved.
            Err(error) if error.reason() == Reason::DeviceMemory && !warmed.batches.is_empty() => {
                debug!(%error, size, "batches beyond what the device has memory for");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(warmed)
}

/// Runs a batch some times. False if the time is up.
fn run(executor: &mut dyn Executor, part: Rows, warmed: &mut WarmUp, until: Instant) -> Result<bool, Error> {
    let (size, parts) = (part.size(), [part]);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        guarded(executor, &parts).map_err(|fault| fault.error)?;
        let took = started.elapsed();
        warmed.batches.push((size, took));
        if Instant::now() > until {
            return Ok(false);
        }
        if took > ONCE && warmed.batches.len() >= ROUNDS {
            break;
        }
    }
    Ok(true)
}

/// Made-up rows of a shape that was used; `None` if they would be huge, or are none that the model takes.
fn again(about: &About, shape: &BatchShape) -> Option<Rows> {
    if about.prepare.is_some() {
        return about.made_up(shape.rows, shape.size.div_ceil(shape.rows));
    }
    let specs = &about.signature.inputs;
    let mut pairs = specs.iter().zip(&shape.inputs);
    let fits = pairs.all(|(spec, (dtype, row))| spec.dtype == *dtype && spec.takes(row));
    if shape.packed || specs.len() != shape.inputs.len() || !fits {
        return None;
    }
    let inputs: Option<Vec<_>> = shape.inputs.iter().map(|(dtype, row)| zeros(*dtype, row, shape.rows)).collect();
    Some(Rows::uniform(inputs?, shape.rows))
}

/// A made-up row of a model; `None` if it would be huge.
pub fn made_up_row(about: &About) -> Option<Rows> {
    made_up(about, 1, SHORT)
}

/// Made-up rows, of which those that differ in length are short in the first batches; `None` if they would be huge.
fn made_up(about: &About, rows: usize, tokens_max: usize) -> Option<Rows> {
    about.made_up(rows, (SHORT * rows).min(tokens_max / rows))
}

/// 1, 2, 4 … and `rows_max`.
fn sizes(rows_max: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> =
        std::iter::successors(Some(1_usize), |rows| rows.checked_mul(2)).take_while(|rows| *rows < rows_max).collect();
    sizes.push(rows_max);
    sizes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smallvec::{SmallVec, smallvec};

    use super::{Plan, WarmUp, sizes, warm_up};
    use crate::batch::BatchShape;
    use crate::config::ModelConfig;
    use crate::device::{Executor, LocalExecutor};
    use crate::model::{About, Files};
    use crate::types::{DataType, Error, Reason, Rows, Tensor};

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

    /// Notes the shapes that it is asked with; refuses rows of width 13, and has memory for so many rows, if not for any.
    #[derive(Default)]
    struct Noting(Vec<Vec<usize>>, Option<usize>);

    impl Executor for Noting {
        fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
            let dims = parts[0].inputs()[0].shape().dims().to_vec();
            if dims[1] == 13 {
                return Err(Error::new(Reason::Model, "thirteen"));
            }
            if self.1.is_some_and(|most| dims[0] > most) {
                return Err(Error::new(Reason::DeviceMemory, "too many rows"));
            }
            self.0.push(dims);
            Ok(Vec::new())
        }

        fn rebuild(&mut self) -> Result<(), Error> {
            Ok(())
        }
    }

    fn about() -> About {
        let text = "[[tensor]]\ninput = \"x\"\noutput = \"y\"\ndtype = \"FP32\"\ndims = [-1]\n";
        let files = Files::Memory([("identity.toml".to_owned(), text.as_bytes().into())].into());
        LocalExecutor::load(&files, &ModelConfig::default()).expect("a model").loaded().about.clone()
    }

    fn shape(dtype: DataType, dims: &[usize]) -> BatchShape {
        let inputs = smallvec![(dtype, SmallVec::from_slice(&dims[1..]))];
        BatchShape { rows: dims[0], size: dims[0], packed: false, inputs }
    }

    #[test]
    fn what_was_used_is_run_first_as_far_as_the_model_takes_it() {
        let used = [
            shape(DataType::Fp32, &[5, 7]),
            shape(DataType::Fp32, &[2, 13]),
            shape(DataType::Int8, &[1, 1]),
            shape(DataType::Fp32, &[1, 2, 3]),
            shape(DataType::Fp32, &[3, 9]),
        ];
        let plan = Plan { used: &used, rows_max: 2, tokens_max: 8, time_max: Duration::from_mins(1) };
        let (mut executor, mut heard) = (Noting::default(), Vec::new());
        let warmed = warm_up(&mut executor, &about(), &plan, |done, of| heard.push((done, of))).expect("it is warm");
        executor.0.dedup();
        assert_eq!(executor.0, [[5, 7], [3, 9], [1, 1], [2, 1]]);
        assert_eq!(warmed.batches.len(), 12);
        assert_eq!(heard, (0..7).map(|done| (done, 7)).collect::<Vec<_>>());
        let at_once = Plan { time_max: Duration::ZERO, ..plan };
        assert_eq!(warm_up(&mut executor, &about(), &at_once, |_, _| {}).expect("it is warm").batches.len(), 1);
    }

    #[test]
    fn batches_end_where_the_device_has_no_memory_for_more() {
        let plan = Plan { used: &[], rows_max: 64, tokens_max: 8, time_max: Duration::from_mins(1) };
        let mut executor = Noting(Vec::new(), Some(5));
        let warmed = warm_up(&mut executor, &about(), &plan, |_, _| {}).expect("it is warm");
        assert_eq!(warmed.batches.last().map(|(size, _)| *size), Some(4));
        let mut none = Noting(Vec::new(), Some(0));
        let error = warm_up(&mut none, &about(), &plan, |_, _| {}).err().expect("not even one row");
        assert_eq!(error.reason(), Reason::DeviceMemory);
    }
}
