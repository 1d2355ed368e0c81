//! Bucket bounds of every exposed histogram. Changing one breaks dashboards and sums over servers of mixed versions.

use std::sync::LazyLock;
use std::time::Duration;

use crate::stats::{bucket, edges, upper_nanos};

/// Of total, queue and compute, from 50 µs to 60 s: each at most 25 % above the one before, also as rounded to a
/// float.
pub(super) static FINE: LazyLock<Vec<usize>> =
    LazyLock::new(|| edges(Duration::from_micros(50), Duration::from_mins(1), 1.245));

/// Of the conversions: powers of two from 4 µs to 67 ms, the outer ones further apart.
pub(super) static COARSE: LazyLock<Vec<usize>> =
    LazyLock::new(|| [12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 24, 26].map(|power| bucket(1 << power)).to_vec());

/// An edge of the latency histograms in seconds, as exposed.
#[expect(clippy::cast_precision_loss, reason = "edges are small multiples of powers of two")]
pub(super) fn seconds(edge: usize) -> f64 {
    upper_nanos(edge) as f64 / 1e9
}

/// Of the confidence: fine where it matters, next to 1.
pub const CONFIDENCE: [f64; 16] =
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0];

/// Of margin and entropy: even, and finer at the ends.
pub(super) const RATIO: [f64; 14] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0];

/// Of an embedding's norm: fine about 1, which normalised ones have.
pub(super) const NORM: [f64; 15] = [0.01, 0.1, 0.5, 0.9, 0.99, 1.01, 1.1, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1e3, 1e4];

/// Of the cosine between an embedding and the mean of those before.
pub(super) const SIMILARITY: [f64; 16] =
    [-0.5, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];

/// Of the rows of a batch.
pub(super) const ROWS: [f64; 13] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// Of a regression's output whose range nobody declared: decades on both sides of zero.
const DECADES: [f64; 19] =
    [-1e6, -1e5, -1e4, -1e3, -1e2, -1e1, -1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];

const VALUE_STEPS: u32 = 20;

/// Of a regression's output: twenty even steps over the declared range, or decades if there is no usable one.
pub(super) fn values(range: Option<(f64, f64)>) -> Vec<f64> {
    let Some((low, high)) = range.filter(|(low, high)| low.is_finite() && high.is_finite()) else {
        return DECADES.to_vec();
    };
    let step = |index: u32| low + (high - low) * (f64::from(index) / f64::from(VALUE_STEPS));
    let bounds: Vec<f64> = (0..=VALUE_STEPS).map(step).collect();
    let rising = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if rising { bounds } else { DECADES.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::{COARSE, CONFIDENCE, FINE, NORM, RATIO, ROWS, SIMILARITY, seconds, values};

    #[test]
    fn latency_bounds_are_fine_where_promised() {
        let fine: Vec<f64> = FINE.iter().map(|edge| seconds(*edge)).collect();
        assert!(fine[0] <= 50e-6 && fine[fine.len() - 1] >= 60.0, "{fine:?}");
        assert!(fine.windows(2).all(|pair| pair[1] <= pair[0] * 1.25));
        assert!(fine.len() <= 68);
        assert_eq!(COARSE.len(), 12);
        assert!((seconds(COARSE[0]) - 4.096e-6).abs() < 1e-12);
    }

    #[test]
    fn all_bounds_rise() {
        let strange = [
            None,
            Some((0.0, 300.0)),
            Some((1.0, 1.0)),
            Some((2.0, 1.0)),
            Some((f64::NAN, 1.0)),
            Some((f64::MIN, f64::MAX)),
        ];
        let mut tables = [&CONFIDENCE[..], &NORM, &RATIO, &ROWS, &SIMILARITY].map(<[f64]>::to_vec).to_vec();
        tables.extend(strange.map(values));
        for table in tables {
            assert!(table.windows(2).all(|pair| pair[0] < pair[1]), "{table:?}");
        }
        assert_eq!(values(Some((0.0, 300.0))).len(), 21);
    }
}
