//! A call's place in the server, from its head to the last byte of its answer.
//!
//! A call becomes known step by step, and each step may refuse it before the next costs anything: the head (its client),
//! the announced length (bytes), the first bytes of the message (model, priority). Only then is the message decoded.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

use super::check;
use super::pipeline::Pipeline;
use crate::batch::Ask;
use crate::guard::{Client, Hold, alpha};
use crate::monitor::Journey;
use crate::registry::Deployment;
use crate::types::Error;

/// A call that has been let in. What it holds is given back when it is dropped.
pub struct Entry {
    pipeline: Arc<Pipeline>,
    hold: Hold,
    arrived: Instant,
    deadline: Option<Instant>,
    deployment: OnceLock<Arc<Deployment>>,
    /// Was it let in to its model?
    routed: AtomicBool,
    refusal: OnceLock<Error>,
    handled: AtomicBool,
}

impl Pipeline {
    /// Lets a call in that arrived at `arrived` and, by its transport, is wanted until `deadline`.
    ///
    /// Errors: too many requests are in flight, in all or of this client, or memory is short.
    pub fn enter(
        self: &Arc<Self>,
        client: &Arc<Client>,
        arrived: Instant,
        deadline: Option<Instant>,
    ) -> Result<Arc<Entry>, Error> {
        let hold = self.admission().enter(client)?;
        Ok(Arc::new(Entry {
            pipeline: Arc::clone(self),
            hold,
            arrived,
            deadline,
            deployment: OnceLock::new(),
            routed: AtomicBool::new(false),
            refusal: OnceLock::new(),
            handled: AtomicBool::new(false),
        }))
    }
}

impl Entry {
    /// When its head was read.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Until when its transport wants an answer.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// When its message must have been read at the latest.
    pub fn readable_until(&self) -> Instant {
        let configured = self.arrived + self.pipeline.timeout();
        self.deadline.map_or(configured, |deadline| deadline.min(configured))
    }

    /// Takes room for bytes that are about to be read. Errors: no room, in all or for this client.
    pub fn grow(&self, bytes: usize) -> Result<(), Error> {
        self.hold.grow(bytes)
    }

    /// Bytes that are held for it.
    pub fn bytes(&self) -> usize {
        self.hold.bytes()
    }

    /// Its request has been answered in so many bytes, which it holds until the client has read them.
    pub fn answered(&self, bytes: usize) {
        self.hold.become_answer(bytes);
    }

    /// Finds its model and asks whether one more row may wait for it now. The first call decides.
    ///
    /// Errors: no such model or priority; more than the share of client or model; the queue is full or the answer is
    /// predicted too late.
    pub fn route(&self, model: &str, version: &str, priority: Option<u64>) -> Result<&Arc<Deployment>, Error> {
        if self.routed.load(Relaxed)
            && let Some(deployment) = self.deployment.get()
        {
            return Ok(deployment);
        }
        let deployment = self.pipeline.registry().table().route(model, version)?;
        let deployment = self.deployment.get_or_init(|| deployment);
        let level = check::level(deployment, priority)?;
        let alpha = alpha(level, deployment.config.batching.priority_levels.get());
        self.hold.assign(&deployment.tenant, alpha)?;
        let ask = Ask { size: 1, class: 0, level, client: self.client(), deadline: self.deadline };
        let now = Instant::now();
        let rung = deployment.rungs.serving(now);
        if rung.serves(now) {
            rung.worker().queue().outlook(&ask, now)?;
        }
        self.routed.store(true, Relaxed);
        Ok(deployment)
    }

    /// Number of the client that it came from.
    pub(super) fn client(&self) -> u64 {
        self.hold.client().number()
    }

    /// Ends it before its message was read: its door answers with this error.
    pub fn refuse(&self, error: Error) {
        // The first counts.
        let _later = self.refusal.set(error);
    }

    /// Why it was refused, if it was.
    pub fn refusal(&self) -> Option<&Error> {
        self.refusal.get()
    }

    /// A handler has taken it on, and books it.
    pub fn handle(&self) -> Journey {
        self.handled.store(true, Relaxed);
        self.pipeline.monitor().journey(self.arrived, self.deadline)
    }

    /// Books it as ended by an error, unless a handler has taken it on.
    pub fn book(&self, error: &Error) {
        if self.handled.load(Relaxed) {
            return;
        }
        let mut journey = self.pipeline.monitor().journey(self.arrived, self.deadline);
        journey.request_bytes(self.bytes());
        if let Some(deployment) = self.deployment.get() {
            journey.routed(Arc::clone(&deployment.instruments));
        }
        journey.finish(Err(error), Instant::now());
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Entry").field("arrived", &self.arrived).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
