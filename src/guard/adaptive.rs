//! How many rows of a model may wait: a limit that finds itself.
//!
//! A request's predicted answer is held against its deadline when it arrives, so it is rare that one is let in and still
//! ends late. Where that happens more often than rarely, something that the prediction does not know is slow: the device
//! is shared, the network's threads are busy, the model's cost has changed. The limit then follows the rule of TCP's
//! congestion control (Chiu and Jain 1989: additive increase, multiplicative decrease converges and is fair), with
//! lateness in the place of loss. Every 100 ms in which requests ended:
//!
//! - more than one in twenty ended late: the limit becomes four fifths of the most rows that waited;
//! - none did, and the limit was nearly reached: it grows by one batch;
//! - none did, and it was not reached: it grows by a fiftieth, so that a bad time is forgotten within some seconds.
//!
//! It never falls below one batch: that one waits while another runs keeps the device busy, so that no answer is lost by
//! the limit itself. Requests without time for four batches say nothing: who asks for the impossible lowers no limit.

use tokio::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_millis(100);
/// Requests that have to end before a window says anything.
const ENDED_MIN: u32 = 10;
/// One late in so many is too many.
const LATE_ONE_IN: u32 = 20;

/// The limit of one model, without a clock.
#[derive(Debug)]
pub struct Adaptive {
    limit: usize,
    floor: usize,
    ceiling: usize,
    /// When the present window began.
    began: Option<Instant>,
    ended: u32,
    late: u32,
    most: usize,
}

impl Adaptive {
    /// Begins at the `ceiling`; `batch` is the most rows that a batch has.
    pub fn new(batch: usize, ceiling: usize) -> Self {
        let ceiling = ceiling.max(1);
        Self { limit: ceiling, floor: batch.clamp(1, ceiling), ceiling, began: None, ended: 0, late: 0, most: 0 }
    }

    /// Rows that may wait.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// So many rows wait now.
    pub fn saw(&mut self, waiting: usize) {
        self.most = self.most.max(waiting);
    }

    /// A request that had time enough ended.
    pub fn ended(&mut self, late: bool, now: Instant) {
        let began = *self.began.get_or_insert(now);
        self.ended += 1;
        self.late += u32::from(late);
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
            self.limit.saturating_add(self.floor)
        } else {
            self.limit.saturating_add(self.limit / 50 + 1)
        };
        self.limit = limit.clamp(self.floor, self.ceiling);
        (self.began, self.ended, self.late, self.most) = (None, 0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Adaptive, Duration, Instant};
    use proptest::prelude::*;

    /// Some windows in which `late` of 100 requests end late, and at most `most` rows wait.
    fn windows(adaptive: &mut Adaptive, count: u32, late: u32, most: usize) {
        let mut now = Instant::now();
        for _ in 0..count {
            for number in 0..100 {
                now += Duration::from_micros(1020);
                adaptive.saw(most.min(adaptive.limit));
                adaptive.ended(number < late, now);
            }
        }
    }

    #[test]
    fn lateness_lowers_it_to_one_batch_at_least() {
        let mut adaptive = Adaptive::new(8, 4096);
        windows(&mut adaptive, 1, 5, 500);
        assert_eq!(adaptive.limit, 4096, "one in twenty is no reason");
        windows(&mut adaptive, 1, 6, 500);
        assert_eq!(adaptive.limit, 400);
        windows(&mut adaptive, 40, 100, 500);
        assert_eq!(adaptive.limit, 8);
    }

    #[test]
    fn it_grows_by_a_batch_while_it_is_reached_and_forgets_when_it_is_not() {
        let mut adaptive = Adaptive::new(8, 4096);
        windows(&mut adaptive, 40, 100, 500);
        windows(&mut adaptive, 10, 0, 4096);
        assert_eq!(adaptive.limit, 8 + 80);
        windows(&mut adaptive, 1, 1, 4096);
        assert_eq!(adaptive.limit, 88, "a single late one holds it");
        windows(&mut adaptive, 200, 0, 1);
        assert!(adaptive.limit > 2000, "{}", adaptive.limit);
    }

    proptest! {
        #[test]
        fn it_stays_between_floor_and_ceiling(
            batch in 1_usize..100,
            ceiling in 1_usize..1000,
            ends in prop::collection::vec((any::<bool>(), 0_usize..2000, 0_u64..50_000), 0..500),
        ) {
            let (mut adaptive, mut now) = (Adaptive::new(batch, ceiling), Instant::now());
            for (late, waiting, micros) in ends {
                now += Duration::from_micros(micros);
                adaptive.saw(waiting);
                adaptive.ended(late, now);
                prop_assert!(adaptive.limit >= adaptive.floor && adaptive.limit <= ceiling);
            }
        }
    }
}
