//! Log-linear histogram of durations: recorded without a lock, read with a bounded relative error.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const SUB_BITS: u32 = 6;
/// Buckets in each octave.
const SUBS: u64 = 1 << SUB_BITS;
/// Lowest and one past the highest octave: 2^10 ns is about 1 µs, 2^37 ns about 137 s.
const OCTAVES: std::ops::Range<u32> = 10..37;
/// Buckets of a histogram.
pub const BUCKETS: usize = ((OCTAVES.end - OCTAVES.start) as usize) << SUB_BITS;

/// Exponent and leading bits of the mantissa of the lowest octave's first value, as an `f64` has them.
const FIRST: u64 = leading_bits(1 << OCTAVES.start);

/// The bucket of a duration: bucket `i` holds what is above [`upper_nanos`]`(i - 1)` and at most `upper_nanos(i)`.
///
/// Upper edges belong to their bucket, as `le` means it. What lies outside the range goes to the first or last bucket.
/// A floating-point number is itself log-linear: its leading bits count the buckets, in half the instructions of
/// shifts.
#[inline]
pub const fn bucket(nanos: u64) -> usize {
    const HIGHEST: u64 = (1 << OCTAVES.end) - 1;
    let below = nanos.saturating_sub(1);
    let below = if below > HIGHEST { HIGHEST } else { below };
    #[expect(clippy::cast_possible_truncation, reason = "at most BUCKETS - 1")]
    let index = leading_bits(below).saturating_sub(FIRST) as usize;
    index
}

const fn leading_bits(value: u64) -> u64 {
    // Below 2^37, so neither conversion loses anything; a signed one is a single instruction.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let float = value.cast_signed() as f64;
    float.to_bits() >> (f64::MANTISSA_DIGITS - 1 - SUB_BITS)
}

/// The largest number of nanoseconds that a bucket holds. Buckets past the last have the last one's.
pub const fn upper_nanos(bucket: usize) -> u64 {
    let next = if bucket < BUCKETS { bucket + 1 } else { BUCKETS } as u64;
    let octave = next >> SUB_BITS;
    (SUBS + (next & (SUBS - 1))) << (octave + (OCTAVES.start - SUB_BITS) as u64)
}

fn middle_nanos(bucket: usize) -> u64 {
    let lower = if bucket == 0 { 1 << OCTAVES.start } else { upper_nanos(bucket - 1) };
    u64::midpoint(lower, upper_nanos(bucket))
}

/// Buckets whose upper edges cover `from..=to` such that each edge is at most `ratio` times the one before.
///
/// The first edge is at most `from`, the last at least `to`; the fewest edges that can do it are chosen. Both ends
/// must lie in the histogram's range, and `ratio` must be at least 1.02, one bucket's width.
pub fn edges(from: Duration, to: Duration, ratio: f64) -> Vec<usize> {
    let mut last = bucket(nanos(from));
    if upper_nanos(last) > nanos(from) {
        last = last.saturating_sub(1);
    }
    let mut chosen = vec![last];
    while upper_nanos(last) < nanos(to) && last + 1 < BUCKETS {
        let start = last;
        last += 1;
        while last + 1 < BUCKETS
            && within(upper_nanos(last + 1), upper_nanos(start), ratio)
            && upper_nanos(last) < nanos(to)
        {
            last += 1;
        }
        chosen.push(last);
    }
    chosen
}

#[expect(clippy::cast_precision_loss, reason = "edges are small multiples of powers of two")]
fn within(upper: u64, lower: u64, ratio: f64) -> bool {
    upper as f64 <= lower as f64 * ratio
}

/// A duration in nanoseconds.
#[inline]
pub fn nanos(duration: Duration) -> u64 {
    // Saturating would cost the hot path a branch for the year 2554: seconds are multiplied with wrapping instead.
    duration.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(duration.subsec_nanos()))
}

/// Counts of durations in 64 buckets an octave from 1 µs to 137 s, and their sum.
///
/// A bucket is at most 1/64 as wide as its lower edge, so its middle is at most 0.8 % off. Recording is two relaxed
/// atomic additions in some twenty instructions, without a lock or an allocation. 14 KiB each.
#[derive(Debug)]
pub struct Histogram {
    counts: Box<[AtomicU64]>,
    sum_nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self { counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), sum_nanos: AtomicU64::new(0) }
    }

    /// Counts a duration in nanoseconds.
    #[inline]
    pub fn record(&self, nanos: u64) {
        // `bucket` is below BUCKETS, the length.
        self.counts[bucket(nanos)].fetch_add(1, Relaxed);
        self.sum_nanos.fetch_add(nanos, Relaxed);
    }

    /// The count of each bucket, for a [`super::Window`].
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().map(|count| count.load(Relaxed))
    }

    /// Everything recorded so far. Cost: one load a bucket.
    pub fn distribution(&self) -> Distribution {
        let sum_nanos = self.sum_nanos.load(Relaxed);
        Distribution { counts: self.counts().collect(), sum_nanos }
    }
}

/// What a histogram held at one moment: plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    counts: Vec<u64>,
    sum_nanos: u64,
}

impl Distribution {
    /// From the counts of the buckets, [`BUCKETS`] of them; the sum is estimated by the middles of the buckets.
    pub fn from_counts(counts: Vec<u64>) -> Self {
        let each = counts.iter().enumerate().map(|(bucket, count)| count.saturating_mul(middle_nanos(bucket)));
        let sum_nanos = each.fold(0, u64::saturating_add);
        Self { counts, sum_nanos }
    }

