//! How sure a model was of each row.

use smallvec::SmallVec;

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
}

/// Scores of consecutive rows; `None` where an output was NaN or infinite.
#[derive(Clone, Debug, PartialEq)]
pub enum Scores {
    /// Of a classifier.
    Classes(SmallVec<[Option<ClassScore>; 2]>),
    /// Predicted values of a regression.
    Values(SmallVec<[Option<f64>; 4]>),
}
