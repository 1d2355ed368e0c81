//! Tries out, now and then, every rung of every model that seldom serves: a fallback that never runs is not known to work.
//!
//! A row of the model's own traffic goes through each rung, and its answer is compared with the first device's. A device whose
//! breaker is not closed is tried in the same way, so that it comes back where there is no traffic to probe it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio::time::{Duration, Instant, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::check::Checked;
use super::pipeline::Pipeline;
use super::stand_in::Ask;
use crate::batch::Job;
use crate::guard::BreakerState;
use crate::monitor::{RungCounts, Trial};
use crate::registry::golden::differs;
use crate::registry::{Deployment, Rung, Sample, made_up_row};
use crate::types::{Error, Reason, RungKind, Tensor, Wishes};

/// Between two looks whether a trial is due.
const LOOK: Duration = Duration::from_millis(250);
/// Time that an answer to a trial may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The client that trials are counted to in queues: none that calls.
const CLIENT: u64 = u64::MAX;

impl Pipeline {
    /// Tries out the rungs until `stop`. Cancel safe.
    pub async fn try_rungs(self: Arc<Self>, stop: CancellationToken) {
        let mut look = interval(LOOK);
        while stop.run_until_cancelled(look.tick()).await.is_some() {
            for deployment in self.due(Instant::now()) {
                self.try_all(&deployment).await;
            }
        }
    }

    fn due(&self, now: Instant) -> Vec<Arc<Deployment>> {
        let models = self.registry().table().models();
        let entries = models.values().flat_map(|model| model.versions.values());
        let deployments = entries.filter_map(|entry| entry.deployment.clone());
        deployments.filter(|deployment| !deployment.is_plain() && deployment.is_trial_due(now)).collect()
    }

    async fn try_all(self: &Arc<Self>, deployment: &Arc<Deployment>) {
        let Some(sample) = self.sample(deployment).await else { return };
        for rung in deployment.rungs.iter() {
            let is_first = rung.name() == deployment.rungs.first().name();
            if is_first && rung.state(Instant::now()) == BreakerState::Closed {
                continue;
            }
            let outcome = try_device(rung, deployment, &sample).await;
            settle(deployment, rung.name(), rung.counts(), &sample, outcome);
        }
        for declared in &deployment.declared {
            if sample.made_up && declared.kind == RungKind::Prediction {
                // It may be one that only knows what was asked before.
                continue;
            }
            let outcome = self.try_declared(deployment, &sample, declared).await;
            settle(deployment, declared.kind, &declared.counts, &sample, outcome);
        }
    }

    /// A row of the model's traffic, or, where there has been none, one that is made up.
    async fn sample(&self, deployment: &Deployment) -> Option<Sample> {
        if let Some(sample) = deployment.sampler.take() {
            return Some(sample);
        }
        let rows = made_up_row(&deployment.about)?;
        let inputs = rows.inputs().iter().cloned().map(Some).collect();
        let inputs = if deployment.about.prepare.is_some() { Vec::new() } else { inputs };
        let mut sample = Sample { inputs, rows, outputs: Vec::new(), made_up: true };
        // Without an answer to compare with, it is seen at least whether there is one.
        sample.outputs = try_device(deployment.rungs.first(), deployment, &sample).await.unwrap_or_default();
        Some(sample)
    }

    async fn try_declared(
        self: &Arc<Self>,
        deployment: &Arc<Deployment>,
        sample: &Sample,
        declared: &crate::registry::Declared,
    ) -> Result<Vec<Tensor>, Error> {
        let now = Instant::now();
        let client = self.admission().client(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let entry = self.enter(&client, now, Some(now + PATIENCE))?;
        let level = lowest(deployment);
        let checked = Checked {
            inputs: Vec::new(),
            rows: sample.rows.count(),
            level,
            outputs: Vec::new(),
            timeout: None,
            wishes: Wishes::default(),
        };
        let (inputs, rows) = (sample.inputs.clone(), &sample.rows);
        let ask = Ask { entry: &entry, checked: &checked, inputs, rows, until: now + PATIENCE };
        Ok(self.try_out(deployment, declared, &ask).await?.answer.outputs)
    }
}

fn lowest(deployment: &Deployment) -> usize {
    deployment.config.batching.priority_levels.get() - 1
}

async fn try_device(rung: &Rung, deployment: &Deployment, sample: &Sample) -> Result<Vec<Tensor>, Error> {
    let now = Instant::now();
    let admitted = rung.admit(now)?;
    let deadline = Some(now + PATIENCE);
    let (rows, level) = (sample.rows.clone(), lowest(deployment));
    let job = Job { rows, level, client: CLIENT, deadline, arrived: now, alone: false };
    let answered = tokio::time::timeout(PATIENCE, rung.worker().ask(job)).await;
    let late = |_| Err(Error::new(Reason::Deadline, "a trial was not answered in time"));
    match answered.unwrap_or_else(late) {
        Ok(answer) => {
            admitted.well(&answer.report, Instant::now());
            Ok(answer.outputs)
        }
        Err(error) => {
            if matches!(error.reason(), Reason::DeviceLost | Reason::DeviceOverdue | Reason::DeviceMemory) {
                admitted.failed(Instant::now());
            }
            Err(error)
        }
    }
}

/// Counts a trial, and tells of it where the one before ended otherwise.
fn settle(
    deployment: &Deployment,
    rung: RungKind,
    counts: &RungCounts,
    sample: &Sample,
    outcome: Result<Vec<Tensor>, Error>,
) {
    // Devices compute in the precision that the model is set to, or better.
    let tolerance = deployment.config.fallback.check_tolerance.max(deployment.config.device.precision.bound());
    let own = deployment.about.signature.outputs.len();
    let (trial, why) = match outcome {
        Err(error) => (Trial::Failed, error.to_string()),
        Ok(outputs) => match difference(first(&sample.outputs, own), first(&outputs, own), tolerance) {
            None => (Trial::Agreed, String::new()),
            Some(why) => (Trial::Differed, why),
        },
    };
    counts.tried(trial);
    // Another version, another model and a prediction differ by their nature.
    let is_device = matches!(rung, RungKind::Worker | RungKind::Cpu);
    let trial = if is_device || trial == Trial::Failed { trial } else { Trial::Agreed };
    if !deployment.sampler.tried(rung, trial) {
        return;
    }
    let (model, version, rung) = (&deployment.name, deployment.version, rung.label());
    if trial == Trial::Agreed {
        info!(%model, %version, rung, "a rung was tried out: it answers");
    } else {
        warn!(%model, %version, rung, why, "a rung was tried out: it does not answer as it should");
    }
}

/// The outputs that a model gives itself, without what its device tells of them.
fn first(outputs: &[Tensor], own: usize) -> &[Tensor] {
    outputs.get(..own).unwrap_or(outputs)
}

fn difference(wanted: &[Tensor], got: &[Tensor], tolerance: f64) -> Option<String> {
    if wanted.is_empty() {
        return None;
    }
    if wanted.len() != got.len() {
        return Some(format!("{} outputs, not {}", got.len(), wanted.len()));
    }
    wanted.iter().zip(got).find_map(|(wanted, got)| differs(wanted, got, tolerance))
}
