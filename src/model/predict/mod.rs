//! Predictions that need no model: what a ladder's last rungs answer with.

mod declared;
mod last;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use last::LastAnswers;

use super::{LoadError, Scoring};
use crate::config::PredictionConfig;
use crate::types::{Rows, Signature, Tensor};

/// A prediction that was declared for one version of a model, checked against its outputs.
#[derive(Debug)]
pub struct Prediction(Kind);

#[derive(Debug)]
enum Kind {
    /// The same row for every row: a tensor `[1, ..]` for each output.
    Row(Vec<Tensor>),
    /// The last good answer for the same input.
    Last(LastAnswers),
}

impl Prediction {
    /// The prediction that rung number `rung` of `model.toml` declares, from 0.
    ///
    /// Errors: values for outputs that the model does not have, or not those that an output takes; a prior where no classes are
    /// scored, or not one that is theirs.
    pub fn new(
        config: &PredictionConfig,
        rung: usize,
        signature: &Signature,
        scoring: Option<&Scoring>,
    ) -> Result<Self, LoadError> {
        let (row, key) = match config {
            PredictionConfig::Constant(values) => (declared::constant(values, &signature.outputs), "outputs"),
            PredictionConfig::Prior(prior) => (declared::prior(prior, &signature.outputs, scoring), "prior"),
            PredictionConfig::LastAnswer { entries_max } => {
                return Ok(Self(Kind::Last(LastAnswers::new(*entries_max))));
            }
        };
        let refuse = |reason| LoadError::new("model.toml", format!("`fallback.rung[{rung}].{key}`: {reason}"));
        row.map(|row| Self(Kind::Row(row))).map_err(refuse)
    }

    /// An answer for these rows: every output, with as many rows. `None` if none is remembered.
    ///
    /// Cost: a copy of the row for each row; for the last answer a hash over the bytes of the rows, and no copy.
    pub fn predict(&self, rows: &Rows) -> Option<Vec<Tensor>> {
        match &self.0 {
            Kind::Row(outputs) => outputs.iter().map(|output| repeated(output, rows.count())).collect(),
            Kind::Last(answers) => answers.recall(rows),
        }
    }

    /// The model gave these outputs, and they are good. Cost: nothing where no answers are kept, else a hash over the bytes of
    /// the rows and a copy of the outputs.
    pub fn remember(&self, rows: &Rows, outputs: &[Tensor]) {
        if let Kind::Last(answers) = &self.0 {
            answers.remember(rows, outputs);
        }
    }
}

/// So many rows like the one of `row`; `None` if they are more than can be counted.
fn repeated(row: &Tensor, rows: usize) -> Option<Tensor> {
    if rows == 1 {
        return Some(row.clone());
    }
    row.data().len().checked_mul(rows)?;
    let data = Bytes::from(row.data().repeat(rows));
    Tensor::new(row.dtype(), row.shape().with_rows(rows), data).ok()
}
