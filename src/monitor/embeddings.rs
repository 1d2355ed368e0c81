//! Embeddings: how long they are, and how like what came before. Both drift when the inputs do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::bounds;
use super::snapshot::ScoreSnapshot;
use crate::stats::Bounded;
use crate::types::Tensor;

/// The mean forgets: after so many rows a third of it is older.
const HORIZON: f64 = 1000.0;

/// Instruments for one model's embeddings.
#[derive(Debug)]
pub(super) struct EmbeddingBook {
    norm: Bounded,
    similarity: Bounded,
    non_finite: AtomicU64,
    mean: Mutex<Mean>,
}

/// Mean direction of the rows so far.
#[derive(Debug, Default)]
struct Mean {
    values: Vec<f64>,
    rows: f64,
}

impl EmbeddingBook {
    pub(super) fn new() -> Self {
        Self {
            norm: Bounded::new(&bounds::NORM),
            similarity: Bounded::new(&bounds::SIMILARITY),
            non_finite: AtomicU64::new(0),
            mean: Mutex::default(),
        }
    }

    /// Counts the rows of `[rows, width]` floating-point values. Cost: a lock, and some nanoseconds for each value.
    pub(super) fn record(&self, rows: &Tensor) {
        let width = rows.shape().row_elements().unwrap_or(0).max(1);
        let values = rows.to_f32().unwrap_or_default();
        let mut mean = self.mean.lock();
        for row in values.chunks_exact(width) {
            let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            if !norm.is_finite() {
                self.non_finite.fetch_add(1, Relaxed);
                continue;
            }
            self.norm.record(norm);
            if norm > 0.0
                && let Some(similarity) = mean.meet(row, norm)
            {
                self.similarity.record(similarity);
            }
        }
    }

    pub(super) fn snapshot(&self) -> ScoreSnapshot {
        ScoreSnapshot::Embeddings {
            norm: self.norm.snapshot(),
            similarity: self.similarity.snapshot(),
            non_finite: self.non_finite.load(Relaxed),
        }
    }
}

impl Mean {
    /// Cosine of the angle between the row and the mean so far, which then moves towards the row. `None` for the first row.
    fn meet(&mut self, row: &[f32], norm: f64) -> Option<f64> {
        if self.values.len() != row.len() {
            *self = Self { values: vec![0.0; row.len()], rows: 0.0 };
        }
        self.rows += 1.0;
        let rate = (1.0 / self.rows).max(1.0 / HORIZON);
        let (mut product, mut square) = (0.0, 0.0);
        for (mean, value) in self.values.iter_mut().zip(row) {
            let unit = f64::from(*value) / norm;
            product += unit * *mean;
            square += *mean * *mean;
            *mean += (unit - *mean) * rate;
        }
        (square > 0.0).then(|| (product / square.sqrt()).clamp(-1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::EmbeddingBook;
    use crate::monitor::ScoreSnapshot;
    use crate::types::{Shape, Tensor};

    fn rows(values: &[f32]) -> Tensor {
        Tensor::from_f32(Shape::new(&[values.len() / 2, 2]), values).expect("a tensor")
    }

    #[test]
    fn norms_and_the_likeness_to_what_came_before() {
        let book = EmbeddingBook::new();
        book.record(&rows(&[3.0, 4.0, 6.0, 8.0, -3.0, -4.0, 0.0, 0.0, f32::NAN, 1.0, f32::INFINITY, 0.0]));
        let ScoreSnapshot::Embeddings { norm, similarity, non_finite } = book.snapshot() else {
            unreachable!("it is of embeddings")
        };
        assert_eq!((norm.count(), similarity.count(), non_finite), (4, 2, 2));
        assert!((norm.sum - 20.0).abs() < 1e-9, "{}", norm.sum);
        // The second is like the first, the third its opposite.
        assert!(similarity.sum.abs() < 1e-9, "{}", similarity.sum);
        assert_eq!((similarity.counts[0], similarity.counts[similarity.counts.len() - 2]), (1, 1));
    }

    #[test]
    fn the_mean_follows_a_lasting_change() {
        let book = EmbeddingBook::new();
        for _ in 0..5000 {
            book.record(&rows(&[1.0, 0.0]));
        }
        for _ in 0..5000 {
            book.record(&rows(&[0.0, 1.0]));
        }
        let mean = book.mean.lock();
        assert!(mean.values[0] < 0.01 && mean.values[1] > 0.99, "{:?}", mean.values);
    }
}
