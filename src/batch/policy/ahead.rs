//! A batch for a device that takes it while it computes another: chosen early, and so only where waiting could not improve it.

use tokio::time::Instant;

use super::{Head, Policy};
use crate::batch::policy::Batch;
use crate::types::Release;

impl<T> Policy<T> {
    /// The batch that the device would be given if it were free, if nothing could join it. Call [`Policy::sweep`] first.
    ///
    /// One that is cut for a deadline, or to a preferred size, is left for when the device is free: by then it may be another.
    pub(in crate::batch) fn next_ahead(&mut self, now: Instant) -> Option<Batch<T>> {
        if self.size < self.full_size() && self.rows < self.limits.batch_rows_max {
            return None;
        }
        let head = self.head(now)?;
        let (cap, limit) = self.cap(&head, now);
        if limit != Release::Full || !self.is_full(&head, cap) {
            return None;
        }
        let running = self.busy_until.map(|until| until.saturating_duration_since(now)).unwrap_or_default();
        let batch = self.take(&head, cap, limit, now)?;
        self.busy_until = self.busy_until.map(|until| until + running);
        self.ahead = Some(batch.size);
        Some(batch)
    }

    /// Has a batch of the head and its company as many rows as it may have, or its size?
    fn is_full(&self, head: &Head, cap: usize) -> bool {
        let rows = || self.company(head).map(|item| item.rows).sum::<usize>();
        head.waiting >= cap || rows() >= self.limits.batch_rows_max
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, Instant};

    use crate::batch::item::{Ask, Item, Limits, Unit};
    use crate::batch::policy::{Next, Policy};
    use crate::batch::refusal::Refusal;
    use crate::types::Release;

    const MILLI: Duration = Duration::from_millis(1);

    fn limits(unit: Unit) -> Limits {
        Limits {
            unit,
            batch_rows_max: 8,
            batch_size_max: 80,
            preferred_sizes: Vec::new(),
            hold_max: MILLI,
            queue_size_max: 1000,
            levels: 2,
            overtake_max: 4,
        }
    }

    fn item(id: u64, rows: usize, size: usize, group: u64) -> Item<()> {
        let arrived = Instant::now();
        Item { id, rows, size, class: 0, group, level: 0, client: 0, tag: 0, arrived, deadline: None, payload: () }
    }

    /// A policy in which items of these rows and sizes wait.
    fn waiting(limits: Limits, items: impl IntoIterator<Item = (usize, usize, u64)>) -> Policy<()> {
        let mut policy = Policy::new(limits);
        for (id, (rows, size, group)) in (0..).zip(items) {
            policy.push(item(id, rows, size, group));
        }
        policy
    }

    #[test]
    fn only_a_batch_that_nothing_could_join_is_chosen_early() {
        let now = Instant::now();
        let chosen = |items: &[(usize, usize, u64)]| {
            let mut policy = waiting(limits(Unit::Tokens), items.iter().copied());
            policy.next_ahead(now).map(|batch| (batch.rows, batch.size, batch.release))
        };
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[(1, 40, 0), (1, 39, 0)]), None);
        assert_eq!(chosen(&[(1, 40, 0), (1, 40, 0), (1, 1, 0)]), Some((2, 80, Release::Full)));
        // As many rows as there may be, of less size.
        assert_eq!(chosen(&[(4, 4, 0), (4, 4, 0)]), Some((8, 8, Release::Full)));
        // Enough for a batch, of two groups.
        assert_eq!(chosen(&[(4, 60, 0), (4, 60, 1)]), None);
        // One row that is larger than a batch.
        assert_eq!(chosen(&[(1, 200, 0)]), Some((1, 200, Release::Full)));
    }

    #[test]
    fn batches_that_are_cut_for_another_reason_are_chosen_late() {
        let now = Instant::now();
        let preferred = Limits { preferred_sizes: vec![6], batch_size_max: 8, ..limits(Unit::Rows) };
        let mut policy = waiting(preferred, [(1, 1, 0); 7]);
        assert!(policy.next_ahead(now).is_none());
        let Next::Run(batch) = policy.next(now, false) else { panic!("a batch is due") };
        assert_eq!((batch.size, batch.release), (6, Release::Preferred));
    }

    #[test]
    fn answers_are_promised_for_when_both_have_ended() {
        let now = Instant::now();
        let rows = Limits { batch_size_max: 8, ..limits(Unit::Rows) };
        let mut policy = waiting(rows, [(1, 1, 0); 16]);
        for _ in 0..64 {
            policy.learn(8, 10 * MILLI, now);
        }
        let wait = |policy: &Policy<()>| {
            let ask = Ask { size: 8, class: 0, level: 0, client: 1, deadline: Some(now + MILLI) };
            match policy.admit(&ask, now) {
                Err(Refusal::TooLate { wait, .. }) => wait.as_millis(),
                other => panic!("{other:?}"),
            }
        };
        assert!(matches!(policy.next(now, false), Next::Run(_)) && policy.next_ahead(now).is_some());
        assert_eq!(wait(&policy), 30);
        policy.learn(8, 10 * MILLI, now);
        assert_eq!(wait(&policy), 20, "the one that was given ahead begins");
        policy.learn(8, 10 * MILLI, now);
        assert_eq!(wait(&policy), 10);
    }
}
