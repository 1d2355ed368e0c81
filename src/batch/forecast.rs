//! How many requests to expect soon: what a hold can gain.
//!
//! Arrivals follow the ends of batches: answered clients ask again. So arrivals are counted by their time since the last
//! batch ended, and averaged over batches; beyond that window the plain rate is used. Clients who have come already do
//! not come again before they are answered: what came early is not expected late.

use tokio::time::{Duration, Instant};

const BINS: usize = 16;
/// Weight of the newest batch, and of the newest gap, in the running means.
const WEIGHT: f64 = 0.1;
/// Gaps longer than this say that traffic paused, not how fast it is.
const GAP_MAX: Duration = Duration::from_secs(1);

/// Expected arrivals, learned.
#[derive(Debug)]
pub(super) struct Forecast {
    /// Length of a bin; zero if nothing is to be forecast.
    bin: Duration,
    /// Mean arrivals in each bin after the end of a batch.
    mean: [f64; BINS],
    /// Arrivals in each bin since the last end.
    counts: [f64; BINS],
    ended: Option<Instant>,
    arrived: Option<Instant>,
    /// Mean seconds between arrivals.
    gap: Option<f64>,
}

impl Forecast {
    /// A forecast for up to `window` after the end of a batch.
    pub(super) fn new(window: Duration) -> Self {
        let bin = window / u32::try_from(BINS).unwrap_or(1);
        Self { bin, mean: [0.0; BINS], counts: [0.0; BINS], ended: None, arrived: None, gap: None }
    }

    /// Something arrived.
    pub(super) fn arrived(&mut self, now: Instant) {
        if self.bin.is_zero() {
            return;
        }
        if let Some(before) = self.arrived {
            let gap = now.saturating_duration_since(before).min(GAP_MAX).as_secs_f64();
            self.gap = Some(self.gap.map_or(gap, |mean| mean + WEIGHT * (gap - mean)));
        }
        self.arrived = Some(now);
        let bin = self.ended.map(|ended| self.bin_of(now.saturating_duration_since(ended)));
        if let Some(count) = bin.and_then(|bin| self.counts.get_mut(bin)) {
            *count += 1.0;
        }
    }

    /// A batch ended.
    pub(super) fn ended(&mut self, now: Instant) {
        for (mean, count) in self.mean.iter_mut().zip(&mut self.counts) {
            *mean += WEIGHT * (*count - *mean);
            *count = 0.0;
        }
        self.ended = Some(now);
    }

    /// The times until which a hold from `now` may last, not beyond `latest`, each with the arrivals to expect before.
    pub(super) fn until(&self, now: Instant, latest: Instant) -> impl Iterator<Item = (Instant, f64)> + '_ {
        let mut at = now;
        let mut expected = -self.early(now);
        std::iter::from_fn(move || {
            if at >= latest || self.bin.is_zero() {
                return None;
            }
            let since = self.ended.map_or(Duration::MAX, |ended| at.saturating_duration_since(ended));
            let (edge, share) = match self.mean.get(self.bin_of(since)) {
                Some(mean) => {
                    let left = self.bin.saturating_sub(since_edge(since, self.bin));
                    (at + left, mean * left.div_duration_f64(self.bin))
                }
                None => (at + self.bin, self.gap.map_or(0.0, |gap| self.bin.as_secs_f64() / gap.max(1e-9))),
            };
            (at, expected) = (edge, expected + share);
            Some((edge.min(latest), expected.max(0.0)))
        })
    }

    /// Arrivals since the last end beyond those that were to be expected by now.
    fn early(&self, now: Instant) -> f64 {
        let Some(ended) = self.ended else { return 0.0 };
        let since = now.saturating_duration_since(ended);
        let whole = self.bin_of(since);
        let expected: f64 = self.mean.iter().take(whole).sum();
        let part =
            self.mean.get(whole).map_or(0.0, |mean| mean * since_edge(since, self.bin).div_duration_f64(self.bin));
        (self.counts.iter().sum::<f64>() - expected - part).max(0.0)
    }

    fn bin_of(&self, since: Duration) -> usize {
        usize::try_from(since.as_nanos() / self.bin.as_nanos().max(1)).unwrap_or(usize::MAX)
    }
}

/// Time since the last edge of a bin.
fn since_edge(since: Duration, bin: Duration) -> Duration {
    let nanos = since.as_nanos() % bin.as_nanos().max(1);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::Forecast;
    use tokio::time::{Duration, Instant};

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn arrivals_after_a_batch_are_expected_where_they_were_seen() {
        let mut forecast = Forecast::new(16 * MS);
        let mut now = Instant::now();
        for _ in 0..100 {
            forecast.ended(now);
            forecast.arrived(now + 3 * MS + MS / 2);
            forecast.arrived(now + 5 * MS + MS / 2);
            now += 20 * MS;
        }
        forecast.ended(now);
        let expected: Vec<f64> = forecast.until(now, now + 8 * MS).map(|(_, expected)| expected.round()).collect();
        assert_eq!(expected, [0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        let after = |forecast: &Forecast| -> Vec<f64> {
            forecast.until(now + 4 * MS, now + 6 * MS).map(|(_, count)| count.round()).collect()
        };
        assert_eq!(after(&forecast), [0.0, 1.0]);
        forecast.arrived(now + MS);
        forecast.arrived(now + 2 * MS);
        assert_eq!(after(&forecast), [0.0, 0.0], "both have come early");
    }

    #[test]
    fn long_after_a_batch_the_rate_is_expected() {
        let mut forecast = Forecast::new(16 * MS);
        let start = Instant::now();
        for step in 0..100 {
            forecast.arrived(start + 2 * MS * step);
        }
        let (until, expected) = forecast.until(start, start + 4 * MS).last().expect("steps");
        assert_eq!(until, start + 4 * MS);
        assert!((expected - 2.0).abs() < 0.01, "{expected}");
    }

    #[test]
    fn without_a_window_nothing_is_expected() {
        let mut forecast = Forecast::new(Duration::ZERO);
        let now = Instant::now();
        forecast.arrived(now);
        forecast.ended(now);
        assert_eq!(forecast.until(now, now + MS).count(), 0);
    }
}
