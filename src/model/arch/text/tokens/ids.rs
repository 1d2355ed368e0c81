//! Rows of token ids that a client made: everything is checked here, since a device would not survive a wrong one.

use super::pack::{Packing, TOKEN_BYTES};
use super::{IDS, Limits, MASK, TYPES};
use crate::model::Room;
use crate::types::{Error, Rows, Tensor};

/// Ids, and what goes with them: `[rows, tokens]` each.
pub(super) struct Given {
    pub(super) ids: Tensor,
    pub(super) mask: Option<Tensor>,
    pub(super) types: Option<Tensor>,
}

impl Given {
    /// Errors: shapes that differ, an id or type that the model does not know, a mask that is not ones and then zeros, a row that
    /// is empty or too long.
    pub(super) fn rows(&self, limits: &Limits, room: &mut Room<'_>) -> Result<Rows, Error> {
        let width = self.ids.shape().row_dims().first().copied().unwrap_or_default();
        for (name, other) in [(MASK, &self.mask), (TYPES, &self.types)] {
            let Some(other) = other else { continue };
            let (expected, got) = (self.ids.shape(), other.shape());
            if expected != got {
                return Err(Error::invalid(format!(
                    "input \"{name}\": expected shape {expected} as of {IDS}, got {got}"
                )));
            }
        }
        let count = self.ids.shape().rows().unwrap_or_default();
        if width == 0 {
            return Err(Error::invalid(format!(
                "input \"{IDS}\": expected tokens in each row, got shape {}",
                self.ids.shape()
            )));
        }
        room(count.saturating_mul(width).saturating_mul(TOKEN_BYTES))?;
        let mut packing = Packing::new(limits);
        for row in 0..count {
            let of = |tensor: &Tensor| numbers(tensor, row, width);
            let ids = of(&self.ids);
            let length = match &self.mask {
                Some(mask) => masked(row, &of(mask))?,
                None => width,
            };
            if length > limits.length_max {
                let most = limits.length_max;
                return Err(wrong(IDS, row, &format!("at most {most} tokens"), &length.to_string()));
            }
            let types = self.types.as_ref().map(of);
            let mut tokens = Vec::with_capacity(length);
            for (at, id) in ids.iter().take(length).enumerate() {
                let kind = types.as_ref().and_then(|types| types.get(at)).copied().unwrap_or_default();
                let id = below(limits.vocabulary, *id, IDS, row)?;
                tokens.push((id, below(limits.types.unwrap_or(1), kind, TYPES, row)?));
            }
            packing.push(tokens.into_iter());
        }
        packing.rows().ok_or_else(|| Error::invalid(format!("input \"{IDS}\": expected tokens in each row")))
    }
}

/// Row `row` of a tensor of `[rows, width]`.
fn numbers(tensor: &Tensor, row: usize, width: usize) -> Vec<i64> {
    let (all, _) = tensor.data().as_chunks::<8>();
    all.iter().skip(row * width).take(width).map(|bytes| i64::from_le_bytes(*bytes)).collect()
}

/// How many tokens a mask keeps.
fn masked(row: usize, mask: &[i64]) -> Result<usize, Error> {
    let length = mask.iter().take_while(|seen| **seen == 1).count();
    if let Some(other) = mask.iter().skip(length).find(|seen| **seen != 0) {
        let before = if *other == 1 { "1 after 0".to_owned() } else { other.to_string() };
        return Err(wrong(MASK, row, "ones, then zeros", &before));
    }
    if length == 0 {
        return Err(wrong(MASK, row, "ones, then zeros", "no ones"));
    }
    Ok(length)
}

fn below(bound: usize, number: i64, name: &str, row: usize) -> Result<u32, Error> {
    let known = u32::try_from(number).ok().filter(|number| usize::try_from(*number).is_ok_and(|number| number < bound));
    known.ok_or_else(|| wrong(name, row, &format!("numbers from 0 to {}", bound - 1), &number.to_string()))
}

fn wrong(name: &str, row: usize, expected: &str, got: &str) -> Error {
    Error::invalid(format!("input \"{name}\", row {row}: expected {expected}, got {got}"))
}
