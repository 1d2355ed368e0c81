//! The journey of a decoded request, stage by stage: route, check, queue and run, score, answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{Duration, Instant};

use super::entry::Entry;
use super::ladder::{self, Question, Served};
use super::prepare::Preparer;
use super::stand_in::{Ask, StoodIn};
use super::{answer, check};
use crate::batch::Begun;
use crate::device::Cores;
use crate::guard::Admission;
use crate::monitor::{Journey, Monitor};
use crate::registry::{Deployment, Registry, Sample};
use crate::types::{Error, InferAnswer, InferRequest, Reason, RungKind};

/// Rows of a request that rungs are tried out with.
const SAMPLE_ROWS_MAX: usize = 8;

/// Serves requests, whatever door they came through.
pub struct Pipeline {
    registry: Arc<Registry>,
    monitor: Arc<Monitor>,
    admission: Arc<Admission>,
    preparer: Preparer,
    timeout: Duration,
    draining: AtomicBool,
}

impl Pipeline {
    /// A pipeline to the registry's models. `preparing`: where texts and images are read. `timeout`: the time of a request that
    /// names none, counted from its arrival.
    pub fn new(
        registry: Arc<Registry>,
        monitor: Arc<Monitor>,
        admission: Arc<Admission>,
        preparing: Cores,
        timeout: Duration,
    ) -> Arc<Self> {
        let (preparer, draining) = (Preparer::new(preparing), AtomicBool::new(false));
        Arc::new(Self { registry, monitor, admission, preparer, timeout, draining })
    }

    /// The models it serves.
    pub fn registry(&self) -> &Arc<Registry> {
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

    /// Time of a request that names none.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Serves one request, which came in by `entry`.
    ///
    /// Not cancel safe: dropping it takes the request out of the queue; its journey books it as cancelled.
    pub async fn infer(
        &self,
        entry: &Arc<Entry>,
        mut request: InferRequest,
        journey: &mut Journey,
    ) -> Result<InferAnswer, Error> {
        let deployment = entry.route(&request.model, &request.version, request.priority)?;
        is_still_for(deployment, &request)?;
        journey.routed(Arc::clone(&deployment.instruments));
        let id = std::mem::take(&mut request.id);
        let mut checked = check::check(deployment, request)?;
        journey.describe(&id, checked.rows);
        let until = self.deadline(deployment, checked.timeout, entry);
        journey.expires(Some(until));
        let mut now = Instant::now();
        journey.decoded(now);
        // Another model makes its own rows of them.
        let inputs = if deployment.declared.is_empty() { Vec::new() } else { checked.inputs.clone() };
        let prepared = self.preparer.rows(deployment, &mut checked, entry, until).await;
        if prepared.as_ref().is_err_and(|error| error.reason() == Reason::Panic) {
            self.monitor.panicked();
        }
        let prepared = prepared?;
        if deployment.about.prepare.is_some() {
            now = Instant::now();
            journey.prepared(now);
        }
        let shown = checked.wants_shown(deployment).then(|| prepared.rows.clone());
        let fallbacks = checked.wishes.fallbacks;
        let question = Question { entry, rows: prepared.rows, level: checked.level, ready: now, until, fallbacks };
        let mut answer = match ladder::ask(deployment, &question).await {
            Ok(Served { answer, rung }) => {
                journey.answered(&answer.report, Instant::now());
                deployment.remember(&question.rows, &answer.outputs);
                let is_first = rung == deployment.rungs.first().name();
                if is_first && !deployment.is_plain() && question.rows.count() <= SAMPLE_ROWS_MAX {
                    let (rows, outputs) = (question.rows.clone(), answer.outputs.clone());
                    deployment.sampler.offer(|| Sample { inputs, rows, outputs, made_up: false });
                }
                let answer = answer::compose(deployment, answer, &checked, shown.as_ref(), Some(journey))?;
                InferAnswer { rung: (!deployment.is_plain()).then_some(rung), ..answer }
            }
            Err(unserved) => {
                if !unserved.may_stand_in || deployment.declared.is_empty() {
                    return Err(unserved.error);
                }
                let ask = Ask { entry, checked: &checked, inputs, rows: &question.rows, until };
                let StoodIn { answer, by, rung } = self.stand_in(deployment, &ask, fallbacks, unserved).await?;
                journey.answered(&answer.report, Instant::now());
                let by = by.as_ref().unwrap_or(deployment);
                // What stands in says nothing of the model's own confidence.
                let answer = answer::compose(by, answer, &checked, shown.as_ref(), None)?;
                // Another model's version would be read as one of the model that was asked.
                let version = if rung == RungKind::Model { deployment.version } else { answer.version };
                InferAnswer { rung: Some(rung), version, ..answer }
            }
        };
        answer.truncated = prepared.truncated;
        Ok(answer)
    }

    /// Where texts and images are read.
    pub(super) fn preparer(&self) -> &Preparer {
        &self.preparer
    }

    /// The earliest of what the transport, the request and the configuration say.
    fn deadline(&self, deployment: &Deployment, timeout: Option<Duration>, entry: &Entry) -> Instant {
        let arrived = entry.arrived();
        let configured = arrived + deployment.config.timeout.unwrap_or(self.timeout);
        let asked = timeout.and_then(|timeout| arrived.checked_add(timeout));
        [entry.deadline(), asked].into_iter().flatten().fold(configured, Instant::min)
    }
}

/// A message may name its model twice, and the last counts; but it was let in under the first.
fn is_still_for(deployment: &Deployment, request: &InferRequest) -> Result<(), Error> {
    let same_version = || request.version.is_empty() || request.version.parse() == Ok(deployment.version);
    if request.model == deployment.name.as_str() && same_version() {
        return Ok(());
    }
    let (name, version) = (&deployment.name, deployment.version);
    Err(Error::invalid(format!(
        "model_name and model_version: expected one of each, got \"{name}\" \"{version}\" and \"{}\" \"{}\"",
        request.model, request.version
    )))
}

pub(super) fn expired(entry: &Entry) -> Error {
    let spent = entry.arrived().elapsed().as_millis();
    Error::new(Reason::Deadline, format!("the deadline passed after {spent} ms, before the batch was done"))
}
