//! Dimensions with checked products: nothing is allocated or indexed by a shape that was not multiplied here.

use std::fmt;

use smallvec::SmallVec;

/// Dimensions of a tensor, outermost first; the first one counts rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape(SmallVec<[usize; 4]>);

impl Shape {
    /// From dimensions that are already known to be sizes.
    pub fn new(dims: &[usize]) -> Self {
        Self(SmallVec::from_slice(dims))
    }

    /// From dimensions on the wire. `None` if one is negative or does not fit this machine.
    pub fn from_wire(dims: &[i64]) -> Option<Self> {
        let mut shape = SmallVec::new();
        for dim in dims {
            shape.push(usize::try_from(*dim).ok()?);
        }
        Some(Self(shape))
    }

    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// First dimension; `None` for a scalar.
    pub fn rows(&self) -> Option<usize> {
        self.0.first().copied()
    }

    /// Dimensions of one row: all but the first.
    pub fn row_dims(&self) -> &[usize] {
        self.0.get(1..).unwrap_or(&[])
    }

    /// Number of elements, `None` if the product overflows.
    pub fn elements(&self) -> Option<usize> {
        product(&self.0)
    }

    /// Number of elements in one row, `None` if the product overflows.
    pub fn row_elements(&self) -> Option<usize> {
        product(self.row_dims())
    }

    /// The same rows' shape with another number of rows.
    #[must_use]
    pub fn with_rows(&self, rows: usize) -> Self {
        let mut dims = self.0.clone();
        match dims.first_mut() {
            Some(first) => *first = rows,
            None => dims.push(rows),
        }
        Self(dims)
    }
}

fn product(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim))
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[")?;
        for (position, dim) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(out, "{comma}{dim}")?;
        }
        out.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn products_that_overflow_are_none() {
        let shape = Shape::from_wire(&[1 << 31, 1 << 31, 4]).expect("sizes");
        assert_eq!(shape.elements(), None);
        assert_eq!(Shape::from_wire(&[1, -1]), None);
        assert_eq!(Shape::new(&[2, 3]).elements(), Some(6));
        assert_eq!(Shape::new(&[2, 3]).to_string(), "[2,3]");
        assert_eq!(Shape::new(&[]).elements(), Some(1));
    }
}
