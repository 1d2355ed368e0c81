//! Tensors on the host: an element type, a shape and shared bytes, sliced by rows without copying.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{DataType, Shape};

/// A tensor on the host: little-endian, row-major, without padding.
///
/// A BYTES tensor holds its elements as the wire does: a 32-bit little-endian length, then that many bytes, each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    dtype: DataType,
    shape: Shape,
    data: Bytes,
}

impl Tensor {
    /// Checks that `data` is exactly what `dtype` and `shape` promise.
    ///
    /// Errors: one sentence without the tensor's name, such as `[2,3] of FP32 is 24 bytes, got 20`.
    /// Cost: O(1), for BYTES O(elements); nothing is allocated.
    pub fn new(dtype: DataType, shape: Shape, data: Bytes) -> Result<Self, String> {
        let Some(elements) = shape.elements() else {
            return Err(format!("shape {shape} has more elements than can be counted"));
        };
        match dtype.width() {
            Some(width) => {
                let Some(expected) = elements.checked_mul(width) else {
                    return Err(format!("shape {shape} of {dtype} has more bytes than can be counted"));
                };
                if data.len() != expected {
                    return Err(format!("{shape} of {dtype} is {expected} bytes, got {}", data.len()));
                }
            }
            None => check_strings(&data, elements)?,
        }
        Ok(Self { dtype, shape, data })
    }

    /// A tensor of `f32` values. Errors as [`Tensor::new`].
    pub fn from_f32(shape: Shape, values: &[f32]) -> Result<Self, String> {
        let mut data = BytesMut::with_capacity(values.len().saturating_mul(4));
        for value in values {
            data.put_f32_le(*value);
        }
        Self::new(DataType::Fp32, shape, data.freeze())
    }

    /// Element type.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// Shape, rows first.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Raw contents.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Raw contents, without a copy.
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// The tensor's parts, without a copy.
    pub fn into_parts(self) -> (DataType, Shape, Bytes) {
        (self.dtype, self.shape, self.data)
    }

    /// Values of a floating-point tensor as `f32`, in order; `None` for other types.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let values = match self.dtype {
            DataType::Fp32 => chunks(&self.data).map(f32::from_le_bytes).collect(),
            #[expect(clippy::cast_possible_truncation, reason = "narrowing to f32 is what is asked for")]
            DataType::Fp64 => chunks(&self.data).map(|bytes| f64::from_le_bytes(bytes) as f32).collect(),
            DataType::Fp16 => chunks(&self.data).map(|bytes| half::f16::from_le_bytes(bytes).to_f32()).collect(),
            DataType::Bf16 => chunks(&self.data).map(|bytes| half::bf16::from_le_bytes(bytes).to_f32()).collect(),
            _ => return None,
        };
        Some(values)
    }

    /// Does a floating-point tensor hold NaN or an infinity? Of other types none does.
    pub fn has_non_finite(&self) -> bool {
        match self.dtype {
            DataType::Fp32 => chunks(&self.data).map(f32::from_le_bytes).any(|value| !value.is_finite()),
            DataType::Fp64 => chunks(&self.data).map(f64::from_le_bytes).any(|value| !value.is_finite()),
            DataType::Fp16 => chunks(&self.data).map(half::f16::from_le_bytes).any(|value| !value.is_finite()),
            DataType::Bf16 => chunks(&self.data).map(half::bf16::from_le_bytes).any(|value| !value.is_finite()),
            _ => false,
        }
    }

    /// The elements of a BYTES tensor, in order; of no meaning for other types.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: &[u8] = &self.data;
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (element, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            rest = after;
            Some(element)
        })
    }

    /// Splits the rows into consecutive parts of `counts` rows, without copying.
    ///
    /// `None` if the counts do not add up to the rows, or the tensor is a scalar. Cost: O(parts), for BYTES O(elements).
    pub fn split(&self, counts: &[usize]) -> Option<Vec<Self>> {
        let total = counts.iter().try_fold(0_usize, |sum, count| sum.checked_add(*count))?;
        if self.shape.rows()? != total {
            return None;
        }
        let row_elements = self.shape.row_elements()?;
        let mut rest = self.data.clone();
        let mut parts = Vec::with_capacity(counts.len());
        for count in counts {
            let elements = count.checked_mul(row_elements)?;
            let bytes = match self.dtype.width() {
                Some(width) => elements.checked_mul(width)?,
                None => strings_len(&rest, elements)?,
            };
            if bytes > rest.len() {
                return None;
            }
            parts.push(Self { dtype: self.dtype, shape: self.shape.with_rows(*count), data: rest.split_to(bytes) });
        }
        Some(parts)
    }

    /// Joins the rows of `parts` into one tensor; one part alone is shared, not copied.
    ///
    /// `None` if there is no part, or the parts differ in element type or in the shape of a row.
    pub fn join<'a>(parts: impl Iterator<Item = &'a Self> + Clone) -> Option<Self> {
        let mut rest = parts.clone();
        let first = rest.next()?;
        if rest.next().is_none() {
            return Some(first.clone());
        }
        let mut rows = 0_usize;
        let mut bytes = 0_usize;
        for part in parts.clone() {
            if part.dtype != first.dtype || part.shape.row_dims() != first.shape.row_dims() {
                return None;
            }
            rows = rows.checked_add(part.shape.rows()?)?;
            bytes = bytes.checked_add(part.data.len())?;
        }
        let mut data = BytesMut::with_capacity(bytes);
        for part in parts {
            data.extend_from_slice(&part.data);
        }
        Some(Self { dtype: first.dtype, shape: first.shape.with_rows(rows), data: data.freeze() })
    }
}

