//! A version on each device that it is to run on: read, verified and warmed up.

use std::sync::Arc;

use tokio::time::{Duration, Instant};
use tracing::warn;

use super::bring_up::Order;
use super::deployment::Deployment;
use super::golden;
use super::in_turn::InTurn;
use super::lifecycle::Event;
use super::manager::Registry;
use super::pinned::Pinned;
use super::warm_up::{Plan, WarmUp, warm_up};
use crate::batch::{BatchShape, Seat, Turns};
use crate::config::{DeviceConfig, DevicePolicy, ModelConfig, Placement, Precision};
use crate::device::{Executor, Lifeline, LoadSettings, LocalExecutor, LogitScores, Supervisor};
use crate::model::{About, Scoring};
use crate::monitor::CONFIDENCE;
use crate::types::{Error, Reason, RungKind};

/// A batch that takes longer than this must not run on the network's threads.
const INLINE_MAX: Duration = Duration::from_micros(500);

/// A version on one device, that runs nowhere yet.
pub(super) struct OnDevice {
    pub(super) name: RungKind,
    pub(super) executor: Box<dyn Executor>,
    /// The process that the device is, if it is one.
    pub(super) link: Option<Arc<dyn Lifeline>>,
    /// Taken by the models that share it, if it is a process.
    pub(super) turns: Option<Arc<Turns>>,
    pub(super) inline: bool,
    /// Sizes and durations of the batches that warmed it up.
    pub(super) costs: Vec<(usize, Duration)>,
}

/// A version on its devices, the preferred one first.
pub(super) struct Loaded {
    pub(super) about: About,
    /// At least one.
    pub(super) devices: Vec<OnDevice>,
    pub(super) load_took: Duration,
}

impl Registry {
    pub(super) fn load_and_warm_up(
        &self,
        order: &Order,
        before: Option<&Deployment>,
        begun: Instant,
    ) -> Result<Loaded, Error> {
        let mut executor = LocalExecutor::load(&order.files, &order.config)?;
        let about = executor.loaded().about.clone();
        golden::verify(&mut executor, &about, &order.files, Precision::F32)?;
        if order.origin.as_ref().is_some_and(|origin| origin.survey().fingerprint != order.identity) {
            let detail = "version: its files changed while they were loaded; it is loaded again when they have settled";
            return Err(Error::new(Reason::Model, detail));
        }
        let load_took = begun.elapsed();
        if before.is_none() {
            self.table.advance(&order.key, Event::Loaded, None);
            self.tell_change();
        }
        let mut devices = Vec::new();
        let policy = order.config.device.policy;
        if policy != DevicePolicy::Cpu {
            devices.extend(self.in_worker(order, &about, before)?);
        }
        if policy != DevicePolicy::RequireGpu {
            let warmed = self.warm_up_on(&mut executor, &about, order, before)?;
            let inline = is_inline(&order.config, &warmed);
            let executor = Box::new(Pinned::new(executor, order.origin.clone(), order.identity));
            let costs = warmed.best().collect();
            devices.push(OnDevice { name: RungKind::Cpu, executor, link: None, turns: None, inline, costs });
        }
        Ok(Loaded { about, devices, load_took })
    }

    /// The version in a worker's process, if there is one. Where that is down it is loaded when it is back.
    ///
    /// Errors: the model has to run there, and there is no worker, or it refuses the model.
    fn in_worker(&self, order: &Order, about: &About, before: Option<&Deployment>) -> Result<Option<OnDevice>, Error> {
        let required = order.config.device.policy == DevicePolicy::RequireGpu;
        let Some((supervisor, turns)) = self.accelerators.pick() else {
            let detail = "`device.policy`: \"require-gpu\", but the server runs no worker; its setting `device` and its log say why";
            return if required { Err(Error::new(Reason::Model, detail)) } else { Ok(None) };
        };
        let seat = turns.seat(order.config.device.weight);
        match self.load_in(supervisor, seat, order, about, before) {
            Ok(on_device) => Ok(Some(OnDevice { turns: Some(turns), ..on_device })),
            Err(error) if required => Err(error),
            Err(error) => {
                let (model, version) = &order.key;
                warn!(%model, %version, %error, "the worker does not take the model; it runs on the server's own cores");
                Ok(None)
            }
        }
    }

