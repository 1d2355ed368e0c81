//! How sure a model was of each row.

use smallvec::SmallVec;

use super::Tensor;

/// How sure a classifier was of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScore {
    /// Index of the predicted class.
    pub class: usize,
    /// Probability of the predicted class, 0 to 1.
    pub confidence: f64,
    /// Probability of the predicted class less that of the runner-up, 0 to 1.
    pub margin: f64,
    /// Entropy of the probabilities divided by that of a uniform guess, 0 to 1.
    pub entropy: f64,
    /// Which bin of its histogram the confidence is in, where a device has told.
    pub bin: Option<u8>,
}

/// Scores of consecutive rows; `None` where an output was NaN or infinite.
#[derive(Clone, Debug, PartialEq)]
pub enum Scores {
    /// Of a classifier.
    Classes(SmallVec<[Option<ClassScore>; 2]>),
    /// Of a classifier whose classes do not exclude each other.
    Labels {
        /// The likeliest label of each row.
        top: SmallVec<[Option<ClassScore>; 2]>,
        /// Probability of every label, row by row; NaN where a row could not be scored.
        probabilities: Vec<f32>,
    },
    /// Predicted values of a regression.
    Values(SmallVec<[Option<f64>; 4]>),
    /// Embeddings `[rows, width]`.
    Embeddings(Tensor),
}

impl Scores {
    /// The score of each row, of a classifier of either sort.
    pub fn classes(&self) -> Option<&[Option<ClassScore>]> {
        match self {
            Self::Classes(rows) | Self::Labels { top: rows, .. } => Some(rows),
            Self::Values(_) | Self::Embeddings(_) => None,
        }
    }
}
