//! When a batch is overdue: learned from how long batches of its size take.
//!
//! What is learned is the 99th percentile of the last batches in each class of sizes, a class an octave: 1, 2 to 3, 4 to 7 and
//! so on. A batch is overdue after ten times that, since a device that merely is slow shall be seen by the breaker, and only
//! one that hangs be given up.

use std::time::Duration;

use crate::stats::RecentDurations;

/// Batches by which a class is judged, and those after which it is.
const KEPT: usize = 128;
const LEARNED: usize = 20;
const SHARE: f64 = 0.99;
/// So many times what nearly all take.
const FACTOR: u32 = 10;
/// Never sooner than this: a process may be off the processor for so long.
const OVERDUE_MIN: Duration = Duration::from_millis(100);
/// As long as nothing is known.
const OVERDUE_UNLEARNED: Duration = Duration::from_secs(5);
const CLASSES: usize = usize::BITS as usize;

/// The watchdog of one model on one device, without a clock. Sizes are what [`crate::types::Rows::size`] gives.
#[derive(Debug, Default)]
pub struct Watchdog {
    /// By class; those that were not met have no entry yet.
    classes: Vec<Option<RecentDurations>>,
}

impl Watchdog {
    /// One that has learned nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch of this size was answered after so long. Batches that failed teach nothing.
    pub fn record(&mut self, size: usize, took: Duration) {
        let class = class(size);
        if self.classes.len() <= class {
            self.classes.resize_with(class + 1, || None);
        }
        if let Some(entry) = self.classes.get_mut(class) {
            entry.get_or_insert_with(|| RecentDurations::new(KEPT)).record(took);
        }
    }

    /// The time after which a batch of this size is overdue.
    ///
    /// By its own class; where that has not been learned, by the nearest. A larger batch takes at most as many times as long
    /// as it is larger, a smaller one no longer.
    pub fn overdue_after(&self, size: usize) -> Duration {
        let class = class(size);
        let nearest = (0..CLASSES).find_map(|distance| {
            let larger = self.learned(class + distance);
            larger.or_else(|| self.learned(class.checked_sub(distance)?).map(|usual| stretched(usual, distance)))
        });
        nearest.map_or(OVERDUE_UNLEARNED, |usual| usual.saturating_mul(FACTOR).max(OVERDUE_MIN))
    }

    /// What nearly all batches of a class take at most, if that has been learned.
    fn learned(&self, class: usize) -> Option<Duration> {
        let recent = self.classes.get(class)?.as_ref()?;
        recent.quantile(SHARE).filter(|_| recent.count() >= LEARNED)
    }
}

fn class(size: usize) -> usize {
    size.checked_ilog2().unwrap_or(0) as usize
}

/// What a batch takes that is so many octaves larger. A guess has no say beyond the time of one who knows nothing.
fn stretched(usual: Duration, octaves: usize) -> Duration {
    let larger = u32::try_from(octaves).ok().and_then(|octaves| 1_u32.checked_shl(octaves)).unwrap_or(u32::MAX);
    usual.saturating_mul(larger).min(usual.max(OVERDUE_UNLEARNED / FACTOR))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Duration, FACTOR, KEPT, LEARNED, OVERDUE_MIN, OVERDUE_UNLEARNED, Watchdog};

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn taught(size: usize, took: Duration, batches: usize) -> Watchdog {
        let mut watchdog = Watchdog::new();
        (0..batches).for_each(|_| watchdog.record(size, took));
        watchdog
    }

    #[test]
    fn until_twenty_batches_it_waits_for_five_seconds() {
        assert_eq!(taught(8, MILLISECOND, LEARNED - 1).overdue_after(8), OVERDUE_UNLEARNED);
        assert_eq!(taught(8, MILLISECOND, LEARNED).overdue_after(8), OVERDUE_MIN);
        assert_eq!(taught(8, 30 * MILLISECOND, LEARNED).overdue_after(8), 300 * MILLISECOND);
        assert_eq!(taught(8, 9000 * MILLISECOND, LEARNED).overdue_after(8), Duration::from_secs(90));
    }

    #[test]
    fn sizes_that_were_not_met_go_by_the_nearest() {
        let watchdog = taught(8, 30 * MILLISECOND, LEARNED);
        for (size, overdue) in [(1, 300), (15, 300), (16, 600), (63, 1200), (1 << 20, 5000), (usize::MAX, 5000)] {
            assert_eq!(watchdog.overdue_after(size), overdue * MILLISECOND, "{size}");
        }
        assert_eq!(watchdog.overdue_after(0), 300 * MILLISECOND);
        let slow = taught(8, 2000 * MILLISECOND, LEARNED);
        assert_eq!(slow.overdue_after(64), 20_000 * MILLISECOND, "never less than what is known");
    }

    #[test]
    fn one_hang_in_a_hundred_batches_is_no_measure_and_what_changed_is_learned_anew() {
        let mut watchdog = taught(8, 30 * MILLISECOND, KEPT - 1);
        watchdog.record(8, 3000 * MILLISECOND);
        assert_eq!(watchdog.overdue_after(8), 300 * MILLISECOND);
        (0..KEPT).for_each(|_| watchdog.record(8, 50 * MILLISECOND));
        assert_eq!(watchdog.overdue_after(8), 500 * MILLISECOND);
    }

    proptest! {
        /// Whatever was learned: what nearly all batches of a class took is not overdue, by far.
        #[test]
        fn usual_batches_are_never_overdue(
            batches in prop::collection::vec((0_usize..5000, 0_u64..3_000_000), 1..400),
            ask in 0_usize..1 << 24,
        ) {
            let mut watchdog = Watchdog::new();
            for (size, micros) in &batches {
                watchdog.record(*size, Duration::from_micros(*micros));
            }
            let overdue = watchdog.overdue_after(ask);
            prop_assert!(overdue >= OVERDUE_MIN);
            let longest = batches.iter().map(|(_, micros)| Duration::from_micros(*micros)).max().unwrap_or_default();
            prop_assert!(overdue <= (longest * FACTOR).max(OVERDUE_UNLEARNED), "{overdue:?}");
            for octave in 0..13 {
                let of_class = |(size, _): &&(usize, u64)| (*size).max(1).ilog2() == octave;
                let mut last: Vec<u64> = batches.iter().filter(of_class).map(|(_, micros)| *micros).rev().take(KEPT).collect();
                last.sort_unstable();
                let overdue = watchdog.overdue_after(1 << octave);
                if last.len() >= LEARNED {
                    let usual = last[(last.len() * 99).div_ceil(100) - 1];
                    prop_assert_eq!(overdue, (Duration::from_micros(usual) * FACTOR).max(OVERDUE_MIN));
                }
            }
        }
    }
}
