//! From what clients send to what a model computes on: text to token ids, encoded images to pixels.

use std::fmt::Debug;

use crate::types::{Error, Rows, Tensor, TensorSpec};

/// Makes a model's rows, on the host, before they wait for a batch. What could hurt a batch is refused here.
pub trait Prepare: Debug + Send + Sync {
    /// Makes rows of `inputs`, which are in the signature's order and fit it; `None` for optional ones that were left out.
    /// All have the same number of rows, at least one.
    ///
    /// `room` takes room for so many bytes more, before they are used. Errors: [`Error::invalid`] that names input and row,
    /// what was expected and what came; what `room` says. Cost: may take milliseconds; not for a runtime's thread.
    fn prepare(&self, inputs: Vec<Option<Tensor>>, room: &mut Room<'_>) -> Result<Prepared, Error>;

    /// What can be shown of prepared rows to those who ask for it by name, beside the model's outputs.
    fn shows(&self) -> &[TensorSpec];

    /// The tensor `[rows, ..]` of entry `at` of [`Prepare::shows`]. Errors: rows that are not this model's.
    fn show(&self, at: usize, rows: &Rows) -> Result<Tensor, Error>;

    /// Elements of the longest row that can be; `None` if all rows have one shape.
    fn length_max(&self) -> Option<usize>;

    /// Made-up rows to warm up on, of `length` elements each where lengths differ. `None` if they would be huge.
    fn made_up(&self, count: usize, length: usize) -> Option<Rows>;
}

/// Takes room for bytes that are about to be used. Errors: there is none.
pub type Room<'a> = dyn FnMut(usize) -> Result<(), Error> + 'a;

/// Rows that may wait for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The rows.
    pub rows: Rows,
    /// How many tokens were cut off each row; empty if none were.
    pub truncated: Vec<u32>,
}
