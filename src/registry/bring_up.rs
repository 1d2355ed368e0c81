//! Brings a version to life: read, verified, warmed up, and put in the table, in the place of the one before where there
//! is one. Until then that one serves; if anything fails, it goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, error_span, info};

use super::budget::Held;
use super::declared::Declared;
use super::deployment::{Deployment, Weight, limits, score_plan};
use super::devices::{Loaded, OnDevice};
use super::fingerprint::{Fingerprint, Origin};
use super::health::{Health, Identity};
use super::lifecycle::Event;
use super::manager::{Place, Registry, close};
use super::plan::Key;
use super::rung::Rung;
use super::rungs::Rungs;
use crate::batch::{Listener, Queue, Turns, Worker};
use crate::config::ModelConfig;
use crate::device::Device;
use crate::guard::Tenant;
use crate::model::{About, Files, Needs};
use crate::monitor::{Instruments, LoadResult, QueueView};
use crate::types::{Error, Reason};

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
    loaded: Loaded,
    held: Held,
    warm_up_took: Duration,
}

/// A device of a test, and whether its process is up, if it is one.
#[cfg(test)]
pub(crate) type Fake = (crate::types::RungKind, Device, Option<Arc<dyn crate::device::Lifeline>>);

/// A device that can be given batches, and what it is known by.
struct Ready {
    device: Device,
    identity: Identity,
    turns: Option<Arc<Turns>>,
    /// Sizes and durations of batches that it ran.
    costs: Vec<(usize, Duration)>,
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
        let loaded = catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(panicked)?;
        held.shrink(needs.weights);
        let warm_up_took = begun.elapsed().saturating_sub(loaded.load_took);
        Ok(Made { loaded, held, warm_up_took })
    }

    /// Starts what was made and puts it in the table, in one store.
    fn put_in_place(
        self: &Arc<Self>,
        order: &Order,
        made: Made,
        before: Option<&Arc<Deployment>>,
    ) -> Result<(), Error> {
        let (name, version) = &order.key;
        let Made { loaded: Loaded { about, devices, load_took }, held, warm_up_took } = made;
        // Requests of both hold one share of the server's limits.
        let tenant = before.map(|before| Arc::clone(&before.tenant)).unwrap_or_default();
        let devices: Result<Vec<_>, Error> = devices.into_iter().map(|device| self.device(order, device)).collect();
        let deployment = self.deployment(order, about, devices?, tenant, held)?;
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

    /// A deployment on these devices, not yet in the table, with its series registered.
    fn deployment(
        &self,
        order: &Order,
        about: About,
        devices: Vec<Ready>,
        tenant: Arc<Tenant>,
        held: Held,
    ) -> Result<Arc<Deployment>, Error> {
        let ((name, version), config) = (order.key.clone(), ModelConfig::clone(&order.config));
        let instruments = self.monitor.deployment(&name, version, &score_plan(about.scoring.as_ref()));
        let declared = Declared::all(&config, &about, &instruments)?;
        let others = devices.len().saturating_sub(1) + declared.len();
        let rung = |(at, ready)| self.rung(ready, &about, &config, &instruments, at < others);
        let mut rungs = devices.into_iter().enumerate().map(rung);
        let first = rungs.next().ok_or_else(|| Error::new(Reason::NotReady, "no device runs the model"))?;
        let rungs = Rungs::new(first, rungs.collect());
        let view: Arc<dyn QueueView> = Arc::clone(rungs.queues()) as _;
        instruments.watch_queue(Arc::downgrade(&view));
        let weight = Weight::new(held, Arc::clone(&instruments));
        let retries = Arc::default();
        Ok(Arc::new(Deployment {
            name,
            version,
            about,
            config,
            rungs,
            declared,
            retries,
            tenant,
            instruments,
            _weight: weight,
        }))
    }

    fn rung(
        &self,
        ready: Ready,
        about: &About,
        config: &ModelConfig,
        instruments: &Arc<Instruments>,
        has_next: bool,
    ) -> Rung {
        let Ready { device, identity, turns, costs } = ready;
        let queue = Queue::new(limits(config, about), Arc::clone(&self.calls));
        for (size, took) in costs {
            queue.learn(size, took, Instant::now());
        }
        let turns = turns.or_else(|| device.shares_cores().then(|| Arc::clone(&self.turns)));
        let seat = turns.map(|turns| turns.seat(config.device.weight));
        let (name, identity) = (identity.name, Identity { has_next, ..identity });
        let health = Arc::new(Health::new(identity, instruments, &config.breaker));
        Rung::new(name, Worker::new(queue, device, seat, Arc::clone(&health) as Arc<dyn Listener>), health)
    }

    /// Starts the tasks that run the deployment's batches. A device of its own is kept busy from apart: where requests
    /// come faster than they can be refused, the network's threads have other things to do.
    fn start(&self, deployment: &Deployment) {
        let Deployment { name, version, rungs, .. } = deployment;
        for rung in rungs.iter() {
            let place = if rung.worker().is_inline() { Place::Network } else { Place::Apart };
            let task = format!("batch-{name}-{version}-{}", rung.name().label());
            (self.spawn)(place, task, Box::pin(Arc::clone(rung.worker()).work()));
        }
    }

    /// Started from here and not from the pool that loads: a thread is of the scheduling class of the one that starts it.
    fn device(&self, order: &Order, loaded: OnDevice) -> Result<Ready, Error> {
        let OnDevice { name, executor, link, turns, inline, costs } = loaded;
        let device = if inline {
            Device::Inline(executor)
        } else {
            let started = Device::on_thread(order.key.0.as_str(), executor, self.pools.computing.clone());
            started.map_err(|error| Error::new(Reason::Model, format!("start a device thread: {error}")))?
        };
        Ok(Ready { device, identity: Identity { name, link, has_next: false }, turns, costs })
    }

    /// Serves what `device` computes, without files or warm-up.
    #[cfg(test)]
    pub(crate) fn deploy(&self, name: &crate::types::ModelName, about: About, config: &ModelConfig, device: Device) {
        self.deploy_on(name, about, config, vec![(crate::types::RungKind::Cpu, device, None)]);
    }

    /// The same on several devices, the preferred one first.
    #[cfg(test)]
    pub(crate) fn deploy_on(
        &self,
        name: &crate::types::ModelName,
        about: About,
        config: &ModelConfig,
        devices: Vec<Fake>,
    ) {
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
        let ready = devices.into_iter().map(|(name, device, link)| Ready {
            device,
            identity: Identity { name, link, has_next: false },
            turns: None,
            costs: Vec::new(),
        });
        let deployment = self.deployment(&order, about, ready.collect(), Arc::default(), held).expect("a device");
        self.start(&deployment);
        self.table.advance(&order.key, Event::Warmed, Some(deployment));
        self.settle();
    }
}
