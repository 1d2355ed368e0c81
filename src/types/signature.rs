//! What a model takes and gives: names, element types and the shape of one row.

use serde::{Deserialize, Serialize};

use super::DataType;

/// One input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Name on the wire.
    pub name: String,
    /// Element type.
    pub dtype: DataType,
    /// Dimensions of one row (without the batch); `None` is free.
    pub row: Vec<Option<usize>>,
    /// Whether a request must have it.
    pub presence: Presence,
}

/// Whether a request must have an input. Outputs are always there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// It must.
    #[default]
    Required,
    /// Most have it, and metadata lists it; others can stand in for it.
    Usual,
    /// It can stand in for another, or go with it.
    Optional,
}

impl TensorSpec {
    /// Does a row of this shape fit? A single string may come with a dimension of its own.
    pub fn takes(&self, row: &[usize]) -> bool {
        if self.dtype == DataType::Bytes && self.row.is_empty() && row == [1] {
            return true;
        }
        let fits = |(free, dim): (&Option<usize>, &usize)| free.is_none_or(|size| size == *dim);
        self.row.len() == row.len() && self.row.iter().zip(row).all(fits)
    }

    /// Dimensions as metadata shows them: the batch first, `-1` for what is free.
    pub fn wire_shape(&self) -> Vec<i64> {
        let size = |dim: &Option<usize>| dim.and_then(|dim| i64::try_from(dim).ok()).unwrap_or(-1);
        std::iter::once(-1).chain(self.row.iter().map(size)).collect()
    }

    /// The shape as errors show it, such as `[-1,30]`.
    pub fn shape_text(&self) -> String {
        let dims: Vec<String> = self.wire_shape().iter().map(i64::to_string).collect();
        format!("[{}]", dims.join(","))
    }
}

/// Inputs and outputs of a model, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// What it takes.
    pub inputs: Vec<TensorSpec>,
    /// What it gives.
    pub outputs: Vec<TensorSpec>,
}