    fn load_in(
        &self,
        supervisor: &Arc<Supervisor>,
        seat: Seat,
        order: &Order,
        about: &About,
        before: Option<&Deployment>,
    ) -> Result<OnDevice, Error> {
        let name = order.key.0.as_str();
        let lost = |error: &Error| error.reason() == Reason::DeviceLost;
        let settings = load_settings(&order.config, about);
        let mut executor = match supervisor.load(name, &order.files, settings.clone()) {
            Err(error) if lost(&error) => supervisor.register(name, &order.files, settings),
            loaded => loaded?,
        };
        if let (Some(origin), identity) = (order.origin.clone(), order.identity) {
            executor.load_again_if(move || unchanged(origin.survey().fingerprint == identity));
        }
        let mut costs = Vec::new();
        if executor.is_up() {
            costs = match self.verify_and_warm_up(&mut InTurn::new(&mut executor, seat), order, about, before) {
                Err(error) if lost(&error) => Vec::new(),
                costs => costs?,
            };
        }
        let link: Arc<dyn Lifeline> = executor.link();
        Ok(OnDevice {
            name: RungKind::Worker,
            executor: Box::new(executor),
            link: Some(link),
            turns: None,
            inline: false,
            costs,
        })
    }

    fn verify_and_warm_up(
        &self,
        executor: &mut InTurn<'_>,
        order: &Order,
        about: &About,
        before: Option<&Deployment>,
    ) -> Result<Vec<(usize, Duration)>, Error> {
        golden::verify(executor, about, &order.files, order.config.device.precision)?;
        Ok(self.warm_up_on(executor, about, order, before)?.best().collect())
    }

    fn warm_up_on(
        &self,
        executor: &mut dyn Executor,
        about: &About,
        order: &Order,
        before: Option<&Deployment>,
    ) -> Result<WarmUp, Error> {
        let what = if before.is_some() { "loaded again, warming up" } else { "warming up" };
        let progress = |done, of| self.table.note(&order.key, format!("{what}: {done} of {of} batches"));
        let used = before.map_or_else(|| self.shapes_of_another(order), Deployment::shapes);
        let (rows_max, time_max) = (order.config.max_batch_size.get(), order.config.warmup.time_max);
        let tokens_max = order.config.batching.max_batch_tokens.get();
        let plan = Plan { used: &used, rows_max, tokens_max, time_max };
        warm_up(executor, about, &plan, progress)
    }

    /// Shapes that the model's version is used with which serves by default.
    fn shapes_of_another(&self, order: &Order) -> Vec<BatchShape> {
        self.table.route(order.key.0.as_str(), "").map(|serves| serves.shapes()).unwrap_or_default()
    }
}

/// How a device is to compute the model, and what it is to tell of its answers.
fn load_settings(config: &ModelConfig, about: &About) -> LoadSettings {
    let DeviceConfig { precision, memory_max, graphs, .. } = config.device;
    let scores = about.scoring.as_ref().and_then(Scoring::of_logits);
    LoadSettings {
        precision,
        memory_max: memory_max.map(|bytes| bytes.get() as u64),
        graphs,
        scores: scores.map(|(output, sharpness)| LogitScores { output, sharpness, bounds: CONFIDENCE.to_vec() }),
    }
}

fn unchanged(same: bool) -> Result<(), Error> {
    let changed = || Error::new(Reason::Model, "its files have changed since it was loaded");
    same.then_some(()).ok_or_else(changed)
}

/// May batches run on the network's threads? By configuration, or by what the largest batch cost.
fn is_inline(config: &ModelConfig, warmed: &WarmUp) -> bool {
    match config.device.placement {
        Placement::Inline => true,
        Placement::Thread => false,
        Placement::Auto => warmed.largest().is_some_and(|took| took <= INLINE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::unchanged;

    #[test]
    fn files_that_have_changed_are_no_files_of_the_version() {
        assert!(unchanged(true).is_ok());
        assert_eq!(unchanged(false).expect_err("changed").detail(), "its files have changed since it was loaded");
    }
}
