//! How many requests of a model may be in progress: a limit that finds itself.
//!
//! A request's predicted wait is held against its deadline when it arrives, so it is rare that one is let in and still
//! ends late. Where that happens more often than rarely, something that the prediction does not know is slow: the device
//! is shared, the network's threads are busy, the model's cost has changed. The limit then follows the rule of TCP's
//! congestion control (Chiu and Jain 1989: additive increase, multiplicative decrease converges and is fair), with
//! lateness in the place of loss. Every 100 ms in which requests ended:
//!
//! - more than one in twenty ended late: the limit becomes four fifths of the most that were in progress;
//! - none did, and the limit was nearly reached: it grows by one batch;
//! - none did, and it was not reached: it grows by a fiftieth, so that a bad time is forgotten within some seconds.
//!
//! It never falls below two batches: one that runs and one that waits keep the device busy, so that no answer is lost by
//! the limit itself. Requests without time for four batches say nothing: who asks for the impossible lowers no limit.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::share::may_take;

const WINDOW: Duration = Duration::from_millis(100);
/// Requests that have to end before a window says anything.
const ENDED_MIN: u32 = 10;
/// One late in so many is too many.
const LATE_ONE_IN: u32 = 20;

/// The limit of one model.
#[derive(Debug)]
pub struct Adaptive {
    limit: AtomicUsize,
    in_progress: AtomicUsize,
    rule: Mutex<Rule>,
}

/// Why one more may not be in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// How many are.
    pub in_progress: usize,
    /// How many may be.
    pub limit: usize,
}

impl Adaptive {
    /// Begins at the `ceiling`; `batch` is the most rows that a batch has.
    pub fn new(batch: usize, ceiling: usize) -> Self {
        let rule = Rule::new(batch, ceiling);
        Self { limit: AtomicUsize::new(rule.limit), in_progress: AtomicUsize::new(0), rule: Mutex::new(rule) }
    }

    /// Requests that may be in progress.
    pub fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// One more is in progress, if a level of this α may have it. Call [`Self::leave`] once for each that may.
    pub fn enter(&self, alpha: usize) -> Result<(), Busy> {
        let (limit, in_progress) = (self.limit(), self.in_progress.fetch_add(1, Relaxed));
        if may_take(1, in_progress, limit.saturating_sub(in_progress), alpha) {
            return Ok(());
        }
        self.leave();
        Err(Busy { in_progress, limit })
    }

    /// One has ended that was in progress.
    pub fn leave(&self) {
        self.in_progress.fetch_sub(1, Relaxed);
    }

    /// Says of one that had time enough, and is in progress still, whether it ended late. Cost: one lock.
    pub fn ended(&self, late: bool, now: Instant) {
        let mut rule = self.rule.lock();
        rule.ended(late, self.in_progress.load(Relaxed), now);
        self.limit.store(rule.limit, Relaxed);
    }
}

/// The rule, without a clock.
#[derive(Debug)]
struct Rule {
    limit: usize,
    floor: usize,
    ceiling: usize,
    batch: usize,
    /// When the present window began.
    began: Option<Instant>,
    ended: u32,
    late: u32,
    most: usize,
}

impl Rule {
    fn new(batch: usize, ceiling: usize) -> Self {
        let ceiling = ceiling.max(1);
        let floor = batch.saturating_mul(2).clamp(1, ceiling);
        Self { limit: ceiling, floor, ceiling, batch: batch.max(1), began: None, ended: 0, late: 0, most: 0 }
    }

    fn ended(&mut self, late: bool, in_progress: usize, now: Instant) {
        let began = *self.began.get_or_insert(now);
        self.ended += 1;
        self.late += u32::from(late);
        self.most = self.most.max(in_progress);
        if self.ended >= ENDED_MIN && now.saturating_duration_since(began) >= WINDOW {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let reached = self.most >= self.limit / 10 * 9;
        let limit = if self.late > self.ended / LATE_ONE_IN {
            self.most.min(self.limit) / 5 * 4
        } else if self.late > 0 {
            self.limit
        } else if reached {
            self.limit.saturating_add(self.batch)
        } else {
            self.limit.saturating_add(self.limit / 50 + 1)
        };
        self.limit = limit.clamp(self.floor, self.ceiling);
        (self.began, self.ended, self.late, self.most) = (None, 0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, Rule};
    use proptest::prelude::*;

    /// Some windows in which `late` of 100 requests end late, `most` being in progress.
    fn windows(rule: &mut Rule, count: u32, late: u32, most: usize) {
        let mut now = Instant::now();
        for _ in 0..count {
            for number in 0..100 {
                now += Duration::from_micros(1020);
                rule.ended(number < late, most.min(rule.limit), now);
            }
        }
    }

    #[test]
    fn lateness_lowers_it_to_two_batches_at_least() {
        let mut rule = Rule::new(8, 4096);
        windows(&mut rule, 1, 5, 500);
        assert_eq!(rule.limit, 4096, "one in twenty is no reason");
        windows(&mut rule, 1, 6, 500);
        assert_eq!(rule.limit, 400);
        windows(&mut rule, 40, 100, 500);
        assert_eq!(rule.limit, 16);
    }

    #[test]
    fn it_grows_by_a_batch_while_it_is_reached_and_forgets_when_it_is_not() {
        let mut rule = Rule::new(8, 4096);
        windows(&mut rule, 40, 100, 500);
        windows(&mut rule, 10, 0, 4096);
        assert_eq!(rule.limit, 16 + 80);
        windows(&mut rule, 1, 1, 4096);
        assert_eq!(rule.limit, 96, "a single late one holds it");
        windows(&mut rule, 200, 0, 1);
        assert!(rule.limit > 2000, "{}", rule.limit);
    }

    proptest! {
        #[test]
        fn it_stays_between_floor_and_ceiling(
            batch in 1_usize..100,
            ceiling in 1_usize..1000,
            ends in prop::collection::vec((any::<bool>(), 0_usize..2000, 0_u64..50_000), 0..500),
        ) {
            let (mut rule, mut now) = (Rule::new(batch, ceiling), Instant::now());
            for (late, in_progress, micros) in ends {
                now += Duration::from_micros(micros);
                rule.ended(late, in_progress, now);
                prop_assert!(rule.limit >= rule.floor && rule.limit <= ceiling);
            }
        }
    }
}
