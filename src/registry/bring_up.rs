//! Brings a version to life: read, verified, warmed up, and put in the table, in the place of the one before where there
//! is one. Until then that one serves; if anything fails, it goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, error_span, info};

use super::budget::Held;
use super::deployment::{Deployment, Weight, limits, score_plan};
use super::fingerprint::{Fingerprint, Origin};
use super::golden;
use super::lifecycle::Event;
use super::manager::{Place, Registry, close};
use super::pinned::Pinned;
use super::plan::Key;
use super::warm_up::{Plan, WarmUp, warm_up};
use crate::batch::{BatchShape, Queue, Worker};
use crate::config::{ModelConfig, Placement};
use crate::device::{Device, LocalExecutor};
use crate::guard::Tenant;
use crate::model::{About, Files, Needs};
use crate::monitor::{LoadResult, QueueView};
use crate::types::{Error, Reason};

/// A batch that takes longer than this must not run on the network's threads.
const INLINE_MAX: Duration = Duration::from_micros(500);

/// A version that is to be brought up.
pub(super) struct Order {
    pub(super) key: Key,
    pub(super) files: Files,
    pub(super) config: Arc<ModelConfig>,
    /// How its files looked when it was decided.
    pub(super) identity: Fingerprint,
    pub(super) origin: Option<Origin>,
}

/// A version that has been read, verified and warmed up, and runs nowhere yet.
struct Made {
    executor: LocalExecutor,
    warmed: WarmUp,
    held: Held,
    load_took: Duration,
    warm_up_took: Duration,
}

impl Registry {
    /// Brings up a version that has been entered as loading, or one that serves, anew. False if it failed, which is
    /// logged, counted, and told by readiness.
    pub(super) fn bring_up(self: &Arc<Self>, order: &Order) -> bool {
        let begun = Instant::now();
        let (name, version) = &order.key;
        let before = self.table.find(name.as_str(), &version.to_string()).ok().and_then(|(_, entry)| entry.deployment);
        self.table.tried(&order.key, order.identity);
        let made = self.make(order, before.as_deref()).and_then(|made| self.put_in_place(order, made, before.as_ref()));
        if let Err(error) = &made {
            self.failed(order, error, begun.elapsed(), before.is_some());
        }
        self.tell_change();
        made.is_ok()
    }

    fn make(&self, order: &Order, before: Option<&Deployment>) -> Result<Made, Error> {
        let begun = Instant::now();
        let needs = Needs::of(&order.files).map_err(|error| Error::new(Reason::Model, error.to_string()))?;
        let mut held = self.budget.take(&needs)?;
        // Code of a model's kind met a file that it was not ready for: no reason for the others not to be served.
        let (name, version) = &order.key;
        // What a kind of model logs does not know whose files it reads.
        let span = error_span!("load", model = %name, %version);
        let load = || span.in_scope(|| self.load_and_warm_up(order, before, begun));
        let make = || self.pools.loading.install(load);
        let panicked = |_| Err(Error::new(Reason::Panic, "the model's code panicked while it was loaded"));
        let (executor, warmed, load_took) = catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(panicked)?;
        held.shrink(needs.weights);
        let warm_up_took = begun.elapsed().saturating_sub(load_took);
        Ok(Made { executor, warmed, held, load_took, warm_up_took })
    }

    fn load_and_warm_up(
        &self,
        order: &Order,
        before: Option<&Deployment>,
        begun: Instant,
    ) -> Result<(LocalExecutor, WarmUp, Duration), Error> {
        let mut executor = LocalExecutor::load(&order.files, &order.config)?;
        let about = executor.loaded().about.clone();
        golden::verify(&mut executor, &about, &order.files)?;
        if order.origin.as_ref().is_some_and(|origin| origin.survey().fingerprint != order.identity) {
            let detail = "version: its files changed while they were loaded; it is loaded again when they have settled";
            return Err(Error::new(Reason::Model, detail));
        }
        let load_took = begun.elapsed();
        if before.is_none() {
            self.table.advance(&order.key, Event::Loaded, None);
            self.tell_change();
        }
        let what = if before.is_some() { "loaded again, warming up" } else { "warming up" };
        let progress = |done, of| self.table.note(&order.key, format!("{what}: {done} of {of} batches"));
        let used = before.map_or_else(|| self.shapes_of_another(order), |before| before.worker.shapes());
        let (rows_max, time_max) = (order.config.max_batch_size.get(), order.config.warmup.time_max);
        let tokens_max = order.config.batching.max_batch_tokens.get();
        let plan = Plan { used: &used, rows_max, tokens_max, time_max };
        let warmed = warm_up(&mut executor, &about, &plan, progress)?;
        Ok((executor, warmed, load_took))
    }

    /// Shapes that the model's version is used with which serves by default.
    fn shapes_of_another(&self, order: &Order) -> Vec<BatchShape> {
        self.table.route(order.key.0.as_str(), "").map(|serves| serves.worker.shapes()).unwrap_or_default()
    }