/// Consecutive `WIDTH`-byte chunks of `data`.
fn chunks<const WIDTH: usize>(data: &[u8]) -> impl Iterator<Item = [u8; WIDTH]> + '_ {
    data.as_chunks::<WIDTH>().0.iter().copied()
}

/// Bytes that the first `elements` strings of `data` take, lengths included; `None` if they are cut short.
fn strings_len(data: &[u8], elements: usize) -> Option<usize> {
    let mut at = 0_usize;
    for _ in 0..elements {
        let length = data.get(at..)?.first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        at = at.checked_add(4)?.checked_add(length)?;
        if at > data.len() {
            return None;
        }
    }
    Some(at)
}

fn check_strings(data: &[u8], elements: usize) -> Result<(), String> {
    let mut rest = data;
    for position in 0..elements {
        let Some((head, tail)) = rest.split_first_chunk::<4>() else {
            return Err(format!("expected {elements} strings, the contents end after {position}"));
        };
        let length = u32::from_le_bytes(*head);
        let Some(after) = usize::try_from(length).ok().and_then(|length| tail.get(length..)) else {
            return Err(format!("string {position} claims {length} bytes, {} are left", tail.len()));
        };
        rest = after;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(format!("expected {elements} strings, {} bytes are left over", rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Tensor;
    use crate::types::{DataType, Shape};

    fn strings(texts: &[&str]) -> Bytes {
        let mut data = Vec::new();
        for text in texts {
            data.extend_from_slice(&u32::try_from(text.len()).expect("short").to_le_bytes());
            data.extend_from_slice(text.as_bytes());
        }
        data.into()
    }

    #[test]
    fn lengths_are_checked() {
        let wrong = Tensor::new(DataType::Fp32, Shape::new(&[2, 3]), Bytes::from(vec![0; 20]));
        assert_eq!(wrong.expect_err("short"), "[2,3] of FP32 is 24 bytes, got 20");
        let lying = Bytes::from_static(&[255, 255, 255, 255, 1, 2, 3]);
        let wrong = Tensor::new(DataType::Bytes, Shape::new(&[1]), lying).expect_err("lying");
        assert_eq!(wrong, "string 0 claims 4294967295 bytes, 3 are left");
        let left = Tensor::new(DataType::Bytes, Shape::new(&[1]), strings(&["a", "b"])).expect_err("left over");
        assert_eq!(left, "expected 1 strings, 5 bytes are left over");
        let huge = Shape::new(&[usize::MAX / 2, 4]);
        assert!(Tensor::new(DataType::Bytes, huge, Bytes::new()).is_err());
        let endless = Shape::new(&[usize::MAX / 2]);
        assert!(Tensor::new(DataType::Bytes, endless, Bytes::new()).is_err());
    }

    #[test]
    fn split_and_join_are_inverse() {
        let numbers = Tensor::from_f32(Shape::new(&[3, 2]), &[1., 2., 3., 4., 5., 6.]).expect("a tensor");
        let texts = Tensor::new(DataType::Bytes, Shape::new(&[3, 1]), strings(&["", "bc", "d"])).expect("a tensor");
        for tensor in [numbers, texts] {
            let parts = tensor.split(&[1, 0, 2]).expect("three parts");
            assert_eq!(parts[2].shape().rows(), Some(2));
            assert_eq!(Tensor::join(parts.iter()), Some(tensor.clone()));
            assert_eq!(tensor.split(&[1]), None);
        }
    }
}
