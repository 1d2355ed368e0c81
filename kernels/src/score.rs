//! What a classifier's logits say: class, confidence, margin, entropy, and the bin of a histogram (`cuda/score.cu`).

use std::f64::consts::LN_2;

use crate::driver::{Driver, Launch, View, ViewMut, names, shared_bytes};
use crate::element::{Element, widen};
use crate::error::{Error, count, expect_length, rows_of};

const LANES: u32 = 32;
/// Columns of a row up to which one warp scores it alone.
const WARP_COLUMNS_MAX: u32 = 512;
const THREADS_MAX: u32 = 256;
/// Bytes of what a warp tells the others.
const PART_BYTES: usize = 24;
/// Stands for no class, and for no bin.
pub const NONE: u32 = u32::MAX;
/// How sharp a softmax can be made: any softer, and differences that `f32` does not hold would count.
const SHARPNESS: std::ops::RangeInclusive<f32> = 1e-30..=1e30;

/// A call.
pub struct Score<'a, T, D: Driver> {
    /// `[rows, columns]`.
    pub logits: View<'a, T, D>,
    /// Classes; one column is the logit of the second of two.
    pub columns: usize,
    /// What logits are multiplied with: the inverse of a temperature, within 1e-30 and 1e30.
    pub sharpness: f32,
    /// `[rows]`: [`NONE`] for a row that cannot be scored.
    pub classes: ViewMut<'a, u32, D>,
    /// `[rows, 3]`: confidence, margin and entropy; NaN for a row that cannot be scored.
    pub measures: ViewMut<'a, f32, D>,
    /// `[rows, columns]`: the probability of each column, if wanted.
    pub probabilities: Option<ViewMut<'a, f32, D>>,
    /// In which bin of a histogram each confidence is, if wanted.
    pub bins: Option<Bins<'a, D>>,
}

/// A histogram's bins.
pub struct Bins<'a, D: Driver> {
    /// Their upper bounds, rising, each of which belongs to its bin. One more bin takes what lies above.
    pub bounds: View<'a, f64, D>,
    /// `[rows]`: [`NONE`] for a row that cannot be scored.
    pub out: ViewMut<'a, u32, D>,
}

impl<T: Element, D: Driver> Score<'_, T, D> {
    /// Launches it. Errors: a length is not that of the shape, or the sharpness is beyond its range.
    pub fn launch(self, driver: &D) -> Result<(), Error> {
        let rows = rows_of("logits", self.logits.length(), self.columns)?;
        let row_count = self.logits.length() / self.columns;
        expect_length("classes", self.classes.length(), row_count)?;
        expect_length("bins", self.bins.as_ref().map_or(row_count, |bins| bins.out.length()), row_count)?;
        expect_length("measures", self.measures.length(), row_count * 3)?;
        let all = self.logits.length();
        expect_length("probabilities", self.probabilities.as_ref().map_or(all, ViewMut::length), all)?;
        if !SHARPNESS.contains(&self.sharpness) {
            return Err(Error::Range {
                what: "sharpness",
                expected: "within 1e-30 and 1e30",
                got: self.sharpness.to_string(),
            });
        }
        if rows == 0 {
            return Ok(());
        }
        let columns = count("columns", self.columns)?;
        let threads = if columns <= WARP_COLUMNS_MAX { LANES } else { THREADS_MAX };
        let launch = Launch::new(names!("score")(T::TYPE), [rows, 1], threads)
            .shared(shared_bytes((THREADS_MAX / LANES) as usize * PART_BYTES)?)
            .input(&self.logits)
            .number(columns)
            .real(self.sharpness)
            .output(&self.classes)
            .output(&self.measures)
            .optional_output(self.probabilities.as_ref())
            .optional_input(self.bins.as_ref().map(|bins| &bins.bounds))
            .number(self.bins.as_ref().map_or(Ok(0), |bins| count("bounds", bins.bounds.length()))?)
            .optional_output(self.bins.as_ref().map(|bins| &bins.out));
        driver.launch(&launch)
    }
}

/// What the twin finds of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The likeliest class; of equals, the first.
    pub class: u32,
    /// Its probability.
    pub confidence: f64,
    /// Its lead over the next.
    pub margin: f64,
    /// Entropy of the probabilities, divided by that of a uniform guess.
    pub entropy: f64,
    /// Of each column.
    pub probabilities: Vec<f64>,
}

/// What the kernel computes: the softmax of `row · sharpness`, for one column the sigmoid.
///
/// `None` if a logit is NaN or +infinity, or none is finite: such a row has no class and is in no bin. -infinity beside finite
/// logits is a class that was ruled out. This is what the server's own scoring of logits says.
pub fn score<T: Element>(row: &[T], sharpness: f32) -> Option<Scored> {
    let (values, sharpness) = (widen(row), f64::from(sharpness));
    if values.iter().any(|value| value.is_nan() || *value == f64::INFINITY) {
        return None;
    }
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return None;
    }
    if let [logit] = values[..] {
        return Some(score_single(logit * sharpness));
    }
    let shares: Vec<f64> = values.iter().map(|value| ((value - top) * sharpness).exp()).collect();
    let sum: f64 = shares.iter().sum();
    // None is larger, so this is the first of the largest.
    let class = values.iter().position(|value| *value >= top)?;
    let others = shares.iter().enumerate().filter(|(at, _)| *at != class);
    let runner_up = others.map(|(_, share)| *share).fold(0.0, f64::max);
    let probabilities: Vec<f64> = shares.iter().map(|share| share / sum).collect();
    #[expect(clippy::cast_precision_loss, reason = "columns are far fewer than 2^52")]
    let uniform = (values.len() as f64).ln();
    let entropy = probabilities.iter().map(|share| if *share > 0.0 { -share * share.ln() } else { 0.0 }).sum::<f64>();
    let class = u32::try_from(class).ok()?;
    Some(Scored {
        class,
        confidence: 1.0 / sum,
        margin: (1.0 - runner_up) / sum,
        entropy: entropy / uniform,
        probabilities,
    })
}

/// Of the logit of the second of two classes.
fn score_single(logit: f64) -> Scored {
    let second = 1.0 / (1.0 + (-logit).exp());
    let odds = (-logit.abs()).exp();
    let confidence = 1.0 / (1.0 + odds);
    let rest = if odds > 0.0 { logit.abs() * odds * confidence } else { 0.0 };
    Scored {
        class: u32::from(logit > 0.0),
        confidence,
        margin: (1.0 - odds) * confidence,
        entropy: (odds.ln_1p() + rest) / LN_2,
        probabilities: vec![second],
    }
}

/// Which bin a confidence is in: how many bounds lie below it.
pub fn bin(confidence: f64, bounds: &[f64]) -> usize {
    bounds.iter().filter(|bound| **bound < confidence).count()
}
