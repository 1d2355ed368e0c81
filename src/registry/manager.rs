//! Brings models to life and puts them in the table; takes them out again at shutdown.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::deployment::{Deployment, limits, score_plan};
use super::lifecycle::{Event, State};
use super::source::{Found, Listing, RegistrySource};
use super::table::Table;
use super::warm_up::{WarmUp, warm_up};
use crate::batch::{Calls, Queue, Turns, Worker};
use crate::config::{ModelConfig, Placement};
use crate::device::{Cores, Device, LocalExecutor};
use crate::model::{About, Files};
use crate::monitor::{LoadResult, Monitor, QueueView};
use crate::types::{Error, ModelName, Reason, Version};

/// A batch that takes longer than this must not run on the network's threads.
const INLINE_MAX: Duration = Duration::from_micros(500);

/// Where a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// With the network's tasks.
    Network,
    /// Apart from them, so that it goes on when they are overloaded.
    Apart,
}

/// Starts a task under a name.
pub type Spawn = Arc<dyn Fn(Place, String, Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// The models of a server.
pub struct Registry {
    table: Table,
    monitor: Arc<Monitor>,
    cores: Cores,
    spawn: Spawn,
    calls: Arc<Calls>,
    /// At the cores, for models that compute on them in turn.
    turns: Arc<Turns>,
    changed: watch::Sender<()>,
    /// Has everything been loaded once, or failed to?
    settled: AtomicBool,
}

impl Registry {
    /// A registry without models.
    pub fn new(monitor: Arc<Monitor>, cores: Cores, spawn: Spawn) -> Arc<Self> {
        let (table, changed, settled) = (Table::default(), watch::Sender::new(()), AtomicBool::new(false));
        let (calls, turns) = (Arc::default(), Arc::default());
        Arc::new(Self { table, monitor, cores, spawn, calls, turns, changed, settled })
    }

    /// The server's calls in progress, which its queues watch.
    pub fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// The table that requests look in.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Tells when a model's state has changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Tells those who watch that readiness may have changed.
    pub fn tell_change(&self) {
        self.changed.send_replace(());
    }

    /// Loads everything that the sources hold, one model after the other. Blocks: call it from a blocking thread.
    ///
    /// A model that fails is logged, counted and left not ready. Returns how many failed.
    pub fn load_all(&self, sources: &[Box<dyn RegistrySource>]) -> usize {
        let mut found = Vec::new();
        let mut failed = 0;
        for source in sources {
            match source.list() {
                Ok(models) => found.extend(models),
                Err(error) => {
                    error!(error, "list a model repository");
                    failed += 1;
                }
            }
        }
        let mut listings = Vec::new();
        for Found { folder, listing } in found {
            match listing {
                Ok(listing) => listings.push(listing),
                Err(reason) => {
                    self.broken(&folder, &reason);
                    failed += 1;
                }
            }
        }
        failed += self.load_listings(&listings);
        self.settled.store(true, Ordering::Relaxed);
        self.tell_change();
        failed
    }

    /// Every version is entered as loading before the first is loaded: a client never hears that one is unknown.
    fn load_listings(&self, listings: &[Listing]) -> usize {
        let mut failed = 0;
        let mut fresh = Vec::new();
        for listing in listings {
            for (version, files) in &listing.versions {
                if self.table.enter(&listing.name, *version) {
                    fresh.push((listing, *version, files));
                } else {
                    error!(model = %listing.name, %version, "the same version is in two repositories; the first is served");
                    failed += 1;
                }
            }
        }
        self.tell_change();
        for (listing, version, files) in fresh {
            if let Err(error) = self.bring_up(&listing.name, version, files, &listing.config) {
                error!(model = %listing.name, %version, %error, "load a model");
                self.table.advance(&listing.name, version, Event::Broke, None);
                self.monitor.model_loaded(
                    listing.name.as_str(),
                    Some(version),
                    LoadResult::Failure,
                    Duration::ZERO,
                    Duration::ZERO,
                );
                failed += 1;
            }
            self.tell_change();
        }
        failed
    }

    fn broken(&self, folder: &str, reason: &str) {
        for line in reason.lines() {
            error!(model = folder, reason = line, "read a model folder");
        }
        if let Ok(name) = folder.parse::<ModelName>() {
            self.monitor.model_loaded(name.as_str(), None, LoadResult::Failure, Duration::ZERO, Duration::ZERO);
            self.table.enter_broken(name);
        }
        self.tell_change();
    }

    fn bring_up(&self, name: &ModelName, version: Version, files: &Files, config: &ModelConfig) -> Result<(), Error> {
        let begun = Instant::now();
        let mut executor = LocalExecutor::load(files, config)?;
        self.table.advance(name, version, Event::Loaded, None);
        self.tell_change();
        let load_took = begun.elapsed();
        let about = executor.loaded().about.clone();
        let warmed = self.warm_up(&mut executor, config)?;
        let device = self.device(name, executor, is_inline(config, &warmed))?;
        let deployment = self.deployment(name, version, about, config, device);
        for (size, took) in &warmed.batches {
            deployment.worker.queue().learn(*size, *took, Instant::now());
        }
        let warm_up_took = begun.elapsed().saturating_sub(load_took);
        self.start(&deployment);
        deployment.instruments.set_ready(true);
        self.monitor.model_loaded(name.as_str(), Some(version), LoadResult::Success, load_took, warm_up_took);
        self.table.advance(name, version, Event::Warmed, Some(deployment));
        let (load_ms, warm_up_ms) = (load_took.as_millis(), warm_up_took.as_millis());
        info!(model = %name, %version, load_ms, warm_up_ms, "model ready");
        Ok(())
    }

    /// A deployment on `device`, not yet in the table, with its series registered at zero.
    fn deployment(
        &self,
        name: &ModelName,
        version: Version,
        about: About,
        config: &ModelConfig,
        device: Device,
    ) -> Arc<Deployment> {
        let queue = Queue::new(limits(config, &about), Arc::clone(&self.calls));
        let instruments = self.monitor.deployment(name, version, &score_plan(about.scoring.as_ref()));
        let view: Arc<dyn QueueView> = Arc::clone(&queue) as _;
        instruments.watch_queue(Arc::downgrade(&view));
        let seat = device.shares_cores().then(|| self.turns.seat(config.device.weight));
        let worker = Worker::new(queue, device, seat, Arc::clone(&instruments) as _);
        let (name, config, tenant) = (name.clone(), config.clone(), Arc::default());
        Arc::new(Deployment { name, version, about, config, worker, tenant, instruments })
    }

    /// Starts the task that runs the deployment's batches. A device of its own is kept busy from apart: where requests
    /// come faster than they can be refused, the network's threads have other things to do.
    fn start(&self, deployment: &Deployment) {
        let Deployment { name, version, worker, .. } = deployment;
        let place = if worker.is_inline() { Place::Network } else { Place::Apart };
        (self.spawn)(place, format!("batch-{name}-{version}"), Box::pin(Arc::clone(worker).work()));
    }

    /// Serves what `device` computes, without files or warm-up.
    #[cfg(test)]
    pub(crate) fn deploy(&self, name: &ModelName, about: About, config: &ModelConfig, device: Device) {
        let version = "1".parse().expect("a version");
        self.table.enter(name, version);
        self.table.advance(name, version, Event::Loaded, None);
        let deployment = self.deployment(name, version, about, config, device);
        self.start(&deployment);
        self.table.advance(name, version, Event::Warmed, Some(deployment));
        self.settled.store(true, Ordering::Relaxed);
    }

    fn warm_up(&self, executor: &mut LocalExecutor, config: &ModelConfig) -> Result<WarmUp, Error> {
        let about = executor.loaded().about.clone();
        let rows_max = config.max_batch_size.get();
        self.cores.install(|| warm_up(executor, &about, rows_max, config.warmup.time_max))
    }

    fn device(&self, name: &ModelName, executor: LocalExecutor, inline: bool) -> Result<Device, Error> {
        if inline {
            return Ok(Device::Inline(Box::new(executor)));
        }
        let started = Device::on_thread(name.as_str(), Box::new(executor), self.cores.clone());
        started.map_err(|error| Error::new(Reason::Model, format!("start a device thread: {error}")))
    }

    /// Has all been loaded, and is every model ready that could be?
    pub fn is_ready(&self) -> bool {
        let models = self.table.models();
        let settled = |state| matches!(state, State::Ready | State::Failed);
        self.settled.load(Ordering::Relaxed)
            && models.values().all(|model| model.versions.values().all(|entry| settled(entry.state)))
    }

    /// Takes every model out of service. What their queues have accepted is still answered.
    pub fn drain(&self) {
        for (name, model) in self.table.models().iter() {
            for (version, entry) in &model.versions {
                if !self.table.advance(name, *version, Event::Drain, None) {
                    warn!(model = %name, %version, state = entry.state.label(), "cannot drain");
                }
                if let Some(deployment) = &entry.deployment {
                    deployment.instruments.set_ready(false);
                    deployment.worker.queue().close();
                }
            }
        }
        self.tell_change();
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
