//! The journey, stage by stage: admit, route, check, queue and run, score, answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{Duration, Instant};

use super::{answer, check};
use crate::batch::{Begun, Job};
use crate::guard::Admission;
use crate::monitor::{Journey, Monitor};
use crate::registry::{Deployment, Registry};
use crate::types::{Error, InferAnswer, InferRequest, Reason};

/// What the pipeline needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Deadline of a request that names none, counted from its arrival.
    pub timeout: Duration,
    /// Requests that may be in flight.
    pub requests_max: usize,
    /// Bytes of requests that may be in flight.
    pub bytes_max: usize,
}

/// Serves requests, whatever door they came through.
pub struct Pipeline {
    registry: Arc<Registry>,
    monitor: Arc<Monitor>,
    admission: Arc<Admission>,
    timeout: Duration,
    draining: AtomicBool,
}

impl Pipeline {
    /// A pipeline to the registry's models.
    pub fn new(registry: Arc<Registry>, monitor: Arc<Monitor>, settings: &Settings) -> Arc<Self> {
        let admission = Admission::new(settings.requests_max, settings.bytes_max);
        let draining = AtomicBool::new(false);
        Arc::new(Self { registry, monitor, admission, timeout: settings.timeout, draining })
    }

    /// The models it serves.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What is counted.
    pub fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// An inference call has begun; drop what is returned when it has ended. Batches wait for those about to join.
    pub fn begin(&self) -> Begun {
        self.registry.calls().begin()
    }

    /// What is in flight.
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Reports not ready from now on, and goes on serving.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.registry.tell_change();
    }

    /// Is the server on its way out?
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Serves one request that arrived at `arrived` and, by its transport, is wanted until `deadline`.
    ///
    /// Not cancel safe: dropping it takes the request out of the queue; its journey books it as cancelled.
    pub async fn infer(
        &self,
        mut request: InferRequest,
        arrived: Instant,
        deadline: Option<Instant>,
        journey: &mut Journey,
    ) -> Result<InferAnswer, Error> {
        let _permit = self.admission.admit(request.bytes)?;
        let deployment = self.registry.table().route(&request.model, &request.version)?;
        journey.routed(Arc::clone(&deployment.instruments));
        let id = std::mem::take(&mut request.id);
        let checked = check::check(&deployment, request)?;
        journey.describe(&id, checked.rows);
        let until = self.deadline(&deployment, checked.timeout, arrived, deadline);
        journey.expires(Some(until));
        let now = Instant::now();
        journey.decoded(now);
        let job = Job {
            inputs: checked.inputs,
            rows: checked.rows,
            level: checked.level,
            deadline: Some(until),
            arrived: now,
        };
        let answer = deployment.worker.ask(job);
        let answered = if deployment.worker.is_inline() {
            // The queue drops what expires before each batch, and a batch is short: a timer would tell nothing sooner.
            answer.await?
        } else {
            tokio::time::timeout_at(until, answer).await.unwrap_or_else(|_| Err(expired(arrived)))?
        };
        let now = Instant::now();
        if now >= until {
            return Err(expired(arrived));
        }
        journey.answered(&answered.report, now);
        answer::compose(&deployment, answered, &checked.outputs, checked.wishes, journey)
    }

    /// The earliest of what the transport, the request and the configuration say.
    fn deadline(
        &self,
        deployment: &Deployment,
        timeout: Option<Duration>,
        arrived: Instant,
        transport: Option<Instant>,
    ) -> Instant {
        let configured = arrived + deployment.config.timeout.unwrap_or(self.timeout);
        let asked = timeout.and_then(|timeout| arrived.checked_add(timeout));
        [transport, asked].into_iter().flatten().fold(configured, Instant::min)
    }
}

fn expired(arrived: Instant) -> Error {
    let spent = arrived.elapsed().as_millis();
    Error::new(Reason::Deadline, format!("the deadline passed after {spent} ms, before the batch was done"))
}
