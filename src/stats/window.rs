//! Sliding window over counters that only rise: what was counted lately is the counters less an older reading of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::histogram::nanos;

/// Readings of a row of counters at the ends of past time slices.
///
/// The recording side increments its counters and nothing else, so that one array serves both the sums since the start
/// and the window, and no sum can ever go backwards. Once a slice ends, whoever comes first takes a reading
/// ([`Self::turn`]); everybody else only compares a number ([`Self::is_due`]). The window holds the slice that is
/// running and the `slices - 1` before it. Readings keep the low 32 bits of each counter: differences are exact below
/// 2^32 counts a window.
#[derive(Debug)]
pub struct Window {
    origin: Instant,
    slice: Duration,
    /// End of the running slice, in nanoseconds since `origin`.
    due_nanos: AtomicU64,
    readings: Mutex<Readings>,
}

#[derive(Debug)]
struct Readings {
    /// Readings at the ends of the last `slices - 1` slices and of the one before them, the oldest at `oldest`.
    ring: Vec<Box<[u32]>>,
    oldest: usize,
}

impl Window {
    /// A window of `length` over `cells` counters, moved on in `slices` steps (at least one), from `origin` on.
    pub fn new(cells: usize, length: Duration, slices: u32, origin: Instant) -> Self {
        let slices = slices.max(1);
        let slice = (length / slices).max(Duration::from_millis(1));
        let ring = (0..slices).map(|_| vec![0; cells].into()).collect();
        let due_nanos = AtomicU64::new(nanos(slice));
        Self { origin, slice, due_nanos, readings: Mutex::new(Readings { ring, oldest: 0 }) }
    }

    /// Has the running slice ended? Ask before recording, and [`Self::turn`] if so.
    #[inline]
    pub fn is_due(&self, now: Instant) -> bool {
        nanos(now.saturating_duration_since(self.origin)) >= self.due_nanos.load(Relaxed)
    }

    /// Ends the slices that are over by `now`: `cells` are the counters as they stand. Returns at once if another
    /// thread is at it. Cost: one load and one store a cell and ended slice.
    pub fn turn(&self, now: Instant, cells: impl Iterator<Item = u64>) {
        if let Some(mut readings) = self.readings.try_lock() {
            self.turn_locked(&mut readings, now, cells);
        }
    }

    /// What the window holds: the counters as they stand (`cells`) less the oldest reading.
    pub fn recent(&self, now: Instant, cells: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut readings = self.readings.lock();
        // Read under the lock, so that no reading is newer than the counters.
        let counters: Vec<u64> = cells.collect();
        self.turn_locked(&mut readings, now, counters.iter().copied());
        let oldest = &readings.ring[readings.oldest];
        counters.iter().zip(oldest).map(|(counter, old)| u64::from(low(*counter).wrapping_sub(*old))).collect()
    }

    fn turn_locked(&self, readings: &mut Readings, now: Instant, cells: impl Iterator<Item = u64>) {
        let (elapsed, due) = (nanos(now.saturating_duration_since(self.origin)), self.due_nanos.load(Relaxed));
        if elapsed < due {
            return;
        }
        let slice = nanos(self.slice);
        let ended = 1 + (elapsed - due) / slice;
        self.due_nanos.store(due + ended * slice, Relaxed);
        let length = readings.ring.len();
        // Nothing was recorded in the slices that nobody ended: they all get the same reading.
        let steps = usize::try_from(ended).unwrap_or(length).min(length);
        let first = readings.oldest;
        for (cell, counter) in cells.enumerate() {
            for step in 0..steps {
                if let Some(kept) = readings.ring[(first + step) % length].get_mut(cell) {
                    *kept = low(counter);
                }
            }
        }
        readings.oldest = (first + steps) % length;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is kept")]
fn low(counter: u64) -> u32 {
    counter as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::Window;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn forgets_what_is_older_than_the_window() {
        let origin = Instant::now();
        let window = Window::new(1, 60 * SECOND, 6, origin);
        assert_eq!(window.recent(origin + 5 * SECOND, [7].into_iter()), [7]);
        window.turn(origin + 11 * SECOND, [7].into_iter());
        assert_eq!(window.recent(origin + 59 * SECOND, [9].into_iter()), [9]);
        assert_eq!(window.recent(origin + 60 * SECOND, [9].into_iter()), [2], "the first slice has left");
        assert_eq!(window.recent(origin + 500 * SECOND, [9].into_iter()), [0]);
        assert_eq!(window.recent(origin + 501 * SECOND, [10].into_iter()), [1]);
    }

    #[test]
    fn counters_past_32_bits_are_told_apart() {
        let origin = Instant::now();
        let window = Window::new(1, 6 * SECOND, 6, origin);
        let near = u64::from(u32::MAX) - 1;
        window.turn(origin + 10 * SECOND, [near].into_iter());
        assert_eq!(window.recent(origin + 11 * SECOND, [near + 5].into_iter()), [5]);
    }

    proptest! {
        /// Against a list of every count and the slice in which it fell.
        #[test]
        fn holds_the_last_slices_exactly(
            steps in prop::collection::vec((0_u64..4_000, 0_u64..100), 1..80),
            slices in 1_u32..8,
        ) {
            let origin = Instant::now();
            let window = Window::new(1, slices * SECOND, slices, origin);
            let (mut millis, mut counter, mut history) = (0, 0, Vec::new());
            for (wait, counts) in steps {
                millis += wait;
                let now = origin + Duration::from_millis(millis);
                if window.is_due(now) {
                    window.turn(now, [counter].into_iter());
                }
                counter += counts;
                history.push((millis / 1000, counts));
                let first = (millis / 1000 + 1).saturating_sub(u64::from(slices));
                let want: u64 = history.iter().filter(|(slice, _)| *slice >= first).map(|(_, counts)| counts).sum();
                prop_assert_eq!(window.recent(now, [counter].into_iter()), [want]);
            }
        }
    }
}
