//! Rows that nobody sent, to warm a model up with, and to find out what its batches take.

use bytes::Bytes;

use super::About;
use crate::types::{DataType, Rows, Shape, Tensor, TensorSpec};

/// Batches of more elements than this are not made up.
const ELEMENTS_MAX: usize = 1 << 26;

impl About {
    /// So many rows; of `length` elements each, or as many as there can be, where rows differ in length. `None` if they would be
    /// huge.
    pub fn made_up(&self, rows: usize, length: usize) -> Option<Rows> {
        if let Some(prepare) = &self.prepare {
            return prepare.made_up(rows, length.clamp(1, prepare.length_max().unwrap_or(1).max(1)));
        }
        let row = |spec: &TensorSpec| spec.row.iter().map(|dim| dim.unwrap_or(1)).collect::<Vec<_>>();
        let inputs = self.signature.inputs.iter().map(|spec| zeros(spec.dtype, &row(spec), rows));
        Some(Rows::uniform(inputs.collect::<Option<Vec<_>>>()?, rows))
    }
}

/// Rows of zeros (empty strings for BYTES). `None` if they would be huge.
pub fn zeros(dtype: DataType, row: &[usize], rows: usize) -> Option<Tensor> {
    let dims: Vec<usize> = std::iter::once(rows).chain(row.iter().copied()).collect();
    let shape = Shape::new(&dims);
    // An empty string is its length alone: four zero bytes.
    let elements = shape.elements().filter(|elements| *elements <= ELEMENTS_MAX)?;
    let bytes = elements.checked_mul(dtype.width().unwrap_or(4))?;
    Tensor::new(dtype, shape, Bytes::from(vec![0; bytes])).ok()
}
