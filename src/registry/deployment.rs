//! One version that serves: its signature, queue, scoring and instruments.

use std::sync::Arc;

use tokio::time::Instant;

use crate::batch::{Limits, Listener, Queue};
use crate::config::{ModelConfig, ScoreKind};
use crate::model::{Loaded, Scoring};
use crate::monitor::{Instruments, Monitor, QueueView, ScorePlan};
use crate::types::{ModelName, Release, Signature, Version};

/// A version of a model that takes requests.
pub struct Deployment {
    /// Name of the model.
    pub name: ModelName,
    /// Its version.
    pub version: Version,
    /// What it takes and gives.
    pub signature: Signature,
    /// How sure it is, where it says how to tell.
    pub scoring: Option<Scoring>,
    /// The kind of model, for metadata.
    pub platform: &'static str,
    /// The model's own settings.
    pub config: ModelConfig,
    /// Where its rows wait.
    pub queue: Arc<Queue>,
    /// What is counted of it.
    pub instruments: Arc<Instruments>,
    /// Does it run on the network's threads, in batches so short that no request needs a timer of its own?
    pub inline: bool,
}

impl Deployment {
    /// A deployment of `loaded`, not yet in the table, with its series registered at zero.
    pub(super) fn new(
        name: &ModelName,
        version: Version,
        loaded: &Loaded,
        config: &ModelConfig,
        inline: bool,
        monitor: &Monitor,
    ) -> Arc<Self> {
        let queue = Queue::new(limits(config));
        let instruments = monitor.deployment(name, version, &score_plan(loaded.scoring.as_ref()));
        let view: std::sync::Weak<dyn QueueView> = Arc::downgrade(&(Arc::clone(&queue) as Arc<dyn QueueView>));
        instruments.watch_queue(view);
        Arc::new(Self {
            name: name.clone(),
            version,
            signature: loaded.signature.clone(),
            scoring: loaded.scoring.clone(),
            platform: loaded.platform,
            config: config.clone(),
            queue,
            instruments,
            inline,
        })
    }
}

fn limits(config: &ModelConfig) -> Limits {
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

fn score_plan(scoring: Option<&Scoring>) -> ScorePlan {
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
