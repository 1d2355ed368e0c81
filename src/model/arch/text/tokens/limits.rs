//! What ids, token types and lengths a model can take.

use super::super::super::encoder::Plan;
use super::super::Positions;

/// The bounds of a model's tables.
#[derive(Clone, Copy, Debug)]
pub(in crate::model::arch::text) struct Limits {
    pub(super) vocabulary: usize,
    /// Token types that there are; `None` if the model has none.
    pub(super) types: Option<usize>,
    /// Tokens of the longest row.
    pub(super) length_max: usize,
    pub(super) positions: Positions,
    /// The id that fills shorter rows where ids are shown.
    pub(super) padding: u32,
}

impl Limits {
    /// `None` if no position is left for a token.
    pub(in crate::model::arch::text) fn new(plan: &Plan, positions: Positions, padding: Option<u32>) -> Option<Self> {
        let table = plan.positions.unwrap_or_default();
        let length_max = match positions {
            Positions::Counted => table,
            // The first token is one further than the padding.
            Positions::AfterPadding(padding) => table.checked_sub(usize::try_from(padding).ok()? + 1)?,
            Positions::Rotary(count) => count,
        };
        let padding = match positions {
            Positions::AfterPadding(padding) => padding,
            _ => padding.unwrap_or_default(),
        };
        let limits = Self { vocabulary: plan.vocabulary, types: plan.types, length_max, positions, padding };
        (length_max > 0).then_some(limits)
    }
}
