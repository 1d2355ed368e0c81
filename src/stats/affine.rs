//! Online fit of what a batch costs: seconds = a + b * rows, where the recent batches count most.

use std::time::Duration;

/// Weight that an observation keeps at each later one: a hundred batches on, a third of it is left.
const KEEP: f64 = 0.99;
/// Batches to learn before anything is predicted.
const LEARNED_MIN: u32 = 3;
/// An observation above so many times its prediction is taken for a hiccup and cut down to it.
const OUTLIER: f64 = 8.0;
/// Observations up to so many seconds are never hiccups: at this size the clock and the scheduler are the cost.
const OUTLIER_SECONDS_MIN: f64 = 50e-6;
/// So many hiccups in a row are no hiccups: the model has become slower.
const STREAK_MAX: u32 = 4;
/// Weight left to everything that was known when the model has become slower.
const KEEP_AFTER_STREAK: f64 = 0.02;

/// Least-squares fit of `seconds = a + b * rows` with exponential forgetting, under `a >= 0` and `b >= 0`.
///
/// Weighted means and centred moments are updated as in West, "Updating mean and variance estimates" (1979), which
/// stays exact where the raw sums would cancel. The slope is shrunk by the noise that is left (ridge, with a prior as
/// wide as the mean cost of a row), so that one odd batch among many of another size does not become a steep line; as
/// long as only one size was seen, all cost is fixed cost. Cost: some forty floating-point operations a batch, no
/// allocation.
#[derive(Clone, Debug, Default)]
pub struct Affine {
    weight: f64,
    mean_rows: f64,
    mean_seconds: f64,
    rows_rows: f64,
    rows_seconds: f64,
    seconds_seconds: f64,
    learned: u32,
    streak: u32,
    fixed: f64,
    per_row: f64,
}

impl Affine {
    /// A fit that has learned nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns that a batch of `rows` took so long.
    pub fn learn(&mut self, rows: u32, took: Duration) {
        let rows = f64::from(rows);
        let seconds = self.without_hiccup(rows, took.as_secs_f64());
        self.learned = self.learned.saturating_add(1);
        self.weight = self.weight * KEEP + 1.0;
        let (off_rows, off_seconds) = (rows - self.mean_rows, seconds - self.mean_seconds);
        self.mean_rows += off_rows / self.weight;
        self.mean_seconds += off_seconds / self.weight;
        self.rows_rows = self.rows_rows * KEEP + off_rows * (rows - self.mean_rows);
        self.rows_seconds = self.rows_seconds * KEEP + off_rows * (seconds - self.mean_seconds);
        self.seconds_seconds = self.seconds_seconds * KEEP + off_seconds * (seconds - self.mean_seconds);
        self.solve();
    }

    /// How long a batch of `rows` will take; `None` until three batches were learned.
    pub fn predict(&self, rows: u32) -> Option<Duration> {
        (self.learned >= LEARNED_MIN).then(|| duration(self.at(f64::from(rows))))
    }

    /// The learned cost of a batch however many rows it has; zero while nothing was learned.
    pub fn fixed(&self) -> Duration {
        duration(self.fixed)
    }

    /// The learned cost of each row; zero while only one size was seen.
    pub fn per_row(&self) -> Duration {
        duration(self.per_row)
    }

    fn at(&self, rows: f64) -> f64 {
        self.fixed + self.per_row * rows
    }

    /// `seconds`, cut where they are far above the prediction; a streak of such observations is believed instead, and
    /// most of what was known is forgotten.
    fn without_hiccup(&mut self, rows: f64, seconds: f64) -> f64 {
        let limit = (OUTLIER * self.at(rows)).max(OUTLIER_SECONDS_MIN);
        if self.learned < LEARNED_MIN || seconds <= limit {
            self.streak = 0;
            return seconds;
        }
        self.streak += 1;
        if self.streak < STREAK_MAX {
            return limit;
        }
        self.streak = 0;
        self.weight *= KEEP_AFTER_STREAK;
        self.rows_rows *= KEEP_AFTER_STREAK;
        self.rows_seconds *= KEEP_AFTER_STREAK;
        self.seconds_seconds *= KEEP_AFTER_STREAK;
        seconds
    }

    /// Minimises the weighted squares under `a >= 0`, `b >= 0`: in two dimensions the minimum lies inside, or on the
    /// one edge that the free minimum violates (both cannot be, since no batch takes negative time).
    fn solve(&mut self) {
        self.per_row = self.slope().max(0.0);
        self.fixed = self.mean_seconds - self.per_row * self.mean_rows;
        if self.fixed < 0.0 {
            let squares = self.rows_rows + self.weight * self.mean_rows * self.mean_rows;
            self.per_row = (self.rows_seconds + self.weight * self.mean_rows * self.mean_seconds) / squares;
            self.fixed = 0.0;
        }
    }

