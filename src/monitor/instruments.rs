//! The instruments of one deployment: resolved once, recorded to without a look-up, a lock or an allocation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::bounds;
use super::latency::Latency;
use super::rungs::RungCounts;
use super::scores::{ScoreBook, ScorePlan};
use super::snapshot::{Snapshot, TokenCounts};
use super::traffic::Traffic;
use crate::stats::Bounded;
use crate::types::{Release, RungKind, Scores};

/// What can be seen of a deployment's queue.
pub trait QueueView: Send + Sync {
    /// Rows that wait.
    fn rows(&self) -> usize;
    /// When the oldest that waits arrived; `None` if none waits.
    fn oldest(&self) -> Option<Instant>;
    /// Size of what may wait now: rows, or tokens.
    fn size_limit(&self) -> usize;
    /// Are sizes tokens?
    fn counts_tokens(&self) -> bool;
}

/// What a batch held.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchCounts {
    /// Its rows.
    pub rows: usize,
    /// Its size: rows, or tokens.
    pub size: usize,
    /// What was computed beside that, to fill it up.
    pub padding: usize,
    /// Was the device given it while it computed another?
    pub ahead: bool,
}

/// Where one deployment's requests, batches and scores are counted. About 280 KiB, most of it the window's readings.
pub struct Instruments {
    pub(super) model: String,
    pub(super) version: String,
    pub(super) plan: ScorePlan,
    core: Arc<Core>,
    scores: ScoreBook,
    ready: AtomicBool,
    queue: Mutex<Option<Weak<dyn QueueView>>>,
}

/// What outlives a reload, whatever is scored before and after.
struct Core {
    traffic: Traffic,
    latency: Latency,
    batch_rows: Bounded,
    batch_size: AtomicU64,
    batch_padding: AtomicU64,
    batches_ahead: AtomicU64,
    batches: [AtomicU64; Release::ALL.len()],
    bisections: AtomicU64,
    rebuilds: AtomicU64,
    /// Of all deployments that share the series.
    model_bytes: AtomicU64,
    /// Requests that failed because too many were asked again already.
    retries_denied: AtomicU64,
    rungs: Mutex<BTreeMap<RungKind, Arc<RungCounts>>>,
}

impl Core {
    fn new(window: Duration, origin: Instant) -> Self {
        Self {
            traffic: Traffic::new(),
            latency: Latency::new(window, origin),
            batch_rows: Bounded::new(&bounds::ROWS),
            batch_size: AtomicU64::new(0),
            batch_padding: AtomicU64::new(0),
            batches_ahead: AtomicU64::new(0),
            batches: [const { AtomicU64::new(0) }; Release::ALL.len()],
            bisections: AtomicU64::new(0),
            rebuilds: AtomicU64::new(0),
            model_bytes: AtomicU64::new(0),
            retries_denied: AtomicU64::new(0),
            rungs: Mutex::default(),
        }
    }
}

impl Instruments {
    pub(super) fn new(labels: (String, String), plan: &ScorePlan, window: Duration, origin: Instant) -> Self {
        Self::over(Arc::new(Core::new(window, origin)), labels, plan, window, origin)
    }

    /// Instruments that go on counting where `self` stands, but score by another plan.
    pub(super) fn with_plan(&self, plan: &ScorePlan, window: Duration, origin: Instant) -> Self {
        let labels = (self.model.clone(), self.version.clone());
        Self::over(self.core.clone(), labels, plan, window, origin)
    }

    fn over(core: Arc<Core>, labels: (String, String), plan: &ScorePlan, window: Duration, origin: Instant) -> Self {
        Self {
            model: labels.0,
            version: labels.1,
            plan: plan.clone(),
            core,
            scores: ScoreBook::new(plan, window, origin),
            ready: AtomicBool::new(false),
            queue: Mutex::new(None),
        }
    }

    /// Model and version.
    pub fn labels(&self) -> (&str, &str) {
        (&self.model, &self.version)
    }

