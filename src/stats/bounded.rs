//! Histogram over a declared table of bounds, for ratios, sizes and values that are not durations.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const CELL_BITS: u32 = 8;
/// Cells of the look-up table over 0 to 1; one more than steps, for 1 itself.
const CELLS: usize = (1 << CELL_BITS) + 1;

/// Counts of values between bounds, and their sum. Recorded without a lock.
#[derive(Debug)]
pub struct Bounded {
    bounds: Box<[f64]>,
    /// Where the search begins for a value from 0 to 1: the first bucket that a value of its cell can belong to.
    /// Ratios are recorded several times a request, and a binary search over their bounds would cost three times as
    /// much.
    cells: [u8; CELLS],
    /// One more than bounds: the last holds what is above all of them.
    counts: Box<[AtomicU64]>,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

/// What a [`Bounded`] held at one moment: plain data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BoundedCounts {
    /// Upper bounds, rising; each belongs to its bucket.
    pub bounds: Vec<f64>,
    /// Count of each bucket, not cumulative; one more than bounds, for what is above all of them.
    pub counts: Vec<u64>,
    /// Sum of all values.
    pub sum: f64,
}

impl BoundedCounts {
    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds the counts of a histogram over the same bounds.
    pub fn merge(&mut self, other: &Self) {
        if self.bounds.is_empty() {
            self.bounds.clone_from(&other.bounds);
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }
}

impl Bounded {
    /// An empty histogram. `bounds` must rise, and be at most 255.
    pub fn new(bounds: &[f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds: bounds.into(), cells: first_buckets(bounds), counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value. NaN and numbers beyond ±1e290 must be kept out by the caller: no sum recovers from an infinity.
    #[inline]
    pub fn record(&self, value: f64) {
        // At most the number of bounds, and there is one more count than bounds.
        self.counts[self.bucket(value)].fetch_add(1, Relaxed);
        self.add(value);
    }

    /// Counts a value in a bucket that somebody else has found; if there is none of this number, in that of the value.
    #[inline]
    pub fn record_in(&self, bucket: u8, value: f64) {
        match self.counts.get(usize::from(bucket)) {
            Some(count) => _ = count.fetch_add(1, Relaxed),
            None => return self.record(value),
        }
        self.add(value);
    }

    #[inline]
    fn add(&self, value: f64) {
        let mut bits = self.sum.load(Relaxed);
        loop {
            let sum = f64::from_bits(bits) + value;
            match self.sum.compare_exchange_weak(bits, sum.to_bits(), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(newer) => bits = newer,
            }
        }
    }

    #[inline]
    fn bucket(&self, value: f64) -> usize {
        match self.cells.get(cell(value)) {
            Some(first) => {
                let mut bucket = usize::from(*first);
                while self.bounds.get(bucket).is_some_and(|bound| *bound < value) {
                    bucket += 1;
                }
                bucket
            }
            None => self.bounds.partition_point(|bound| *bound < value),
        }
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Everything recorded so far.
    pub fn snapshot(&self) -> BoundedCounts {
        BoundedCounts {
            bounds: self.bounds.to_vec(),
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum: f64::from_bits(self.sum.load(Relaxed)),
        }
    }
}

/// The cell of a value from 0 to 1; no cell of the table for any other.
///
/// Adding 1 shifts the leading bits of the value to a fixed place, in a third of the instructions of a checked cast.
#[inline]
fn cell(value: f64) -> usize {
    const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - CELL_BITS;
    let leading = (value + 1.0).to_bits() >> SHIFT;
    usize::try_from(leading.wrapping_sub(1_f64.to_bits() >> SHIFT)).unwrap_or(usize::MAX)
}

/// For each cell, the bucket of the lowest value that may fall into it: adding 1 rounds some from below its edge.
fn first_buckets(bounds: &[f64]) -> [u8; CELLS] {
    let mut cells = [0; CELLS];
    for (cell, first) in (0_u32..).zip(&mut cells) {
        let lowest = f64::from(cell) / f64::from(1 << CELL_BITS) - f64::EPSILON;
        *first = u8::try_from(bounds.partition_point(|bound| *bound < lowest)).unwrap_or(0);
    }
    cells
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Bounded, BoundedCounts};

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Bounded::new(&[-1.0, 0.0, 1.0]);
        for value in [-5.0, -1.0, -0.5, 0.0, 0.1, 1.0, 1.1] {
            histogram.record(value);
        }
        let seen = histogram.snapshot();
        assert_eq!(seen.counts, [2, 2, 2, 1]);
        assert_eq!((seen.count(), histogram.count()), (7, 7));
        assert!((seen.sum + 4.3).abs() < 1e-9);
    }

    #[test]
    fn sums_rise_under_contention() {
        let histogram = Bounded::new(&[0.5]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| histogram.record(0.25)));
            }
        });
        let mut seen = BoundedCounts::default();
        seen.merge(&histogram.snapshot());
        assert_eq!(seen.count(), 40_000);
        assert!((seen.sum - 10_000.0).abs() < 1e-6, "quarters are summed exactly");
    }

    /// Ratios, sixteenths among them, and what lies beside and far off.
    fn number() -> impl Strategy<Value = f64> {
        let sixteenths = (0_u8..=16).prop_map(|part| f64::from(part) / 16.0);
        prop_oneof![0.0_f64..1.0, -0.01_f64..0.01, -3.0_f64..4.0, -1e290_f64..1e290, sixteenths]
    }

    proptest! {
        #[test]
        fn buckets_are_those_of_a_plain_search(
            mut bounds in prop::collection::vec(number(), 0..30),
            values in prop::collection::vec(number(), 1..50),
        ) {
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
            let histogram = Bounded::new(&bounds);
            for value in bounds.iter().chain(&values) {
                prop_assert_eq!(histogram.bucket(*value), bounds.partition_point(|bound| bound < value), "{}", value);
            }
        }
    }
}