    /// Starts what was made and puts it in the table, in one store.
    fn put_in_place(
        self: &Arc<Self>,
        order: &Order,
        made: Made,
        before: Option<&Arc<Deployment>>,
    ) -> Result<(), Error> {
        let (name, version) = &order.key;
        let Made { executor, warmed, held, load_took, warm_up_took } = made;
        let about = executor.loaded().about.clone();
        let device = self.device(order, executor, is_inline(&order.config, &warmed))?;
        // Requests of both hold one share of the server's limits.
        let tenant = before.map(|before| Arc::clone(&before.tenant)).unwrap_or_default();
        let deployment = self.deployment(order, about, device, tenant, held);
        for (size, took) in warmed.best() {
            deployment.worker.queue().learn(size, took, Instant::now());
        }
        self.start(&deployment);
        deployment.instruments.set_ready(true);
        self.monitor.model_loaded(name.as_str(), Some(*version), LoadResult::Success, load_took, warm_up_took);
        let (load_ms, warm_up_ms) = (load_took.as_millis(), warm_up_took.as_millis());
        if before.is_some() {
            if let Some(before) = self.table.swap(&order.key, Arc::clone(&deployment)) {
                self.retire(before);
            }
            info!(model = %name, %version, load_ms, warm_up_ms, "model loaded again");
        } else {
            self.table.advance(&order.key, Event::Warmed, Some(Arc::clone(&deployment)));
            info!(model = %name, %version, load_ms, warm_up_ms, "model ready");
        }
        if self.closing.is_cancelled() {
            close(&deployment);
        }
        Ok(())
    }

    fn failed(&self, order: &Order, error: &Error, took: Duration, is_reload: bool) {
        let (name, version) = &order.key;
        self.monitor.model_loaded(name.as_str(), Some(*version), LoadResult::Failure, took, Duration::ZERO);
        if is_reload {
            error!(model = %name, %version, %error, "load a model again; it goes on serving as it was");
            self.table.note(&order.key, format!("reload failed: {error}"));
        } else {
            error!(model = %name, %version, %error, "load a model");
            self.table.advance(&order.key, Event::Broke, None);
            self.table.note(&order.key, error.to_string());
        }
    }

    /// A deployment on `device`, not yet in the table, with its series registered.
    fn deployment(
        &self,
        order: &Order,
        about: About,
        device: Device,
        tenant: Arc<Tenant>,
        held: Held,
    ) -> Arc<Deployment> {
        let ((name, version), config) = (order.key.clone(), ModelConfig::clone(&order.config));
        let queue = Queue::new(limits(&config, &about), Arc::clone(&self.calls));
        let instruments = self.monitor.deployment(&name, version, &score_plan(about.scoring.as_ref()));
        let view: Arc<dyn QueueView> = Arc::clone(&queue) as _;
        instruments.watch_queue(Arc::downgrade(&view));
        let seat = device.shares_cores().then(|| self.turns.seat(config.device.weight));
        let worker = Worker::new(queue, device, seat, Arc::clone(&instruments) as _);
        let weight = Weight::new(held, Arc::clone(&instruments));
        Arc::new(Deployment { name, version, about, config, worker, tenant, instruments, _weight: weight })
    }

    /// Starts the task that runs the deployment's batches. A device of its own is kept busy from apart: where requests
    /// come faster than they can be refused, the network's threads have other things to do.
    fn start(&self, deployment: &Deployment) {
        let Deployment { name, version, worker, .. } = deployment;
        let place = if worker.is_inline() { Place::Network } else { Place::Apart };
        (self.spawn)(place, format!("batch-{name}-{version}"), Box::pin(Arc::clone(worker).work()));
    }

    /// Started from here and not from the pool that loads: a thread is of the scheduling class of the one that starts it.
    fn device(&self, order: &Order, executor: LocalExecutor, inline: bool) -> Result<Device, Error> {
        let executor = Box::new(Pinned::new(executor, order.origin.clone(), order.identity));
        if inline {
            return Ok(Device::Inline(executor));
        }
        let started = Device::on_thread(order.key.0.as_str(), executor, self.pools.computing.clone());
        started.map_err(|error| Error::new(Reason::Model, format!("start a device thread: {error}")))
    }

    /// Serves what `device` computes, without files or warm-up.
    #[cfg(test)]
    pub(crate) fn deploy(&self, name: &crate::types::ModelName, about: About, config: &ModelConfig, device: Device) {
        let order = Order {
            key: (name.clone(), "1".parse().expect("a version")),
            files: Files::Memory([].into()),
            config: Arc::new(config.clone()),
            identity: Fingerprint::default(),
            origin: None,
        };
        self.table.enter(&order.key, order.identity);
        self.table.advance(&order.key, Event::Loaded, None);
        let held = self.budget.take(&Needs::default()).expect("room for nothing");
        let deployment = self.deployment(&order, about, device, Arc::default(), held);
        self.start(&deployment);
        self.table.advance(&order.key, Event::Warmed, Some(deployment));
        self.settle();
    }
}

/// May batches run on the network's threads? By configuration, or by what the largest batch cost.
fn is_inline(config: &ModelConfig, warmed: &WarmUp) -> bool {
    match config.device.placement {
        Placement::Inline => true,
        Placement::Thread => false,
        Placement::Auto => warmed.largest().is_some_and(|took| took <= INLINE_MAX),
    }
}