    /// Counts a batch that ran, before its requests are answered.
    ///
    /// The sliding window moves on here, where it costs one look at the time for all requests of a batch: nothing is
    /// recorded of an answered request unless a batch ran just before.
    pub fn batch_ran(&self, batch: BatchCounts, release: Release, now: Instant) {
        if self.core.latency.is_due(now) {
            self.scores.turn(now);
            self.core.latency.turn(now);
        }
        #[expect(clippy::cast_precision_loss, reason = "no batch has 2^53 rows")]
        self.core.batch_rows.record(batch.rows as f64);
        self.core.batch_size.fetch_add(batch.size as u64, Relaxed);
        self.core.batch_padding.fetch_add(batch.padding as u64, Relaxed);
        self.core.batches_ahead.fetch_add(u64::from(batch.ahead), Relaxed);
        // Releases are numbered in the order of `Release::ALL`; get() rather than trust in it.
        if let Some(batches) = self.core.batches.get(release as usize) {
            batches.fetch_add(1, Relaxed);
        }
    }

    /// Counts a failed batch that is cut in two.
    pub fn bisected(&self) {
        self.core.bisections.fetch_add(1, Relaxed);
    }

    /// Counts an executor that was built anew.
    pub fn rebuilt(&self) {
        self.core.rebuilds.fetch_add(1, Relaxed);
    }

    /// A deployment with so many bytes of weights came to be.
    pub fn holds(&self, bytes: u64) {
        self.core.model_bytes.fetch_add(bytes, Relaxed);
    }

    /// A deployment with so many bytes of weights is gone.
    pub fn gave_back(&self, bytes: u64) {
        self.core.model_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Counters of one rung, shown from now on.
    pub fn rung(&self, name: RungKind) -> Arc<RungCounts> {
        Arc::clone(self.core.rungs.lock().entry(name).or_default())
    }

    /// Counts a request that was not asked again of the next rung, because too many were.
    pub fn retry_denied(&self) {
        self.core.retries_denied.fetch_add(1, Relaxed);
    }

    /// Says whether the deployment answers requests.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    /// Shows depth and age of this queue from now on, for as long as it lives.
    pub fn watch_queue(&self, queue: Weak<dyn QueueView>) {
        *self.queue.lock() = Some(queue);
    }

    /// Everything recorded so far. Cost: some 10 µs; not for the path of a request.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let core = &*self.core;
        let queue = self.queue.lock().as_ref().and_then(Weak::upgrade);
        let oldest = queue.as_ref().and_then(|queue| queue.oldest());
        let batches = Release::ALL.iter().zip(&core.batches);
        Snapshot {
            model: self.model.clone(),
            version: self.version.clone(),
            answered: core.traffic.answered(),
            failed: core.traffic.failed(),
            request_bytes: core.traffic.request_bytes(),
            response_bytes: core.traffic.response_bytes(),
            phases: core.latency.snapshot(now),
            batch_rows: core.batch_rows.snapshot(),
            batch_tokens: queue.as_ref().filter(|queue| queue.counts_tokens()).map(|_| TokenCounts {
                computed: core.batch_size.load(Relaxed),
                padding: core.batch_padding.load(Relaxed),
            }),
            batches: batches.map(|(release, count)| (*release, count.load(Relaxed))).collect(),
            bisections: core.bisections.load(Relaxed),
            batches_ahead: core.batches_ahead.load(Relaxed),
            rebuilds: core.rebuilds.load(Relaxed),
            queue_size_limit: queue.as_ref().map_or(0, |queue| queue.size_limit()),
            model_bytes: core.model_bytes.load(Relaxed),
            retries_denied: core.retries_denied.load(Relaxed),
            rungs: core.rungs.lock().iter().map(|(name, counts)| counts.snapshot(*name)).collect(),
            queue_rows: queue.map_or(0, |queue| queue.rows()),
            queue_age: oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest)),
            ready: self.ready.load(Relaxed),
            scores: self.scores.snapshot(now),
        }
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.core.traffic
    }

    pub(super) fn latency(&self) -> &Latency {
        &self.core.latency
    }

    pub(super) fn scored(&self, scores: &Scores) {
        self.scores.record(scores);
    }
}

impl std::fmt::Debug for Instruments {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Instruments")
            .field("model", &self.model)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::types::Release;

    #[test]
    fn releases_are_numbered_in_order() {
        assert!(Release::ALL.into_iter().enumerate().all(|(position, release)| release as usize == position));
    }
}
