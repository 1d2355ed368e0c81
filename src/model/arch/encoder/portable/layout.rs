//! How a batch is cut for candle's products: short rows side by side, long ones alone and in pieces.
//!
//! A product costs some tens of microseconds before it begins, so that rows of a few tokens are taken together; what one row sees
//! of another is masked, and exactly zero after the softmax. A row alone needs no mask. The scores of a long row are never in
//! memory all at once.

use std::ops::Range;

use super::super::operators::Pooling;

/// Tokens of a group of several rows, at most. Doubling it doubles the scores that are masked.
const GROUP_TOKENS_MAX: usize = 32;
/// Scores of one head in a tile of a long row.
const SCORES_MAX: usize = 1 << 18;
/// Queries of a tile that has more scores than that all the same.
const QUERIES_MIN: usize = 64;

/// Rows that are taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) rows: Range<usize>,
    pub(super) tokens: Range<usize>,
}

/// Queries that are answered together, and the keys that they may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    rows: Range<usize>,
    pub(super) queries: Range<usize>,
    pub(super) keys: Range<usize>,
}

/// Where a row's tokens are.
fn tokens_of(offsets: &[usize], row: usize) -> Range<usize> {
    let at = |index: usize| offsets.get(index).copied().unwrap_or_default();
    at(row)..at(row + 1)
}

/// Cuts rows into groups, in order.
pub(super) fn groups(offsets: &[usize]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in 0..offsets.len().saturating_sub(1) {
        let tokens = tokens_of(offsets, row);
        match groups.last_mut() {
            Some(group) if tokens.end - group.tokens.start <= GROUP_TOKENS_MAX => {
                (group.rows.end, group.tokens.end) = (row + 1, tokens.end);
            }
            _ => groups.push(Group { rows: row..row + 1, tokens }),
        }
    }
    groups
}

impl Group {
    /// What each token weighs in its row's vector: `[rows, tokens]`, zeros elsewhere.
    #[expect(clippy::cast_precision_loss, reason = "lengths are far below 2^24")]
    pub(super) fn weights(&self, offsets: &[usize], pooling: Pooling) -> Vec<f32> {
        let mut weights = vec![0.0; self.rows.len() * self.tokens.len()];
        for (row, line) in self.rows.clone().zip(weights.chunks_exact_mut(self.tokens.len().max(1))) {
            let own = tokens_of(offsets, row);
            let length = own.len() as f32;
            let own = own.start - self.tokens.start..own.end - self.tokens.start;
            for (at, weight) in line.get_mut(own).unwrap_or_default().iter_mut().enumerate() {
                *weight = match pooling {
                    Pooling::MeanSqrtLength => 1.0 / length.sqrt(),
                    Pooling::WeightedMean => (at + 1) as f32 / (length * (length + 1.0) / 2.0),
                    _ => 1.0 / length,
                };
            }
        }
        weights
    }
}

/// Cuts groups into tiles, for tokens that see `reach` to either side of them.
pub(super) fn tiles(groups: &[Group], reach: Option<usize>) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for group in groups {
        let (rows, all) = (group.rows.clone(), group.tokens.clone());
        if rows.len() > 1 {
            tiles.push(Tile { rows, queries: all.clone(), keys: all });
            continue;
        }
        let seen = reach.map_or(all.len(), |reach| all.len().min(2 * reach + QUERIES_MIN));
        let step = (SCORES_MAX / seen.max(1)).max(QUERIES_MIN);
        for start in all.clone().step_by(step) {
            let queries = start..all.end.min(start + step);
            let keys = match reach {
                None => all.clone(),
                Some(reach) => all.start.max(start.saturating_sub(reach))..all.end.min(queries.end + reach),
            };
            tiles.push(Tile { rows: rows.clone(), queries, keys });
        }
    }
    tiles
}

/// What is added to a tile's scores, `[queries, keys]`: 0 where a key is seen, else minus infinity. `None` if all are.
pub(super) fn mask(tile: &Tile, offsets: &[usize], reach: Option<usize>) -> Option<Vec<f32>> {
    let width = tile.keys.len();
    let mut mask = vec![f32::NEG_INFINITY; tile.queries.len() * width];
    let mut is_whole = true;
    let mut rows = tile.rows.clone().map(|row| tokens_of(offsets, row));
    let mut row = rows.next().unwrap_or_default();
    for (query, line) in tile.queries.clone().zip(mask.chunks_exact_mut(width.max(1))) {
        while query >= row.end {
            row = rows.next()?;
        }
        let first = reach.map_or(row.start, |reach| row.start.max(query.saturating_sub(reach)));
        let end = reach.map_or(row.end, |reach| row.end.min(query + reach + 1));
        let seen = first - tile.keys.start..end - tile.keys.start;
        is_whole &= seen.len() == width;
        line.get_mut(seen).unwrap_or_default().fill(0.0);
    }
    (!is_whole).then_some(mask)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{GROUP_TOKENS_MAX, QUERIES_MIN, SCORES_MAX, groups, mask, tiles};

    /// Where each of these lengths begins, and the last ends.
    fn offsets(lengths: &[usize]) -> Vec<usize> {
        let mut offsets = vec![0];
        offsets.extend(lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        }));
        offsets
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_token_sees_its_own_row_within_reach_and_nothing_else(
            lengths in prop::collection::vec(prop_oneof![1_usize..9, 100_usize..300], 1..7),
            reach in prop::option::of(0_usize..40),
        ) {
            let offsets = offsets(&lengths);
            let groups = groups(&offsets);
            let row_of: Vec<usize> = (0..).zip(&lengths).flat_map(|(row, length)| vec![row; *length]).collect();
            let mut answered = 0;
            for tile in tiles(&groups, reach) {
                prop_assert_eq!(tile.queries.start, answered);
                answered = tile.queries.end;
                let (rows, width) = (tile.queries.len(), tile.keys.len());
                prop_assert!(rows <= QUERIES_MIN || rows * width <= 2 * SCORES_MAX);
                let mask = mask(&tile, &offsets, reach);
                for (at, query) in tile.queries.clone().enumerate() {
                    let wanted = |key: &usize| {
                        row_of[query] == row_of[*key] && reach.is_none_or(|reach| query.abs_diff(*key) <= reach)
                    };
                    let is_seen = |key: &usize| {
                        let added = mask.as_ref().map_or(0.0, |mask| mask[at * width + key - tile.keys.start]);
                        prop_assert!(added == 0.0 || added == f32::NEG_INFINITY);
                        Ok(added == 0.0)
                    };
                    for key in 0..*offsets.last().expect("an end") {
                        let seen = tile.keys.contains(&key) && is_seen(&key)?;
                        prop_assert_eq!(seen, wanted(&key), "{} sees {}", query, key);
                    }
                }
            }
            prop_assert_eq!(Some(&answered), offsets.last());
        }
    }

    #[test]
    fn short_rows_are_taken_together_and_long_ones_alone() {
        let lengths = [GROUP_TOKENS_MAX / 2, GROUP_TOKENS_MAX / 2, 1, GROUP_TOKENS_MAX + 1, 3, 4];
        let rows: Vec<_> = groups(&offsets(&lengths)).into_iter().map(|group| group.rows).collect();
        assert_eq!(rows, [0..2, 2..3, 3..4, 4..6]);
        let offsets = offsets(&[8192]);
        let tiles = tiles(&groups(&offsets), None);
        assert_eq!(tiles.len(), 8192 / QUERIES_MIN);
        assert_eq!(mask(&tiles[0], &offsets, None), None, "a row alone needs no mask");
    }
}
