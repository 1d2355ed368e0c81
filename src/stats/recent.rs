//! The last durations, exactly: for few and rare ones, where a histogram would weigh more than what it counts.

use std::collections::VecDeque;
use std::time::Duration;

use super::histogram::rank;

/// The last so many durations, in the order in which they came and by length.
///
/// Cost: 32 bytes each; recording searches and shifts, some 100 ns at 128 of them.
#[derive(Debug)]
pub struct RecentDurations {
    kept_max: usize,
    arrived: VecDeque<Duration>,
    sorted: Vec<Duration>,
}

impl RecentDurations {
    /// Keeps the last `kept_max` (at least one).
    pub fn new(kept_max: usize) -> Self {
        Self { kept_max: kept_max.max(1), arrived: VecDeque::new(), sorted: Vec::new() }
    }

    /// Takes one more; the oldest goes where there are too many.
    pub fn record(&mut self, duration: Duration) {
        if self.arrived.len() >= self.kept_max
            && let Some(oldest) = self.arrived.pop_front()
            && let Ok(at) = self.sorted.binary_search(&oldest)
        {
            self.sorted.remove(at);
        }
        self.arrived.push_back(duration);
        let at = self.sorted.partition_point(|kept| *kept < duration);
        self.sorted.insert(at, duration);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest that at least `share` (0 to 1) of all do not exceed; `None` if there is none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = rank(share, self.sorted.len() as u64);
        self.sorted.get(usize::try_from(rank).ok()? - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Duration, RecentDurations};

    proptest! {
        #[test]
        fn it_is_the_quantile_of_the_last_ones(
            millis in prop::collection::vec(0_u64..20, 0..60),
            kept_max in 1_usize..20,
            share in 0.0_f64..=1.0,
        ) {
            let mut recent = RecentDurations::new(kept_max);
            prop_assert_eq!(recent.quantile(share), None);
            for (at, duration) in millis.iter().enumerate() {
                recent.record(Duration::from_millis(*duration));
                let mut last = millis[(at + 1).saturating_sub(kept_max)..=at].to_vec();
                last.sort_unstable();
                prop_assert_eq!(recent.count(), last.len());
                let quantile = recent.quantile(share).expect("not empty");
                let below = |limit: Duration| last.iter().filter(|kept| Duration::from_millis(**kept) <= limit).count();
                #[expect(clippy::cast_precision_loss, reason = "few")]
                let enough = |count: usize| count as f64 >= share * last.len() as f64;
                prop_assert!(enough(below(quantile)));
                let shorter = quantile.checked_sub(Duration::from_millis(1));
                prop_assert!(quantile == Duration::from_millis(last[0]) || !enough(below(shorter.expect("more than 0"))));
            }
        }
    }
}
