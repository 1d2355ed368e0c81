//! A line of the queue: what may share a batch and is equally urgent.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

use super::item::Item;

/// An item without a deadline competes with other groups as if it had this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Items of one group at one level, by their tags.
#[derive(Debug)]
pub(super) struct Line<T> {
    pub(super) group: u64,
    pub(super) level: usize,
    pub(super) items: VecDeque<Item<T>>,
    /// Sum of the items' rows.
    pub(super) rows: usize,
    /// Batches that went ahead of the present first item.
    pub(super) overtaken: u32,
}

impl<T> Line<T> {
    pub(super) fn new(group: u64, level: usize) -> Self {
        Self { group, level, items: VecDeque::new(), rows: 0, overtaken: 0 }
    }

    pub(super) fn first(&self) -> Option<&Item<T>> {
        self.items.front()
    }

    /// Puts an item in its place: behind those of a lesser tag, or of the same.
    pub(super) fn push(&mut self, item: Item<T>) {
        self.rows += item.rows;
        if self.items.back().is_none_or(|last| last.tag <= item.tag) {
            self.items.push_back(item);
        } else {
            let at = self.items.partition_point(|other| other.tag <= item.tag);
            self.items.insert(at, item);
        }
    }

    /// Rows of the items whose tag is at most `tag`; where only some are, an estimate from their number.
    pub(super) fn rows_until(&self, tag: u64) -> usize {
        let count = self.items.partition_point(|item| item.tag <= tag);
        self.rows.saturating_mul(count).div_ceil(self.items.len().max(1))
    }

    /// Sort key: the level, then the deadline of the first item, then its arrival.
    pub(super) fn urgency(&self, now: Instant) -> (usize, Instant, Instant) {
        let Some(first) = self.first() else { return (usize::MAX, now, now) };
        let patience = first.arrived + PATIENCE;
        (self.level, first.deadline.map_or(patience, |deadline| deadline.min(patience)), first.arrived)
    }

    /// Moves items from the front while `rows` stays within `cap`.
    pub(super) fn take(&mut self, items: &mut Vec<Item<T>>, rows: &mut usize, cap: usize) {
        while let Some(item) = self.items.pop_front_if(|item| *rows + item.rows <= cap) {
            *rows += item.rows;
            self.rows -= item.rows;
            items.push(item);
        }
    }
}
