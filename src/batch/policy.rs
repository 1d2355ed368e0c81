//! The batching decision: a pure function of what waits, what batches have cost, and `now`.
//!
//! Sizes count rows, or the tokens of rows that differ in length (`batch/item.rs`).
//!
//! A batch is chosen late, when the device is free. Its *head* is the first item of the most urgent level (of the
//! earliest deadline, where items of several groups compete), unless another was overtaken too often. The head is
//! joined by others of its group, the most urgent first and, within a level, clients in turn (`batch/fair.rs`). Where sizes
//! are tokens, a batch is no larger than pays: with a learned cost `a + b·size`, one of `15·a/b` spends fifteen sixteenths
//! of its time on its own tokens, and more company would only make it late.
//!
//! Rows may wait if the queue has room, their client its share of it, and their answer is predicted in time. Whether a
//! batch that is not full waits for company: `policy/hold.rs`.

mod ahead;
mod hold;
mod sweep;

use std::cmp::Ordering;

use tokio::time::{Duration, Instant};

use super::fair::Fair;
use super::forecast::Forecast;
use super::item::{Ask, Item, Limits, Unit};
use super::line::{Line, Taking};
use super::refusal::Refusal;
use super::room::Room;
use crate::guard::{Adaptive, alpha, may_take};
use crate::stats::Affine;
use crate::types::Release;

/// One part in so many of the time left is kept free when an answer is promised: costs vary.
const MARGIN_ONE_IN: u32 = 10;
/// Where sizes are tokens, a batch is this many times as dear as its fixed cost at least, if enough waits.
const WORTHWHILE: u32 = 15;
/// And no smaller than this, whatever was learned: fits of few batches are rough.
const WORTHWHILE_MIN: usize = 64;
/// After so long without a batch the learned cost is put to the test again, however long it says that one takes.
const COST_IS_STALE: Duration = Duration::from_secs(1);

/// A released batch: one group, in the order in which rows are joined.
#[derive(Debug)]
pub(super) struct Batch<T> {
    /// At least one item.
    pub(super) items: Vec<Item<T>>,
    /// Sum of the items' rows.
    pub(super) rows: usize,
    /// Sum of their sizes.
    pub(super) size: usize,
    /// Why it was released now.
    pub(super) release: Release,
}

/// What to do when the device is free.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// Run this batch.
    Run(Batch<T>),
    /// Ask again at this time, or when something arrives.
    Hold(Instant),
    /// Nothing waits.
    Empty,
}

/// What waits for one model, and the rule by which it is released.
#[derive(Debug)]
pub(super) struct Policy<T> {
    limits: Limits,
    /// Not empty, each; few: one for each level and each group that is present.
    lines: Vec<Line<T>>,
    rows: usize,
    size: usize,
    fair: Fair,
    adaptive: Adaptive,
    cost: Affine,
    /// How large a batch the device has memory for.
    room: Room,
    forecast: Forecast,
    /// When the last batch ended.
    ended: Option<Instant>,
    /// Is a batch being held back?
    holding: bool,
    /// No deadline in the queue is earlier than this.
    deadline_floor: Option<Instant>,
    /// When the running batch is expected to end, and the one behind it.
    busy_until: Option<Instant>,
    /// Size of the batch that the device has been given ahead.
    ahead: Option<usize>,
}

impl<T> Policy<T> {
    /// An empty queue that has learned nothing.
    pub(super) fn new(limits: Limits) -> Self {
        let forecast = Forecast::new(limits.hold_max);
        let adaptive = Adaptive::new(limits.batch_size_max, limits.queue_size_max);
        Self {
            limits,
            adaptive,
            lines: Vec::new(),
            rows: 0,
            size: 0,
            fair: Fair::default(),
            cost: Affine::new(),
            room: Room::default(),
            forecast,
            ended: None,
            holding: false,
            deadline_floor: None,
            busy_until: None,
            ahead: None,
        }
    }

    /// Rows that wait.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Items that wait.
    pub(super) fn items(&self) -> usize {
        self.lines.iter().map(|line| line.items.len()).sum()
    }

