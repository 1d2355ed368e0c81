//! One version that serves: its signature, queue, scoring and instruments.

use std::sync::Arc;

use super::budget::Held;
use super::declared::{Declared, StandIn};
use super::rungs::Rungs;
use crate::batch::{BatchShape, Limits, Unit};
use crate::config::{ModelConfig, ScoreKind};
use crate::guard::{RetryBudget, Tenant};
use crate::model::{About, Scoring};
use crate::monitor::{Instruments, ScorePlan};
use crate::types::{ModelName, Rows, Tensor, Version};

/// A version of a model that takes requests.
pub struct Deployment {
    /// Name of the model.
    pub name: ModelName,
    /// Its version.
    pub version: Version,
    /// What it takes and gives, and how sure it is.
    pub about: About,
    /// The model's own settings.
    pub config: ModelConfig,
    /// The devices that run its rows.
    pub rungs: Rungs,
    /// What answers where they cannot.
    pub declared: Vec<Declared>,
    /// Requests that may be asked of the next rung.
    pub retries: Arc<RetryBudget>,
    /// What its requests hold of the server's limits.
    pub tenant: Arc<Tenant>,
    /// What is counted of it.
    pub instruments: Arc<Instruments>,
    /// What it takes of the memory for models.
    pub(super) _weight: Weight,
}

impl Deployment {
    /// Is there one device and nobody else to answer?
    pub fn is_plain(&self) -> bool {
        self.rungs.is_single() && self.declared.is_empty() && !self.rungs.first().is_process()
    }

    /// Limits of its queues.
    pub fn limits(&self) -> &Limits {
        self.rungs.first().worker().queue().limits()
    }

    /// Keeps a good answer, for rungs that give the last one.
    pub fn remember(&self, rows: &Rows, outputs: &[Tensor]) {
        for declared in &self.declared {
            if let StandIn::Prediction(prediction) = &declared.stand_in {
                prediction.remember(rows, outputs);
            }
        }
    }

    /// The shapes of the last batches that differed, on the preferred device first.
    pub(super) fn shapes(&self) -> Vec<BatchShape> {
        let shapes = self.rungs.iter().map(|rung| rung.worker().shapes());
        shapes.into_iter().find(|shapes| !shapes.is_empty()).unwrap_or_default()
    }
}

/// The memory that a deployment's weights take, shown for as long as it lives.
pub(super) struct Weight {
    held: Held,
    instruments: Arc<Instruments>,
}

impl Weight {
    pub(super) fn new(held: Held, instruments: Arc<Instruments>) -> Self {
        instruments.holds(held.bytes());
        Self { held, instruments }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.instruments.gave_back(self.held.bytes());
    }
}

/// A model's settings as its queue's limits. Of rows that differ in length, tokens are counted: as many may wait as there
/// are in as many full batches as the rows would make.
pub(super) fn limits(config: &ModelConfig, about: &About) -> Limits {
    let batching = &config.batching;
    let (rows, queue_rows) = (config.max_batch_size.get(), batching.queue_rows_max.get());
    let is_packed = about.prepare.as_ref().is_some_and(|prepare| prepare.length_max().is_some());
    let (unit, batch_size_max, queue_size_max, preferred) = if is_packed {
        let tokens = batching.max_batch_tokens.get();
        (Unit::Tokens, tokens, tokens.saturating_mul(queue_rows.div_ceil(rows)), Vec::new())
    } else {
        (Unit::Rows, rows, queue_rows, batching.preferred_batch_sizes.iter().map(|size| size.get()).collect())
    };
    Limits {
        unit,
        batch_rows_max: rows,
        batch_size_max,
        preferred_sizes: preferred,
        hold_max: batching.max_queue_delay,
        queue_size_max,
        levels: batching.priority_levels.get(),
        overtake_max: u32::try_from(batching.overtake_max.get()).unwrap_or(u32::MAX),
    }
}

/// What to count of a model's answers.
pub(super) fn score_plan(scoring: Option<&Scoring>) -> ScorePlan {
    let Some(scoring) = scoring else { return ScorePlan::None };
    let (classes, low, exclusive) = (scoring.classes(), scoring.low, scoring.is_exclusive());
    match scoring.kind {
        ScoreKind::Regression => ScorePlan::Values { range: scoring.range },
        ScoreKind::Embedding => ScorePlan::Embeddings,
        _ => ScorePlan::Classes { labels: scoring.labels.clone(), classes, low, exclusive },
    }
}
