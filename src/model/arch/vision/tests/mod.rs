//! Small image models with weights from a seed, against plain references in `f64`; folders that are wrong.
#![expect(clippy::cast_precision_loss, clippy::float_cmp, reason = "the numbers of tests are small, and equal or not")]

mod folder;
mod hostile;
mod inputs;
mod preparing;
mod reference;
mod residual;
mod transformer;
