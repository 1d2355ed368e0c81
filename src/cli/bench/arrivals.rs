//! When the requests of an open loop are due: evenly, or as a Poisson process.

use std::time::Duration;

use super::random::Random;

/// How arrivals are spread at a given rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Spread {
    /// One after each equal gap.
    Constant,
    /// Independent users: gaps are exponentially distributed.
    Poisson,
}

impl Spread {
    /// Name on the command line and in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

/// The endless series of due times, as offsets from the start; never falling.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    spread: Spread,
    rate: f64,
    random: Random,
    /// In mean gaps, so that evenly spread arrivals are counted and do not drift.
    at: f64,
}

impl Arrivals {
    /// Arrivals at `rate` a second, which must be positive.
    pub(super) fn new(spread: Spread, rate: f64, seed: u64) -> Self {
        Self { spread, rate, random: Random::new(seed), at: 0.0 }
    }

    /// How many are due in `from..to`.
    pub(super) fn due_between(self, from: Duration, to: Duration) -> usize {
        self.take_while(|due| *due < to).filter(|due| *due >= from).count()
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.at += match self.spread {
            Spread::Constant => 1.0,
            Spread::Poisson => self.random.exponential(),
        };
        Some(Duration::try_from_secs_f64(self.at / self.rate).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Arrivals, Spread};

    #[test]
    fn constant_arrivals_do_not_drift() {
        let mut arrivals = Arrivals::new(Spread::Constant, 300.0, 0);
        let due: Vec<Duration> = arrivals.by_ref().take(900_000).collect();
        assert_eq!(due[299], Duration::from_secs(1));
        assert_eq!(due[899_999], Duration::from_mins(50));
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    fn poisson_gaps_are_exponential() {
        let rate = 250.0;
        let due: Vec<f64> =
            Arrivals::new(Spread::Poisson, rate, 42).take(200_000).map(|due| due.as_secs_f64()).collect();
        let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1] - pair[0]) * rate).collect();
        let count = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        // An exponential distribution of mean 1 has variance 1, and e^-1, e^-3 of it lie above 1 and 3.
        let above = |bound: f64| gaps.iter().filter(|gap| **gap > bound).count() as f64 / count;
        assert!((mean - 1.0).abs() < 0.01 && (variance - 1.0).abs() < 0.02, "mean {mean}, variance {variance}");
        assert!((above(1.0) - (-1.0_f64).exp()).abs() < 0.005, "{}", above(1.0));
        assert!((above(3.0) - (-3.0_f64).exp()).abs() < 0.002, "{}", above(3.0));
    }

    #[test]
    fn a_seed_repeats_the_arrivals() {
        let draw = |seed| Arrivals::new(Spread::Poisson, 10.0, seed).take(20).collect::<Vec<_>>();
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn arrivals_are_counted_where_they_are_due() {
        let (from, to) = (Duration::from_secs(1), Duration::from_secs(3));
        // Due at 1.0, 1.5, 2.0 and 2.5 s.
        assert_eq!(Arrivals::new(Spread::Constant, 2.0, 0).due_between(from, to), 4);
        let drawn = Arrivals::new(Spread::Poisson, 1000.0, 5).due_between(from, to);
        assert!((1800..2200).contains(&drawn), "{drawn}");
    }
}
