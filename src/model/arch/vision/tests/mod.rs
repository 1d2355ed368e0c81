//! Small image models with weights from a seed, against plain references in `f64`; folders that are wrong.
#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod folder;
mod hostile;
mod inputs;
mod preparing;
mod reference;
mod residual;
mod transformer;
