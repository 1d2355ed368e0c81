//! What a deployment's instruments showed at one moment, as plain data: for the exposition and for reports in a
//! terminal.

use std::time::Duration;

use super::latency::Phase;
use super::rungs::RungSnapshot;
use crate::stats::{BoundedCounts, Distribution};
use crate::types::{Reason, Release};

/// Everything recorded for one model and version.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Name of the model.
    pub model: String,
    /// Version of the model.
    pub version: String,
    /// Requests answered without an error.
    pub answered: u64,
    /// Requests that failed, by every reason.
    pub failed: Vec<(Reason, u64)>,
    /// Bytes of requests.
    pub request_bytes: u64,
    /// Bytes of answers.
    pub response_bytes: u64,
    /// Times of answered requests, one for each of [`super::PHASES`] in order.
    pub phases: Vec<PhaseSnapshot>,
    /// Rows of batches.
    pub batch_rows: BoundedCounts,
    /// Tokens of batches; only of models whose rows differ in length.
    pub batch_tokens: Option<TokenCounts>,
    /// Batches by every release reason.
    pub batches: Vec<(Release, u64)>,
    /// Failed batches that were cut in two.
    pub bisections: u64,
    /// Batches that the device was given while it computed another.
    pub batches_ahead: u64,
    /// Executors built anew.
    pub rebuilds: u64,
    /// Bytes of the model's weights.
    pub model_bytes: u64,
    /// Requests that were not asked again of the next rung, because too many were.
    pub retries_denied: u64,
    /// The rungs of its ladder.
    pub rungs: Vec<RungSnapshot>,
    /// Size of what may wait: rows, or tokens.
    pub queue_size_limit: usize,
    /// Rows that wait.
    pub queue_rows: usize,
    /// Age of the oldest that waits.
    pub queue_age: Duration,
    /// Does the model answer requests?
    pub ready: bool,
    /// What was predicted, and how surely.
    pub scores: ScoreSnapshot,
}

/// Tokens of batches.
#[derive(Clone, Copy, Debug)]
pub struct TokenCounts {
    /// Of their rows.
    pub computed: u64,
    /// Computed beside those, to fill batches up.
    pub padding: u64,
}

/// Times of one phase.
#[derive(Clone, Debug)]
pub struct PhaseSnapshot {
    /// Which.
    pub phase: Phase,
    /// Over the sliding window.
    pub recent: Distribution,
    /// Since the start.
    pub total: Distribution,
}

/// What was predicted.
#[derive(Clone, Debug)]
pub enum ScoreSnapshot {
    /// The model declares nothing to score.
    None,
    /// By a classifier.
    Classes {
        /// Each class with a series of its own, then `other` if there are more.
        classes: Vec<ClassSnapshot>,
        /// Normalised entropy of the rows.
        entropy: BoundedCounts,
        /// Margin of the rows.
        margin: BoundedCounts,
        /// Rows below the threshold of confidence.
        low: u64,
        /// Rows with NaN or an infinity, which are in nothing else here.
        non_finite: u64,
    },
    /// By an embedding model.
    Embeddings {
        /// Euclidean norm of the embeddings.
        norm: BoundedCounts,
        /// Cosine between each and the running mean of those before.
        similarity: BoundedCounts,
        /// Rows with NaN or an infinity, which are in nothing else here.
        non_finite: u64,
    },
    /// By a regression.
    Values {
        /// Distribution of the predicted values.
        values: BoundedCounts,
        /// Values that were NaN or infinite, which are in nothing else here.
        non_finite: u64,
    },
}

/// What was predicted as one class.
#[derive(Clone, Debug)]
pub struct ClassSnapshot {
    /// Name of the class.
    pub label: String,
    /// Confidence of the rows predicted as this class.
    pub confidence: BoundedCounts,
    /// Probability of this class in all rows; only where classes do not exclude each other.
    pub probability: Option<BoundedCounts>,
    /// Rows predicted as this class over the sliding window.
    pub recent: u64,
}

impl Snapshot {
    /// Confidence of all rows of a classifier, whatever the class.
    pub fn confidence(&self) -> Option<BoundedCounts> {
        let ScoreSnapshot::Classes { classes, .. } = &self.scores else { return None };
        let mut all = BoundedCounts::default();
        for class in classes {
            all.merge(&class.confidence);
        }
        Some(all)
    }

    /// Times of one phase.
    pub fn phase(&self, phase: Phase) -> Option<&PhaseSnapshot> {
        self.phases.iter().find(|snapshot| snapshot.phase == phase)
    }
}