    fn slope(&self) -> f64 {
        let scale = self.weight * self.mean_rows * self.mean_rows;
        if self.rows_rows <= scale * 1e-12 {
            return 0.0;
        }
        let residue = (self.seconds_seconds - self.rows_seconds * self.rows_seconds / self.rows_rows).max(0.0);
        let prior = self.mean_seconds / self.mean_rows;
        let ridge = if prior > 0.0 { residue / self.weight / (prior * prior) } else { 0.0 };
        self.rows_seconds / (self.rows_rows + ridge)
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Affine;

    const MILLI: Duration = Duration::from_millis(1);

    fn near(got: Duration, want: Duration, relative: f64) -> bool {
        (got.as_secs_f64() - want.as_secs_f64()).abs() <= relative * want.as_secs_f64()
    }

    #[test]
    fn predicts_nothing_before_three_batches() {
        let mut fit = Affine::new();
        assert_eq!((fit.predict(1), fit.fixed(), fit.per_row()), (None, Duration::ZERO, Duration::ZERO));
        fit.learn(1, MILLI);
        fit.learn(2, MILLI);
        assert_eq!(fit.predict(1), None);
        fit.learn(3, MILLI);
        assert!(fit.predict(1).is_some());
    }

    #[test]
    fn one_size_is_all_fixed_cost() {
        let mut fit = Affine::new();
        for _ in 0..5000 {
            fit.learn(8, 4 * MILLI);
        }
        assert!(near(fit.fixed(), 4 * MILLI, 1e-6));
        assert_eq!(fit.per_row(), Duration::ZERO);
        assert_eq!(fit.predict(64), fit.predict(8));
    }

    #[test]
    fn a_hiccup_is_cut_and_a_slower_model_is_believed() {
        let mut fit = Affine::new();
        for round in 0..200_u32 {
            fit.learn(1 + round % 16, 2 * MILLI);
        }
        fit.learn(4, Duration::from_mins(1));
        assert!(fit.predict(4).expect("learned") < 3 * MILLI, "{fit:?}");
        for round in 0..20_u32 {
            fit.learn(1 + round % 16, 100 * MILLI);
        }
        assert!(near(fit.predict(8).expect("learned"), 100 * MILLI, 0.25), "{fit:?}");
        for round in 0..500_u32 {
            fit.learn(1 + round % 16, MILLI);
        }
        assert!(near(fit.predict(8).expect("learned"), MILLI, 0.5), "{fit:?}");
    }

    #[test]
    fn one_odd_batch_makes_no_steep_line() {
        let mut fit = Affine::new();
        for round in 0..300_u32 {
            fit.learn(8, Duration::from_micros(if round % 2 == 0 { 3600 } else { 4400 }));
        }
        fit.learn(9, Duration::from_micros(4400));
        assert!(fit.predict(64).expect("learned") < 20 * MILLI, "{fit:?}");
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut fit = Affine::new();
        for rows in [0, u32::MAX, 1, u32::MAX] {
            fit.learn(rows, Duration::MAX);
            fit.learn(rows, Duration::ZERO);
        }
        assert!(fit.predict(u32::MAX).is_some());
    }

    proptest! {
        #[test]
        fn finds_the_line_that_made_the_data(
            fixed in 1e-5_f64..1e-1,
            per_row in 1e-6_f64..1e-2,
            sizes in prop::collection::vec(1_u32..256, 50..200),
        ) {
            prop_assume!(sizes.iter().max() > sizes.iter().min());
            let mut fit = Affine::new();
            for &rows in &sizes {
                fit.learn(rows, Duration::from_secs_f64(fixed + per_row * f64::from(rows)));
            }
            for rows in [1, 16, 128, 256] {
                let want = Duration::from_secs_f64(fixed + per_row * f64::from(rows));
                prop_assert!(near(fit.predict(rows).expect("learned"), want, 0.1), "{rows}: {fit:?}, want {want:?}");
            }
        }

        #[test]
        fn noise_moves_predictions_little(
            noise in prop::collection::vec(0.8_f64..1.25, 200),
            sizes in prop::collection::vec(1_u32..65, 200),
        ) {
            let mut fit = Affine::new();
            for (rows, noise) in sizes.iter().zip(&noise) {
                fit.learn(*rows, Duration::from_secs_f64((2e-3 + 1e-4 * f64::from(*rows)) * noise));
            }
            for rows in [1_u32, 32, 64] {
                let want = Duration::from_secs_f64(2e-3 + 1e-4 * f64::from(rows));
                prop_assert!(near(fit.predict(rows).expect("learned"), want, 0.2), "{rows}: {fit:?}, want {want:?}");
            }
        }

        #[test]
        fn any_history_gives_a_finite_rising_line(
            history in prop::collection::vec((any::<u32>(), 0_u64..u64::MAX), 3..100),
        ) {
            let mut fit = Affine::new();
            for &(rows, nanos) in &history {
                fit.learn(rows, Duration::from_nanos(nanos));
            }
            let (small, large) = (fit.predict(1).expect("learned"), fit.predict(1000).expect("learned"));
            prop_assert!(small <= large && large < Duration::MAX, "{fit:?}");
        }
    }
}