    /// Adds what another one holds.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos);
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// The smallest duration that at least `share` (0 to 1) of all do not exceed, at most 1 % off between 1 µs and 137
    /// s; `None` if nothing was recorded.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        self.quantiles(&[share]).first().copied().flatten()
    }

    /// [`Self::quantile`] of each share, which must rise. Cost: one pass over the buckets.
    pub fn quantiles(&self, shares: &[f64]) -> Vec<Option<Duration>> {
        let count = self.count();
        let mut found = Vec::with_capacity(shares.len());
        let (mut bucket, mut seen) = (0, 0);
        for share in shares {
            let rank = rank(*share, count);
            while seen < rank && bucket < self.counts.len() {
                seen += self.counts[bucket];
                bucket += 1;
            }
            found.push((count > 0).then(|| Duration::from_nanos(middle_nanos(bucket.saturating_sub(1)))));
        }
        found
    }

    /// How many durations lie at or below the upper edge of each of `edges`, which must rise.
    pub fn cumulative(&self, edges: &[usize]) -> Vec<u64> {
        let mut below = Vec::with_capacity(edges.len());
        let (mut bucket, mut seen) = (0, 0);
        for edge in edges {
            while bucket <= *edge && bucket < self.counts.len() {
                seen += self.counts[bucket];
                bucket += 1;
            }
            below.push(seen);
        }
        below
    }
}

/// The nearest rank of a share of `count`, from 1 to `count`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is approximate above 2^53; the cast from a float saturates, and the result is clamped"
)]
pub(super) fn rank(share: f64, count: u64) -> u64 {
    ((share * count as f64).ceil() as u64).clamp(1, count.max(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{BUCKETS, Distribution, Histogram, bucket, edges, rank, upper_nanos};

    const SHARES: [f64; 7] = [0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0];

    fn filled(values: &[u64]) -> Histogram {
        let histogram = Histogram::new();
        for value in values {
            histogram.record(*value);
        }
        histogram
    }

    #[test]
    fn buckets_tile_the_range() {
        assert_eq!((bucket(0), bucket(1), bucket(1024), bucket(1025)), (0, 0, 0, 0));
        assert_eq!((bucket(u64::MAX), bucket(1 << 37), bucket((1 << 37) + 1)), (BUCKETS - 1, BUCKETS - 1, BUCKETS - 1));
        assert_eq!(upper_nanos(BUCKETS - 1), 1 << 37);
        for index in 0..BUCKETS {
            assert_eq!(bucket(upper_nanos(index)), index);
            assert_eq!(bucket(upper_nanos(index) + 1), (index + 1).min(BUCKETS - 1));
        }
    }

    #[test]
    fn edges_are_near_enough() {
        let (from, to) = (Duration::from_micros(50), Duration::from_mins(1));
        let chosen = edges(from, to, 1.25);
        let uppers: Vec<u64> = chosen.iter().map(|index| upper_nanos(*index)).collect();
        assert!(uppers[0] <= 50_000 && uppers[0] > 48_000 && *uppers.last().expect("some") >= 60_000_000_000);
        assert!(uppers.windows(2).all(|pair| pair[0] < pair[1] && pair[1] * 4 <= pair[0] * 5), "{uppers:?}");
        assert!(chosen.len() <= 68, "{}", chosen.len());
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Histogram::new().distribution().quantile(0.5), None);
        assert_eq!(Distribution::default().quantile(0.5), None);
    }

    #[test]
    fn both_ends_are_clamped_and_summed() {
        let seen = filled(&[0, 1, 300_000_000_000]).distribution();
        assert_eq!((seen.count(), seen.sum()), (3, Duration::from_nanos(300_000_000_001)));
        assert!(seen.quantile(0.5) < Some(Duration::from_nanos(1041)));
        assert!(seen.quantile(1.0) > Some(Duration::from_secs(136)));
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        // Even over the logarithm, so that every octave is met.
        prop::collection::vec((10_u32..37, 0.0_f64..1.0), 1..400).prop_map(|drawn| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^37")]
            let value = |(octave, part): (u32, f64)| (2_f64.powi(octave.cast_signed()) * (1.0 + part)) as u64;
            drawn.into_iter().map(value).collect()
        })
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent(mut values in values()) {
            let seen = filled(&values).distribution();
            values.sort_unstable();
            let got = seen.quantiles(&SHARES);
            for (share, got) in SHARES.into_iter().zip(got) {
                let index = usize::try_from(rank(share, values.len() as u64) - 1).expect("small");
                let exact = Duration::from_nanos(values[index]).as_secs_f64();
                prop_assert_eq!(seen.quantile(share), got);
                let got = got.expect("not empty").as_secs_f64();
                prop_assert!((got - exact).abs() <= 0.01 * exact, "{share}: {got} for {exact}");
            }
            prop_assert_eq!(seen.count(), values.len() as u64);
            prop_assert_eq!(seen.sum(), Duration::from_nanos(values.iter().sum()));
        }

        #[test]
        fn cumulative_counts_agree_with_the_data(values in values()) {
            let chosen = edges(Duration::from_micros(50), Duration::from_mins(1), 1.25);
            let below = filled(&values).distribution().cumulative(&chosen);
            for (edge, below) in chosen.iter().zip(below) {
                let exact = values.iter().filter(|value| **value <= upper_nanos(*edge)).count() as u64;
                prop_assert_eq!(below, exact);
            }
        }

        #[test]
        fn merging_is_recording_both(left in values(), right in values()) {
            let mut merged = filled(&left).distribution();
            merged.merge(&filled(&right).distribution());
            prop_assert_eq!(merged, filled(&[left, right].concat()).distribution());
        }
    }
}
