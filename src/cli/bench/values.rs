//! Values of tensors as raw contents: made ones, and ones read from JSON.

use half::{bf16, f16};
use serde_json::Value;

use super::random::Random;
use crate::types::DataType;

/// Whole numbers are drawn below this, so that every datatype holds them and few tables are too small for them.
const WHOLE_BOUND: u8 = 100;

/// Characters of a made byte string.
const TEXT_CHARS: u8 = 12;

/// Made values: booleans, whole numbers in `0..100`, floats in `[0, 1)`, lower-case words.
pub(super) fn made(dtype: DataType, elements: usize, random: &mut Random) -> Vec<u8> {
    let mut raw = Vec::with_capacity(elements.saturating_mul(dtype.width().unwrap_or(0)));
    for _ in 0..elements {
        push_made(dtype, random, &mut raw);
    }
    raw
}

fn push_made(dtype: DataType, random: &mut Random, raw: &mut Vec<u8>) {
    match dtype {
        DataType::Bool => raw.push(random.below(2)),
        DataType::Fp16 => raw.extend(f16::from_f64(random.unit()).to_le_bytes()),
        DataType::Bf16 => raw.extend(bf16::from_f64(random.unit()).to_le_bytes()),
        #[expect(clippy::cast_possible_truncation, reason = "a made value has no precision to lose")]
        DataType::Fp32 => raw.extend((random.unit() as f32).to_le_bytes()),
        DataType::Fp64 => raw.extend(random.unit().to_le_bytes()),
        DataType::Bytes => {
            let word: Vec<u8> = (0..TEXT_CHARS).map(|_| b'a' + random.below(26)).collect();
            push_bytes(&word, raw);
        }
        _ => {
            let value = u64::from(random.below(WHOLE_BOUND)).to_le_bytes();
            // Little-endian: a narrower number is the first bytes of a wider one.
            raw.extend(value.iter().take(dtype.width().unwrap_or(0)));
        }
    }
}

/// Appends a JSON value; `None` if the datatype does not hold it.
pub(super) fn push_json(dtype: DataType, value: &Value, raw: &mut Vec<u8>) -> Option<()> {
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

/// An element of BYTES: its length and itself.
fn push_bytes(bytes: &[u8], raw: &mut Vec<u8>) {
    // Inputs have less than 2 GiB, so that a length always fits.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    raw.extend(length.to_le_bytes());
    raw.extend(bytes);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{made, push_json};
    use crate::cli::bench::random::Random;
    use crate::types::DataType;

    fn raw(dtype: DataType, value: &serde_json::Value) -> Option<Vec<u8>> {
        let mut raw = Vec::new();
        push_json(dtype, value, &mut raw).map(|()| raw)
    }

    #[test]
    fn made_values_fill_every_datatype() {
        for dtype in DataType::ALL {
            let (one, other) = (made(dtype, 64, &mut Random::new(1)), made(dtype, 64, &mut Random::new(2)));
            assert_eq!(one.len(), 64 * dtype.width().unwrap_or(4 + 12), "{dtype}");
            assert_ne!(one, other, "{dtype}");
        }
        assert!(made(DataType::Bool, 100, &mut Random::new(3)).iter().all(|value| *value < 2));
        let wide = made(DataType::Int64, 100, &mut Random::new(3));
        assert!(wide.as_chunks::<8>().0.iter().all(|bytes| (0..100).contains(&i64::from_le_bytes(*bytes))));
        let floats = made(DataType::Fp32, 100, &mut Random::new(3));
        assert!(floats.as_chunks::<4>().0.iter().all(|bytes| (0.0..=1.0).contains(&f32::from_le_bytes(*bytes))));
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
