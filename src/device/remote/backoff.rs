//! How long to wait before a worker that has died is started again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(10);
/// A worker that has been well for so long begins anew.
const HEALTHY: Duration = Duration::from_secs(30);

/// Doubles from one death to the next.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The wait after a life of `lived`. `chance`, between 0 and 1, makes it up to a fifth shorter or longer, so that the
    /// workers of several devices that one cause has ended do not start at one moment.
    pub(super) fn after(&mut self, lived: Duration, chance: f64) -> Duration {
        if lived >= HEALTHY {
            self.next = FIRST;
        }
        let wait = self.next.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0));
        self.next = (self.next * 2).min(LONGEST);
        wait
    }
}

/// A number between 0 and 1 that differs each time.
pub(super) fn chance() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "any number will do")]
    let share = random() as f64 / u64::MAX as f64;
    share
}

/// Any number, good enough where nobody gains by guessing it.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, chance};

    #[test]
    fn it_doubles_to_its_limit_and_forgets_after_good_health() {
        let mut backoff = Backoff::new();
        let mut waits: Vec<u128> = (0..10).map(|_| backoff.after(Duration::ZERO, 0.5).as_millis()).collect();
        waits.push(backoff.after(Duration::from_secs(30), 0.5).as_millis());
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 50]);
    }

    #[test]
    fn chance_moves_it_by_a_fifth() {
        let wait = |chance| Backoff::new().after(Duration::ZERO, chance).as_millis();
        assert_eq!((wait(0.0), wait(1.0)), (40, 60));
        assert!((0..100).map(|_| chance()).all(|chance| (0.0..=1.0).contains(&chance)));
        assert!(chance().to_bits() != chance().to_bits());
    }
}
