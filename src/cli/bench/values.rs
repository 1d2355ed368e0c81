//! Made values of tensors, as raw contents.

use half::{bf16, f16};

use super::random::Random;
use crate::types::{DataType, push_bytes};

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

#[cfg(test)]
mod tests {
    use super::made;
    use crate::cli::bench::random::Random;
    use crate::types::DataType;

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
}
