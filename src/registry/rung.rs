//! One device on which a version runs.

use std::sync::Arc;

use tokio::time::Instant;

use super::health::Health;
use crate::batch::Worker;
use crate::guard::{BreakerState, Pass, Verdict};
use crate::monitor::{RungCounts, RungFailure};
use crate::types::{BatchReport, Error, Rows, RungKind};

/// A device: its queue and worker, and how far it is trusted.
pub struct Rung {
    name: RungKind,
    worker: Arc<Worker>,
    health: Arc<Health>,
}

impl Rung {
    pub(super) fn new(name: RungKind, worker: Arc<Worker>, health: Arc<Health>) -> Self {
        health.serves(worker.queue());
        Self { name, worker, health }
    }

    /// What it is called.
    pub fn name(&self) -> RungKind {
        self.name
    }

    /// What runs its batches.
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// What is counted of it.
    pub fn counts(&self) -> &Arc<RungCounts> {
        self.health.counts()
    }

    /// Is it a process of its own, which is started again when it ends?
    pub fn is_process(&self) -> bool {
        self.health.is_process()
    }

    /// Where its breaker stands.
    pub fn state(&self, now: Instant) -> BreakerState {
        self.health.state(now)
    }

    /// Is its process there, if it is one?
    pub fn is_up(&self) -> bool {
        self.health.down().is_none()
    }

    /// Would it take a request now?
    pub fn serves(&self, now: Instant) -> bool {
        self.is_up() && self.health.state(now) != BreakerState::Open
    }

    /// Where its breaker stands.
    pub fn breaker(&self, now: Instant) -> BreakerState {
        self.health.state(now)
    }

    /// What keeps it from serving; empty if nothing does.
    pub fn trouble(&self, now: Instant) -> String {
        if let Some(why) = self.health.down() {
            return format!("{}: down, {why}", self.name.label());
        }
        match self.health.state(now) {
            BreakerState::Closed => String::new(),
            state => format!("{}: breaker {}", self.name.label(), state.label()),
        }
    }

    /// Lets a request try it. Errors: its process is down, or its breaker is open and somebody else can answer.
    pub fn admit(&self, now: Instant) -> Result<Admitted<'_>, Error> {
        Ok(Admitted { health: &self.health, pass: self.health.admit(now)? })
    }

    /// What is known of these rows: whether they made the device fail.
    pub fn verdict(&self, rows: &Rows, now: Instant) -> Verdict {
        self.health.verdict(rows, now)
    }
}

/// A request that tries a device. Dropped without a word, it tells nothing of it.
pub struct Admitted<'a> {
    health: &'a Health,
    pass: Option<Pass>,
}

impl Admitted<'_> {
    /// It was answered, in a batch that went so, and the answer is used.
    pub fn answered(self, report: &BatchReport, now: Instant) {
        self.health.counts().answered();
        self.well(report, now);
    }

    /// It was answered, in a batch that went so.
    pub fn well(mut self, report: &BatchReport, now: Instant) {
        self.health.answered(self.pass.take(), report, now);
    }

    /// It failed, and the device is to blame.
    pub fn failed(mut self, now: Instant) {
        self.health.failed(self.pass.take(), now);
    }

    /// Its answer held what is no number, and another device's did not.
    pub fn gave_non_finite(mut self, now: Instant) {
        self.health.counts().failed(RungFailure::NonFinite);
        self.health.failed(self.pass.take(), now);
    }

    /// Its rows ran alone, and the device is well.
    pub fn survived(&self, rows: &Rows) {
        self.health.survived(rows);
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.health.give_back(self.pass.take());
    }
}
