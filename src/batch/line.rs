//! A line of the queue: what may share a batch and is equally urgent.

use std::collections::VecDeque;

use smallvec::SmallVec;
use tokio::time::{Duration, Instant};

use super::item::Item;

/// An item without a deadline competes with other groups as if it had this long.
const PATIENCE: Duration = Duration::from_secs(1);
/// Items of a line that may not fit a batch before the rest of the line is left alone: the queue's lock is held meanwhile.
const MISFITS_MAX: usize = 64;

/// Items of one group at one level, by their tags.
#[derive(Debug)]
pub(super) struct Line<T> {
    pub(super) group: u64,
    pub(super) level: usize,
    pub(super) items: VecDeque<Item<T>>,
    /// Sum of the items' sizes.
    pub(super) size: usize,
    /// Batches that went ahead of the present first item.
    pub(super) overtaken: u32,
}

impl<T> Line<T> {
    pub(super) fn new(group: u64, level: usize) -> Self {
        Self { group, level, items: VecDeque::new(), size: 0, overtaken: 0 }
    }

    pub(super) fn first(&self) -> Option<&Item<T>> {
        self.items.front()
    }

    /// Puts an item in its place: behind those of a lesser tag, or of the same.
    pub(super) fn push(&mut self, item: Item<T>) {
        self.size += item.size;
        if self.items.back().is_none_or(|last| last.tag <= item.tag) {
            self.items.push_back(item);
        } else {
            let at = self.items.partition_point(|other| other.tag <= item.tag);
            self.items.insert(at, item);
        }
    }

    /// Size of the items whose tag is at most `tag`; where only some are, an estimate from their number.
    pub(super) fn size_until(&self, tag: u64) -> usize {
        let count = self.items.partition_point(|item| item.tag <= tag);
        self.size.saturating_mul(count).div_ceil(self.items.len().max(1))
    }

    /// Sort key: the level, then the deadline of the first item, then its arrival.
    pub(super) fn urgency(&self, now: Instant) -> (usize, Instant, Instant) {
        let Some(first) = self.first() else { return (usize::MAX, now, now) };
        let patience = first.arrived + PATIENCE;
        (self.level, first.deadline.map_or(patience, |deadline| deadline.min(patience)), first.arrived)
    }

    /// Takes out the first.
    pub(super) fn pop(&mut self) -> Option<Item<T>> {
        let item = self.items.pop_front()?;
        self.size -= item.size;
        Some(item)
    }

    /// Moves items into `into` while they fit. Those that do not are passed over, a few, and with them what is behind them of
    /// the same client and class, whose order is kept.
    pub(super) fn take(&mut self, into: &mut Taking<T>) {
        let mut passed_over: SmallVec<[(u64, u8); 4]> = SmallVec::new();
        let mut at = 0;
        while into.has_room() && at < MISFITS_MAX {
            let Some(item) = self.items.get(at) else { return };
            let flow = (item.client, item.class);
            if passed_over.contains(&flow) || !into.fits(item) {
                passed_over.push(flow);
                at += 1;
            } else if let Some(item) = self.items.remove(at) {
                self.size -= item.size;
                into.push(item);
            }
        }
    }
}

/// A batch while it is chosen.
#[derive(Debug)]
pub(super) struct Taking<T> {
    pub(super) items: Vec<Item<T>>,
    pub(super) rows: usize,
    pub(super) size: usize,
    rows_max: usize,
    size_max: usize,
}

impl<T> Taking<T> {
    /// Begins with `head`, which may be larger than anything that joins it.
    pub(super) fn new(head: Item<T>, rows_max: usize, size_max: usize) -> Self {
        Self { rows: head.rows, size: head.size, items: vec![head], rows_max, size_max }
    }

    fn has_room(&self) -> bool {
        self.rows < self.rows_max && self.size < self.size_max
    }

    fn fits(&self, item: &Item<T>) -> bool {
        self.rows + item.rows <= self.rows_max && self.size + item.size <= self.size_max
    }

    fn push(&mut self, item: Item<T>) {
        self.rows += item.rows;
        self.size += item.size;
        self.items.push(item);
    }
}
