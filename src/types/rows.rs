//! The inputs of some rows, as a device takes them: of one shape, or of different lengths and packed.

use smallvec::SmallVec;

use super::Tensor;

/// Inputs in the model's order.
///
/// Rows of one shape: every tensor is `[rows, ..]`. Rows of different lengths are packed without padding: every tensor is
/// `[elements, ..]`, such as the tokens of all texts one after the other, and `lengths` tells how many each row has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rows {
    inputs: Vec<Tensor>,
    count: usize,
    lengths: Option<Lengths>,
}

type Lengths = SmallVec<[u32; 2]>;

impl Rows {
    /// `count` rows of one shape. Each input has as many, which whoever calls has checked.
    pub fn uniform(inputs: Vec<Tensor>, count: usize) -> Self {
        Self { inputs, count, lengths: None }
    }

    /// A row for each of `lengths`.
    ///
    /// `None` if a row is empty, or an input has another number of elements than the lengths add up to.
    pub fn packed(inputs: Vec<Tensor>, lengths: &[u32]) -> Option<Self> {
        let elements = elements(lengths)?;
        let fits = inputs.iter().all(|input| input.shape().rows() == Some(elements));
        let lengths = Lengths::from_slice(lengths);
        (fits && !lengths.contains(&0)).then(|| Self { inputs, count: lengths.len(), lengths: Some(lengths) })
    }

    /// How many rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What they cost to compute, roughly: the number of rows, or of all their elements where they are packed.
    pub fn size(&self) -> usize {
        self.lengths.as_ref().map_or(self.count, |lengths| lengths.iter().map(|length| *length as usize).sum())
    }

    /// The inputs.
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// Elements of each row, where rows are packed.
    pub fn lengths(&self) -> Option<&[u32]> {
        self.lengths.as_deref()
    }

    /// Elements of the longest row; 1 where all are of one shape.
    pub fn longest(&self) -> usize {
        self.lengths().map_or(1, |lengths| lengths.iter().max().map_or(0, |length| *length as usize))
    }

    /// Cuts them into consecutive parts of at most `rows_max` rows and `size_max` in size; one row alone may be larger.
    ///
    /// `None` if inputs differ in their number of rows. Nothing is copied.
    pub fn cut(self, rows_max: usize, size_max: usize) -> Option<SmallVec<[Self; 1]>> {
        if self.count <= rows_max && self.size() <= size_max {
            return Some(SmallVec::from_iter([self]));
        }
        let row_size =
            |row: usize| self.lengths().and_then(|lengths| lengths.get(row)).map_or(1, |size| *size as usize);
        let mut parts = Vec::new();
        let (mut rows, mut size) = (0, 0);
        for row in 0..self.count {
            if rows > 0 && (rows == rows_max || size + row_size(row) > size_max) {
                parts.push((rows, size));
                (rows, size) = (0, 0);
            }
            rows += 1;
            size += row_size(row);
        }
        parts.push((rows, size));
        self.split(&parts)
    }

    /// Splits them into parts of so many rows and such sizes.
    fn split(&self, parts: &[(usize, usize)]) -> Option<SmallVec<[Self; 1]>> {
        let sizes: Vec<usize> = parts.iter().map(|(_, size)| *size).collect();
        let mut lengths = self.lengths.as_deref();
        let mut split: SmallVec<[Self; 1]> = SmallVec::with_capacity(parts.len());
        for (count, _) in parts {
            let mut part = Self { inputs: Vec::with_capacity(self.inputs.len()), count: *count, lengths: None };
            if let Some(rest) = lengths {
                let (own, after) = rest.split_at_checked(*count)?;
                (part.lengths, lengths) = (Some(Lengths::from_slice(own)), Some(after));
            }
            split.push(part);
        }
        for input in &self.inputs {
            for (part, piece) in split.iter_mut().zip(input.split(&sizes)?) {
                part.inputs.push(piece);
            }
        }
        Some(split)
    }
}

fn elements(lengths: &[u32]) -> Option<usize> {
    lengths.iter().try_fold(0_usize, |sum, length| sum.checked_add(usize::try_from(*length).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Rows;
    use crate::types::{Shape, Tensor};

    fn numbers(count: usize) -> Tensor {
        #[expect(clippy::cast_precision_loss, reason = "few")]
        let values: Vec<f32> = (0..count).map(|number| number as f32).collect();
        Tensor::from_f32(Shape::new(&[count]), &values).expect("a tensor")
    }

    #[test]
    fn lengths_must_add_up() {
        assert!(Rows::packed(vec![numbers(5)], &[2, 3]).is_some());
        for lengths in [&[2, 2][..], &[5, 0], &[u32::MAX; 3], &[]] {
            assert_eq!(Rows::packed(vec![numbers(5)], lengths), None, "{lengths:?}");
        }
        assert_eq!(Rows::uniform(vec![numbers(3), numbers(2)], 3).cut(2, 9), None);
    }

    proptest! {
        #[test]
        fn parts_are_as_large_as_allowed_and_lose_nothing(
            lengths in prop::collection::vec(1_u32..9, 1..20),
            rows_max in 1_usize..5,
            size_max in 1_usize..20,
        ) {
            let total: u32 = lengths.iter().sum();
            let whole = Rows::packed(vec![numbers(total as usize)], &lengths).expect("rows");
            let parts = whole.clone().cut(rows_max, size_max).expect("parts");
            for pair in parts.windows(2) {
                let next = pair[1].lengths().expect("packed")[0] as usize;
                prop_assert!(pair[0].count() == rows_max || pair[0].size() + next > size_max);
            }
            for part in &parts {
                prop_assert!(part.count() <= rows_max && (part.size() <= size_max || part.count() == 1));
                prop_assert_eq!(part.inputs()[0].shape().rows(), Some(part.size()));
            }
            let rejoined: Vec<u32> = parts.iter().flat_map(|part| part.lengths().expect("packed").to_vec()).collect();
            prop_assert_eq!(&rejoined, &lengths);
            let values = Tensor::join(parts.iter().map(|part| &part.inputs()[0]));
            prop_assert_eq!(values.as_ref(), whole.inputs().first());
            prop_assert_eq!(Rows::uniform(vec![numbers(7)], 7).cut(3, 3).expect("parts").len(), 3);
        }
    }
}
