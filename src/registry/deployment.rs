//! One version that serves: its signature, queue, scoring and instruments.

use std::sync::Arc;

use tokio::time::Instant;

use crate::batch::{Limits, Listener, Queue, Worker};
use crate::config::{ModelConfig, ScoreKind};
use crate::guard::Tenant;
use crate::model::{About, Scoring};
use crate::monitor::{Instruments, QueueView, ScorePlan};
use crate::types::{ModelName, Release, Version};

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
    /// What runs its rows.
    pub worker: Arc<Worker>,
    /// What its requests hold of the server's limits.
    pub tenant: Arc<Tenant>,
    /// What is counted of it.
    pub instruments: Arc<Instruments>,
}

/// A model's settings as its queue's limits.
pub(super) fn limits(config: &ModelConfig) -> Limits {
    let batching = &config.batching;
    Limits {
        batch_rows_max: config.max_batch_size.get(),
        preferred_rows: batching.preferred_batch_sizes.iter().map(|size| size.get()).collect(),
        hold_max: batching.max_queue_delay,
        queue_rows_max: batching.queue_rows_max.get(),
        levels: batching.priority_levels.get(),
        overtake_max: u32::try_from(batching.overtake_max.get()).unwrap_or(u32::MAX),
    }
}

/// What to count of a model's answers.
pub(super) fn score_plan(scoring: Option<&Scoring>) -> ScorePlan {
    let Some(scoring) = scoring else { return ScorePlan::None };
    if scoring.kind == ScoreKind::Regression {
        return ScorePlan::Values { range: scoring.range };
    }
    ScorePlan::Classes { labels: scoring.labels.clone(), classes: scoring.classes(), low: scoring.low }
}

impl QueueView for Queue {
    fn rows(&self) -> usize {
        Self::rows(self)
    }

    fn oldest(&self) -> Option<Instant> {
        Self::oldest(self)
    }

    fn rows_limit(&self) -> usize {
        Self::rows_limit(self)
    }
}

impl Listener for Instruments {
    fn ran(&self, rows: usize, release: Release, now: Instant) {
        self.batch_ran(rows, release, now);
    }

    fn bisected(&self) {
        Self::bisected(self);
    }

    fn panicked(&self) {
        self.rebuilt();
    }
}
