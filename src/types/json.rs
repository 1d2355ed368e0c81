//! Tensors as the protocol's REST form writes them: JSON, flat or nested as the shape is.

use half::{bf16, f16};
use serde_json::Value;

use super::{DataType, Shape, Tensor};

impl Tensor {
    /// A tensor of `data`, flat or nested, in row-major order.
    ///
    /// Errors: one sentence without the tensor's name, such as `value 3: expected UINT8, got 256`.
    pub fn from_json(dtype: DataType, shape: Shape, data: &Value) -> Result<Self, String> {
        let values = flatten(data);
        let wanted = shape.elements();
        if wanted != Some(values.len()) {
            let wanted = wanted.map_or("countless".to_owned(), |wanted| wanted.to_string());
            return Err(format!("expected {wanted} values for shape {shape}, got {}", values.len()));
        }
        let mut raw = Vec::new();
        for (at, value) in values.iter().enumerate() {
            push_json(dtype, value, &mut raw).ok_or_else(|| format!("value {at}: expected {dtype}, got {value}"))?;
        }
        Self::new(dtype, shape, raw.into())
    }
}

/// The values of a list of lists, in order; a value alone is one.
pub fn flatten(value: &Value) -> Vec<&Value> {
    let mut values = Vec::new();
    gather(value, &mut values);
    values
}

fn gather<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    match value {
        // serde_json reads at most 128 levels.
        Value::Array(inner) => inner.iter().for_each(|value| gather(value, into)),
        single => into.push(single),
    }
}

/// Appends a JSON value; `None` if the datatype does not hold it.
pub fn push_json(dtype: DataType, value: &Value, raw: &mut Vec<u8>) -> Option<()> {
    match dtype {
        DataType::Bool => raw.push(u8::from(value.as_bool()?)),
        DataType::Uint8 => raw.push(whole(value)?),
        DataType::Uint16 => raw.extend(whole::<u16>(value)?.to_le_bytes()),
        DataType::Uint32 => raw.extend(whole::<u32>(value)?.to_le_bytes()),
        DataType::Uint64 => raw.extend(whole::<u64>(value)?.to_le_bytes()),
        DataType::Int8 => raw.extend(whole::<i8>(value)?.to_le_bytes()),
        DataType::Int16 => raw.extend(whole::<i16>(value)?.to_le_bytes()),
        DataType::Int32 => raw.extend(whole::<i32>(value)?.to_le_bytes()),
        DataType::Int64 => raw.extend(whole::<i64>(value)?.to_le_bytes()),
        DataType::Fp16 => raw.extend(f16::from_f64(value.as_f64()?).to_le_bytes()),
        DataType::Bf16 => raw.extend(bf16::from_f64(value.as_f64()?).to_le_bytes()),
        #[expect(clippy::cast_possible_truncation, reason = "FP32 is what the model takes")]
        DataType::Fp32 => raw.extend((value.as_f64()? as f32).to_le_bytes()),
        DataType::Fp64 => raw.extend(value.as_f64()?.to_le_bytes()),
        DataType::Bytes => push_bytes(value.as_str()?.as_bytes(), raw),
    }
    Some(())
}

fn whole<T: TryFrom<i128>>(value: &Value) -> Option<T> {
    let number = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    T::try_from(number?).ok()
}

/// Appends an element of BYTES: its length and itself.
pub fn push_bytes(bytes: &[u8], raw: &mut Vec<u8>) {
    // Inputs have less than 2 GiB, so that a length always fits.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    raw.extend(length.to_le_bytes());
    raw.extend(bytes);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::push_json;
    use crate::types::{DataType, Shape, Tensor};

    fn raw(dtype: DataType, value: &serde_json::Value) -> Option<Vec<u8>> {
        let mut raw = Vec::new();
        push_json(dtype, value, &mut raw).map(|()| raw)
    }

    #[test]
    fn flat_and_nested_data_are_the_same_tensor() {
        let tensor = |data| Tensor::from_json(DataType::Fp32, Shape::new(&[2, 2]), &data);
        let expected = Tensor::from_f32(Shape::new(&[2, 2]), &[1., 2., 3., 4.]);
        assert_eq!(tensor(json!([1, 2, 3, 4])), expected);
        assert_eq!(tensor(json!([[1, 2], [3, 4]])), expected);
        assert_eq!(tensor(json!([1, 2, 3])), Err("expected 4 values for shape [2,2], got 3".to_owned()));
        assert_eq!(tensor(json!([1, 2, 3, "4"])), Err("value 3: expected FP32, got \"4\"".to_owned()));
        let scalar = Tensor::from_json(DataType::Int8, Shape::new(&[]), &json!(7)).expect("a tensor");
        assert_eq!(&scalar.data()[..], [7]);
        let endless = Tensor::from_json(DataType::Int8, Shape::new(&[usize::MAX, 2]), &json!([]));
        assert!(endless.expect_err("no such shape").starts_with("expected countless values"));
    }

    #[test]
    fn json_values_are_the_protocols_bytes() {
        assert_eq!(raw(DataType::Bool, &json!(true)), Some(vec![1]));
        assert_eq!(raw(DataType::Int16, &json!(-2)), Some(vec![0xfe, 0xff]));
        assert_eq!(raw(DataType::Uint64, &json!(u64::MAX)), Some(vec![0xff; 8]));
        assert_eq!(raw(DataType::Fp32, &json!(1)), Some(1_f32.to_le_bytes().to_vec()));
        assert_eq!(raw(DataType::Fp16, &json!(1.5)), Some(vec![0x00, 0x3e]));
        assert_eq!(raw(DataType::Bf16, &json!(1.5)), Some(vec![0xc0, 0x3f]));
        assert_eq!(raw(DataType::Bytes, &json!("né")), Some(vec![3, 0, 0, 0, b'n', 0xc3, 0xa9]));
    }

    #[test]
    fn what_a_datatype_does_not_hold_is_refused() {
        for (dtype, value) in [
            (DataType::Uint8, json!(256)),
            (DataType::Uint8, json!(-1)),
            (DataType::Int8, json!(128)),
            (DataType::Int64, json!(1.5)),
            (DataType::Int64, json!(u64::MAX)),
            (DataType::Bool, json!(1)),
            (DataType::Fp64, json!("1")),
            (DataType::Bytes, json!(1)),
        ] {
            assert_eq!(raw(dtype, &value), None, "{dtype} {value}");
        }
    }
}