    /// Arrival of the item that has waited longest.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.lines.iter().flat_map(|line| &line.items).map(|item| item.arrived).min()
    }

    /// How urgent the item is that goes next: its level, and until when it is wanted, or should be had.
    pub(super) fn urgency(&self, now: Instant) -> Option<(usize, Instant)> {
        let head = self.head(now)?;
        let (level, deadline, _) = self.lines.get(head.line)?.urgency(now);
        Some((level, deadline))
    }

    /// When [`Policy::sweep`] should be called next: no item expires before.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.deadline_floor
    }

    /// May these rows wait as well?
    pub(super) fn admit(&self, ask: &Ask, now: Instant) -> Result<(), Refusal> {
        // An empty queue takes any request that a queue may hold.
        let limit = if self.size == 0 { self.limits.queue_size_max } else { self.adaptive.limit() };
        let waiting = self.size;
        let free = limit.saturating_sub(waiting);
        if ask.size > free {
            let full = waiting.saturating_add(ask.size) > self.limits.queue_size_max;
            return Err(if full { Refusal::Full { waiting } } else { Refusal::Crowded { waiting, limit } });
        }
        let (held, alpha) = (self.fair.size(ask.client), alpha(ask.level, self.limits.levels));
        if !may_take(ask.size, held, free, alpha) {
            return Err(Refusal::Share { held, free, alpha });
        }
        let Some(deadline) = ask.deadline else { return Ok(()) };
        if deadline <= now {
            return Err(Refusal::Expired);
        }
        let (wait, left) = (self.predicted_answer(ask, now), deadline - now);
        let late = wait.saturating_add(left / MARGIN_ONE_IN) > left;
        if late && !self.is_due_for_a_test(now) { Err(Refusal::TooLate { wait, left }) } else { Ok(()) }
    }

    /// Size of what may wait now.
    pub(super) fn size_limit(&self) -> usize {
        self.adaptive.limit()
    }

    /// A request that had time enough was answered, or expired: in time, or late?
    pub(super) fn ended(&mut self, late: bool, now: Instant) {
        self.adaptive.ended(late, now);
    }

    /// Lets an item wait. The caller has asked [`Policy::admit`] under the same lock.
    pub(super) fn push(&mut self, mut item: Item<T>) {
        self.forecast.arrived(item.arrived);
        self.rows += item.rows;
        self.size += item.size;
        self.adaptive.saw(self.size);
        self.deadline_floor = earliest(self.deadline_floor, item.deadline);
        item.tag = self.fair.arrived(item.client, item.class, item.size);
        let found = self.lines.iter_mut().find(|line| line.group == item.group && line.level == item.level);
        if let Some(line) = found {
            line.push(item);
        } else {
            let mut line = Line::new(item.group, item.level);
            line.push(item);
            self.lines.push(line);
        }
    }

    /// Takes an item back whose answer is no longer wanted; `None` if it has left already. Cost: the line's items.
    pub(super) fn withdraw(&mut self, id: u64, group: u64, level: usize) -> Option<Item<T>> {
        let at = self.lines.iter().position(|line| line.group == group && line.level == level)?;
        let line = self.lines.get_mut(at)?;
        let position = line.items.iter().position(|item| item.id == id)?;
        let item = line.items.remove(position)?;
        line.size -= item.size;
        self.forget(&item);
        self.drop_empty_lines();
        Some(item)
    }

    /// What the free device should do. Call [`Policy::sweep`] first: what has expired must not run.
    pub(super) fn next(&mut self, now: Instant, draining: bool) -> Next<T> {
        let Some(head) = self.head(now) else { return Next::Empty };
        let (cap, limit) = self.cap(&head, now);
        if head.waiting < cap
            && !draining
            && let Some(due) = self.hold(&head, now)
        {
            self.holding = true;
            return Next::Hold(due);
        }
        let release = match draining {
            _ if head.waiting >= cap => limit,
            true => Release::Drain,
            false if self.holding && self.is_at_risk(&head, now) => Release::Deadline,
            false if self.holding => Release::Delay,
            false => Release::Idle,
        };
        self.take(&head, cap, release, now).map_or(Next::Empty, Next::Run)
    }

    /// A batch of this size took so long and ended `now`; the device is free again.
    pub(super) fn learn(&mut self, size: usize, took: Duration, now: Instant) {
        self.failed(now);
        self.room.succeeded(self.limits.batch_size_max, now);
        self.cost.learn(u32::try_from(size).unwrap_or(u32::MAX), took);
    }

    /// A batch failed: the device is free again, or begins the one that it was given ahead, and nothing was learned of its cost.
    pub(super) fn failed(&mut self, now: Instant) {
        self.busy_until = self.ahead.take().and_then(|size| self.predict(size)).map(|cost| now + cost);
        self.ended = Some(now);
        self.forecast.ended(now);
    }

    /// The device has too little memory for a batch of this size.
    pub(super) fn lacks_memory(&mut self, size: usize, now: Instant) {
        self.room.failed(size, now);
    }

    /// Learned cost of a batch; `None` until enough batches ran.
    pub(super) fn predict(&self, size: usize) -> Option<Duration> {
        self.cost.predict(u32::try_from(size).unwrap_or(u32::MAX))
    }

    /// Time until rows that arrive now are answered: the running batch, all that goes before them, and their own batch.
    fn predicted_answer(&self, ask: &Ask, now: Instant) -> Duration {
        let batch = self.full_size();
        let busy = self.busy_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let before = self.size_before(ask);
        // What does not fill a batch is joined by the newcomer.
        let (full, beside) = (before / batch, before % batch);
        let cost = |size: usize| self.predict(size).unwrap_or(Duration::ZERO);
        let whole = cost(batch).saturating_mul(u32::try_from(full).unwrap_or(u32::MAX));
        let own = beside.saturating_add(ask.size);
        busy.saturating_add(whole).saturating_add(cost(own.min(batch.max(ask.size))))
    }

    /// Size of what would go before: that of more urgent levels, and at the same level that of lesser tags.
    fn size_before(&self, ask: &Ask) -> usize {
        let tag = self.fair.next_tag(ask.client, ask.class);
        let before = self.lines.iter().map(|line| match line.level.cmp(&ask.level) {
            Ordering::Less => line.size,
            Ordering::Equal => line.size_until(tag),
            Ordering::Greater => 0,
        });
        before.sum()
    }

    /// Is the learned cost so old that a batch is better tried than refused?
    fn is_due_for_a_test(&self, now: Instant) -> bool {
        let fresh = |ended: Instant| now.saturating_duration_since(ended) < COST_IS_STALE;
        self.size == 0 && self.busy_until.is_none() && !self.ended.is_some_and(fresh)
    }

    fn head(&self, now: Instant) -> Option<Head> {
        let overdue = self.lines.iter().enumerate().filter(|(_, line)| line.overtaken >= self.limits.overtake_max);
        let passed_over = overdue.max_by_key(|(_, line)| line.overtaken);
        let most_urgent = || self.lines.iter().enumerate().min_by_key(|(_, line)| line.urgency(now));
        let (at, line) = passed_over.or_else(most_urgent)?;
        let first = line.first()?;
        let company = self.lines.iter().filter(|line| line.group == first.group);
        Some(Head {
            line: at,
            group: first.group,
            size: first.size,
            deadline: first.deadline,
            waiting: company.map(|line| line.size).sum(),
        })
    }

    /// Size of the largest batch, as configured or as the device has memory for.
    pub(super) fn size_max(&self) -> usize {
        self.room.limit().unwrap_or(usize::MAX).min(self.limits.batch_size_max)
    }

    /// Size of a batch that has all the company that it pays to have.
    pub(super) fn full_size(&self) -> usize {
        let limit = self.size_max();
        let (fixed, each) = (self.cost.fixed(), self.cost.per_row());
        if self.limits.unit == Unit::Rows || each.is_zero() || self.predict(limit).is_none() {
            return limit;
        }
        let worthwhile = fixed.saturating_mul(WORTHWHILE).as_nanos() / each.as_nanos();
        usize::try_from(worthwhile).unwrap_or(usize::MAX).max(WORTHWHILE_MIN).min(limit)
    }

    /// What the head's batch may have in size at most, and the reason to give when it has that.
    fn cap(&self, head: &Head, now: Instant) -> (usize, Release) {
        let (mut cap, mut limit) = (self.full_size(), Release::Full);
        if let Some(allowed) = self.size_in_time(head, now).filter(|allowed| *allowed < cap) {
            (cap, limit) = (allowed, Release::Deadline);
        }
        let reached = |size: &&usize| **size <= cap.min(head.waiting) && **size >= head.size;
        if let Some(size) = self.limits.preferred_sizes.iter().rev().find(reached)
            && *size < cap
        {
            (cap, limit) = (*size, Release::Preferred);
        }
        (cap, limit)
    }

    /// Where rows are dear, the largest batch with which the head is still in time. `None` where it does not matter: no
    /// deadline, cheap rows, or too late whatever is done.
    fn size_in_time(&self, head: &Head, now: Instant) -> Option<usize> {
        let left = head.deadline?.saturating_duration_since(now);
        let whole = self.predict(self.full_size())?;
        let (fixed, per_row) = (self.cost.fixed(), self.cost.per_row());
        let dear = whole.saturating_sub(fixed) > fixed;
        if !dear || whole <= left || per_row.is_zero() {
            return None;
        }
        let allowed = left.checked_sub(fixed)?.as_nanos() / per_row.as_nanos().max(1);
        usize::try_from(allowed).ok().filter(|allowed| *allowed >= head.size)
    }

    /// What may share the head's batch, the head included.
    fn company(&self, head: &Head) -> impl Iterator<Item = &Item<T>> {
        let group = head.group;
        self.lines.iter().filter(move |line| line.group == group).flat_map(|line| &line.items)
    }

    /// Takes the head and its company, of size `cap` at most (the head alone may exceed it).
    fn take(&mut self, head: &Head, cap: usize, release: Release, now: Instant) -> Option<Batch<T>> {
        let first = self.lines.get_mut(head.line).and_then(Line::pop)?;
        let mut taking = Taking::new(first, self.limits.batch_rows_max, cap);
        for level in 0..self.limits.levels {
            let line = self.lines.iter_mut().find(|line| line.group == head.group && line.level == level);
            if let Some(line) = line {
                line.take(&mut taking);
            }
        }
        let Taking { items, rows, size, .. } = taking;
        self.count_overtaken(&items);
        for item in &items {
            self.fair.served(item.client, item.class, item.size, item.tag);
        }
        self.rows -= rows;
        self.size -= size;
        self.drop_empty_lines();
        self.busy_until = self.predict(size).map(|cost| now + cost);
        self.holding = false;
        Some(Batch { items, rows, size, release })
    }

    /// An item has left without being served.
    fn forget(&mut self, item: &Item<T>) {
        self.rows -= item.rows;
        self.size -= item.size;
        self.fair.withdrawn(item.client, item.class, item.size, item.tag);
    }

    /// A line from which nothing was taken has been overtaken once more; the others begin anew.
    fn count_overtaken(&mut self, taken: &[Item<T>]) {
        for line in &mut self.lines {
            let served = taken.iter().any(|item| item.group == line.group && item.level == line.level);
            line.overtaken = if served { 0 } else { line.overtaken.saturating_add(1) };
        }
    }

    fn drop_empty_lines(&mut self) {
        self.lines.retain(|line| !line.items.is_empty());
        if self.lines.is_empty() {
            self.deadline_floor = None;
            self.fair.idle();
        }
    }
}

/// The item that goes next, seen from outside.
struct Head {
    line: usize,
    group: u64,
    size: usize,
    deadline: Option<Instant>,
    /// Size of what waits of its group, its own included.
    waiting: usize,
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "hold_tests.rs"]
mod hold_tests;

#[cfg(test)]
#[path = "lengths_tests.rs"]
mod lengths_tests;
