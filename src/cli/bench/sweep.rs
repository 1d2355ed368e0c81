//! Where a sweep goes on and ends, and which of its steps is the knee.

use std::num::NonZeroUsize;

/// The knee is the least concurrency with this share of the best throughput.
pub(super) const KNEE_SHARE: f64 = 0.95;

/// A step must have this many times the best throughput before it to count as growth.
const GROWTH: f64 = 1.05;

/// Two steps without growth in a row end a sweep: one may be noise.
const STEPS_WITHOUT_GROWTH: usize = 2;

/// More calls at once than this say nothing new about a server that has not slowed by then.
const CONCURRENCY_MAX: usize = 4096;

/// What a step of the sweep gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Calls at once.
    pub(super) concurrency: usize,
    /// Good answers a second.
    pub(super) throughput: f64,
}

/// The next concurrency to measure; `None` ends the sweep.
pub(super) fn next(seen: &[Point]) -> Option<NonZeroUsize> {
    let Some(last) = seen.last() else { return Some(NonZeroUsize::MIN) };
    let (mut best, mut without_growth) = (0.0, 0);
    for point in seen {
        let grew = point.throughput > best * GROWTH;
        without_growth = if grew { 0 } else { without_growth + 1 };
        best = point.throughput.max(best);
    }
    let doubled = last.concurrency.saturating_mul(2);
    let goes_on = without_growth < STEPS_WITHOUT_GROWTH && doubled <= CONCURRENCY_MAX;
    goes_on.then(|| NonZeroUsize::new(doubled)).flatten()
}

/// The knee: the least concurrency that reaches [`KNEE_SHARE`] of the best throughput. `None` if nothing was answered.
pub(super) fn knee(seen: &[Point]) -> Option<Point> {
    let best = seen.iter().map(|point| point.throughput).fold(0.0, f64::max);
    let good = seen.iter().filter(|point| best > 0.0 && point.throughput >= KNEE_SHARE * best);
    good.min_by_key(|point| point.concurrency).copied()
}

#[cfg(test)]
mod tests {
    use super::{CONCURRENCY_MAX, Point, knee, next};

    fn points(throughputs: &[f64]) -> Vec<Point> {
        let each = throughputs.iter().enumerate();
        each.map(|(step, throughput)| Point { concurrency: 1 << step, throughput: *throughput }).collect()
    }

    /// The concurrencies that a server of this throughput is swept at.
    fn swept(throughput: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut seen = Vec::new();
        while let Some(concurrency) = next(&seen) {
            let concurrency = concurrency.get();
            seen.push(Point { concurrency, throughput: throughput(concurrency) });
        }
        seen.iter().map(|point| point.concurrency).collect()
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn a_sweep_doubles_until_two_steps_bring_nothing() {
        assert_eq!(swept(|concurrency| 100.0 * concurrency.min(8) as f64), [1, 2, 4, 8, 16, 32]);
        assert_eq!(swept(|_| 0.0), [1, 2]);
        assert_eq!(swept(|concurrency| concurrency as f64).last(), Some(&CONCURRENCY_MAX));
    }

    #[test]
    fn one_slow_step_does_not_end_a_sweep() {
        assert!(next(&points(&[100.0, 200.0, 190.0])).is_some());
        assert!(next(&points(&[100.0, 200.0, 190.0, 400.0])).is_some());
        assert!(next(&points(&[100.0, 200.0, 190.0, 205.0])).is_none());
    }

    #[test]
    fn the_knee_is_the_least_concurrency_near_the_best() {
        let seen = points(&[100.0, 190.0, 340.0, 382.0, 400.0, 390.0]);
        assert_eq!(knee(&seen).map(|point| point.concurrency), Some(8));
        assert_eq!(knee(&points(&[100.0])).map(|point| point.concurrency), Some(1));
        assert_eq!(knee(&points(&[0.0, 0.0])), None);
        assert_eq!(knee(&[]), None);
    }
}
