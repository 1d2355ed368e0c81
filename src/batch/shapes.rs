//! The shapes of the batches that ran lately, which a model's next version is warmed up on.

use std::collections::VecDeque;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::item::Item;
use super::policy::Batch;
use super::queue::Waiting;
use crate::types::{DataType, Rows, Tensor};

/// Different shapes that are remembered: more take longer to warm up on than a version may take.
const REMEMBERED: usize = 32;

type Dims = SmallVec<[usize; 4]>;

/// The shape of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchShape {
    /// How many rows.
    pub rows: usize,
    /// Its size: rows, or, where they are packed, elements.
    pub size: usize,
    /// Are rows packed? Then rows and size are rounded up to powers of two: else no two batches would be alike.
    pub packed: bool,
    /// Type and dimensions of a row of each input.
    pub inputs: SmallVec<[(DataType, Dims); 2]>,
}

impl BatchShape {
    fn is_of(&self, batch: &Key<'_>) -> bool {
        let same = |((dtype, dims), input): (&(DataType, Dims), &Tensor)| {
            *dtype == input.dtype() && dims.as_slice() == input.shape().row_dims()
        };
        let inputs = batch.first.inputs();
        (self.rows, self.size, self.packed) == (batch.rows, batch.size, batch.packed)
            && self.inputs.len() == inputs.len()
            && self.inputs.iter().zip(inputs).all(same)
    }
}

/// A batch that is to be remembered; what shares a batch is of one shape, so that its first item tells of all.
struct Key<'a> {
    rows: usize,
    size: usize,
    packed: bool,
    first: &'a Rows,
}

/// The last shapes that differed, the latest first.
#[derive(Debug, Default)]
pub(super) struct Shapes(Mutex<VecDeque<BatchShape>>);

impl Shapes {
    /// Remembers the shape of a batch. Cost: a comparison, where it is that of the batch before.
    pub(super) fn note(&self, batch: &Batch<Waiting>) {
        if let Some(Item { payload, .. }) = batch.items.first() {
            self.remember(batch.rows, batch.size, &payload.rows);
        }
    }

    fn remember(&self, rows: usize, size: usize, first: &Rows) {
        let packed = first.lengths().is_some();
        let rounded =
            |number: usize| if packed { number.checked_next_power_of_two().unwrap_or(number) } else { number };
        let key = Key { rows: rounded(rows), size: rounded(size), packed, first };
        let mut seen = self.0.lock();
        match seen.iter().position(|shape| shape.is_of(&key)) {
            Some(0) => {}
            Some(at) => {
                let shape = seen.remove(at);
                seen.extend(shape);
                seen.rotate_right(1);
            }
            None => {
                seen.truncate(REMEMBERED - 1);
                let input = |input: &Tensor| (input.dtype(), Dims::from_slice(input.shape().row_dims()));
                let inputs = first.inputs().iter().map(input).collect();
                seen.push_front(BatchShape { rows: key.rows, size: key.size, packed, inputs });
            }
        }
    }

    /// What is remembered, the latest first.
    pub(super) fn latest(&self) -> Vec<BatchShape> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{REMEMBERED, Shapes};
    use crate::types::{Rows, Shape, Tensor};

    fn uniform(rows: usize, width: usize) -> Rows {
        let values = vec![0.0; rows * width];
        Rows::uniform(vec![Tensor::from_f32(Shape::new(&[rows, width]), &values).expect("a tensor")], rows)
    }

    fn packed(lengths: &[u32]) -> Rows {
        let size: u32 = lengths.iter().sum();
        let values = vec![0.0; size as usize];
        let tokens = Tensor::from_f32(Shape::new(&[size as usize]), &values).expect("a tensor");
        Rows::packed(vec![tokens], lengths).expect("rows")
    }

    #[test]
    fn the_latest_shapes_come_first_and_each_once() {
        let shapes = Shapes::default();
        for (rows, width) in [(4, 2), (1, 2), (4, 3), (4, 2), (4, 2)] {
            shapes.remember(rows, rows, &uniform(1, width));
        }
        let seen: Vec<_> = shapes.latest().iter().map(|shape| (shape.rows, shape.inputs[0].1[0])).collect();
        assert_eq!(seen, [(4, 2), (4, 3), (1, 2)]);
        for rows in 10..100 {
            shapes.remember(rows, rows, &uniform(1, 2));
        }
        let rows: Vec<_> = shapes.latest().iter().map(|shape| shape.rows).collect();
        assert_eq!(rows, (100 - REMEMBERED..100).rev().collect::<Vec<_>>());
    }

    #[test]
    fn packed_batches_are_alike_if_their_sizes_nearly_are() {
        let shapes = Shapes::default();
        for (rows, size) in [(3, 100), (4, 120), (4, 128), (5, 130)] {
            shapes.remember(rows, size, &packed(&[7]));
        }
        let seen: Vec<_> = shapes.latest().iter().map(|shape| (shape.rows, shape.size, shape.packed)).collect();
        assert_eq!(seen, [(8, 256, true), (4, 128, true)]);
    }
}
