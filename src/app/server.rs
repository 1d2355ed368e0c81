//! From a checked configuration to a running server, and back to nothing in order.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::descriptors::raise_limit;
use super::devices;
use super::memory;
use super::tasks::Tasks;
use crate::api::{admin, grpc};
use crate::config::{self, Config};
use crate::device::{Cores, start_candle_threads};
use crate::guard::{self, Admission, Memory, memory_limit};
use crate::monitor::{self, Monitor, Reading};
use crate::net::{self, Listener, Protocol, Tally};
use crate::registry::{self, Allowance, Place, Pools, Reconciler, Registry, RegistrySource, Spawn};
use crate::serve::Pipeline;

/// By default the requests in flight may take one part in so many of the memory: their rows are there once more in
/// batches, and again as outputs and answers.
const BYTES_ONE_IN: usize = 8;
/// By default the models may take one part in so many of the memory.
const MODELS_ONE_IN: usize = 2;

/// What no configuration says: for measurements, tests and demonstrations.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// How to monitor.
    pub monitor: monitor::Settings,
    /// May the workers be told to fail?
    pub faults: bool,
}

/// A server that listens.
pub struct Server {
    pipeline: Arc<Pipeline>,
    tasks: Tasks,
    config: Config,
    grpc: SocketAddr,
    metrics: SocketAddr,
    stop_models: CancellationToken,
    stop_grpc: CancellationToken,
    stop_metrics: CancellationToken,
    grpc_ended: watch::Receiver<bool>,
    failed: watch::Receiver<Option<usize>>,
}

impl Server {
    /// Listens, and begins to load the models that the sources hold.
    ///
    /// Errors: an address cannot be listened on, or threads cannot be started.
    pub fn start(config: Config, sources: Vec<Box<dyn RegistrySource>>) -> anyhow::Result<Self> {
        let (access_log, window) = (config.log.access, config.monitor.window);
        let monitor = monitor::Settings { access_log, window, ..monitor::Settings::default() };
        Self::start_with(config, sources, Extras { monitor, faults: false })
    }

    /// The same, with what no configuration says.
    pub fn start_with(config: Config, sources: Vec<Box<dyn RegistrySource>>, extras: Extras) -> anyhow::Result<Self> {
        raise_limit(config.limits.connections_max.get());
        let tasks = Tasks::new()?;
        let pipeline = pipeline(&config, extras, &tasks)?;
        let budget = pipeline.admission().bytes_max();
        let grpc_listener = Listener::bind(config.grpc, Protocol::Http2, limits(&config, budget))?;
        let metrics_listener = Listener::bind(config.metrics, Protocol::Http1, limits(&config, budget))?;
        let (grpc, metrics) = (grpc_listener.address()?, metrics_listener.address()?);
        let (stop_grpc, stop_metrics) = (CancellationToken::new(), CancellationToken::new());
        observe(&pipeline, grpc_listener.tally());
        let memory =
            memory::watch(Arc::clone(pipeline.admission()), grpc_listener.shed().clone(), stop_metrics.clone());
        tasks.spawn("memory", memory);
        let stop_models = CancellationToken::new();
        let failed = keep_models(&pipeline, &config, sources, &tasks, stop_models.clone());
        let grpc_ended = listen_grpc(&pipeline, &config, &tasks, grpc_listener, stop_grpc.clone())?;
        let admin = admin::serve(Arc::clone(&pipeline), metrics_listener, stop_metrics.clone());
        tasks.spawn("metrics", admin);
        tasks.spawn("trials", Arc::clone(&pipeline).try_rungs(stop_models.clone()));
        Ok(Self { pipeline, tasks, config, grpc, metrics, stop_models, stop_grpc, stop_metrics, grpc_ended, failed })
    }

    /// Where gRPC is served.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Where metrics are served.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// What it serves.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Waits until every model is ready or has failed; returns how many failed. Cancel safe.
    pub async fn loaded(&self) -> usize {
        let mut failed = self.failed.clone();
        let settled = failed.wait_for(Option::is_some).await;
        settled.ok().and_then(|failed| *failed).unwrap_or(0)
    }

    /// Not ready, go on for the configured delay, GOAWAY, finish what is accepted. `hurry` ends every wait.
    pub async fn shut_down(mut self, hurry: impl Future<Output = ()>) {
        let delay = self.config.shutdown.delay;
        info!(delay_seconds = delay.as_secs_f64(), "draining");
        self.pipeline.drain();
        self.stop_models.cancel();
        let orderly = async {
            tokio::time::sleep(delay).await;
            self.stop_grpc.cancel();
            let _ended = self.grpc_ended.wait_for(|ended| *ended).await;
            self.pipeline.registry().drain();
            self.stop_metrics.cancel();
            self.tasks.join().await;
            self.pipeline.registry().accelerators().stop();
        };
        tokio::select! {
            () = orderly => info!("stopped"),
            () = hurry => info!("stopped short by a second signal"),
        }
    }
}

fn pipeline(config: &Config, extras: Extras, tasks: &Tasks) -> anyhow::Result<Arc<Pipeline>> {
    let monitor = Monitor::new(extras.monitor);
    let threads = config.runtime.threads.or_else(|| std::thread::available_parallelism().ok());
    let pool = |name| Cores::new(name, threads.map_or(1, NonZeroUsize::get)).context("start the computing threads");
    let (computing, preparing) = (pool("compute")?, pool("prepare")?);
    start_candle_threads();
    let loading = Cores::aside("load", threads.map_or(1, NonZeroUsize::get)).context("start the loading threads")?;
    let tasks = tasks.clone();
    let spawn: Spawn = Arc::new(move |place, name, task| match place {
        Place::Network => tasks.spawn(&name, task),
        Place::Apart => tasks.spawn_apart(&name, task),
    });
    let memory = config.limits.memory_bytes_max.map(NonZeroUsize::get).or_else(memory_limit).unwrap_or(usize::MAX);
    let models_bytes_max = config.limits.models_bytes_max.map_or(memory / MODELS_ONE_IN, NonZeroUsize::get) as u64;
    monitor.observe(Reading::ModelsLimit, move || models_bytes_max);
    let allowance = Allowance { models_bytes_max, timeout: config.timeout };
    let (accelerators, watches) = devices::start(config, &monitor, extras.faults);
    let pools = Pools { computing, loading };
    let registry = Registry::with_accelerators(Arc::clone(&monitor), pools, accelerators, spawn, allowance);
    for watch in watches {
        watch.tells(&registry);
    }
    Ok(Pipeline::new(registry, monitor, admission(&config.limits, memory), preparing, config.timeout))
}

fn admission(limits: &config::Limits, memory: usize) -> Arc<Admission> {
    let share = (memory / BYTES_ONE_IN).max(limits.message_bytes_max.get());
    let bytes_max = limits.in_flight_bytes_max.map_or(share, NonZeroUsize::get);
    let requests_max = limits.in_flight_requests_max.get();
    Admission::new(guard::Limits { requests_max, bytes_max }, Memory::new(memory))
}

/// Shows what other rooms keep.
fn observe(pipeline: &Arc<Pipeline>, tally: &Arc<Tally>) {
    let monitor = pipeline.monitor();
    let admission = |read: fn(&Admission) -> usize| {
        let admission = Arc::clone(pipeline.admission());
        move || read(&admission) as u64
    };
    monitor.observe(Reading::RequestsInFlight, admission(Admission::requests));
    monitor.observe(Reading::BytesInFlight, admission(Admission::bytes));
    monitor.observe(Reading::MemoryLimit, admission(|admission| admission.memory().limit()));
    monitor.observe(Reading::MemoryPressure, admission(|admission| admission.memory().pressure() as usize));
    let tally = |read: fn(&Tally) -> u64| {
        let tally = Arc::clone(tally);
        move || read(&tally)
    };
    monitor.observe(Reading::Connections, tally(Tally::open));
    monitor.observe(Reading::ConnectionsAccepted, tally(Tally::accepted));
    monitor.observe(Reading::ConnectionsRefused, tally(Tally::refused));
    monitor.observe(Reading::ConnectionsWithoutPreface, tally(Tally::without_preface));
    monitor.observe(Reading::AcceptErrors, tally(Tally::accept_errors));
    monitor.observe(Reading::StalledAnswers, tally(Tally::stalled_answers));
}

/// Loads the models, and follows their sources where the configuration says so.
fn keep_models(
    pipeline: &Arc<Pipeline>,
    config: &Config,
    sources: Vec<Box<dyn RegistrySource>>,
    tasks: &Tasks,
    stop: CancellationToken,
) -> watch::Receiver<Option<usize>> {
    let (tell, failed) = watch::channel(None);
    let repository = &config.repository;
    let reconciler = Reconciler::new(Arc::clone(pipeline.registry()), sources, repository.settle_time);
    let poll_interval = repository.watch.then_some(repository.poll_interval);
    tasks.spawn("models", registry::keep(reconciler, poll_interval, tell, stop));
    failed
}

fn listen_grpc(
    pipeline: &Arc<Pipeline>,
    config: &Config,
    tasks: &Tasks,
    listener: Listener,
    stop: CancellationToken,
) -> anyhow::Result<watch::Receiver<bool>> {
    let settings = grpc::Settings {
        message_bytes_max: config.limits.message_bytes_max.get(),
        receive_timeout: config.limits.receive_timeout,
    };
    let serve = grpc::serve(pipeline, settings, listener, stop).context("read the protocol's definition")?;
    let (tell, ended) = watch::channel(false);
    tasks.spawn("grpc", async move {
        serve.await;
        tell.send_replace(true);
    });
    Ok(ended)
}

/// `budget`: bytes of requests that the server may hold, of which clients may have half on the way before it asks.
fn limits(config: &Config, budget: usize) -> net::Limits {
    let limits = &config.limits;
    net::Limits {
        connections_max: limits.connections_max.get(),
        streams_max: u32::try_from(limits.streams_max.get()).unwrap_or(u32::MAX),
        windows_bytes_max: budget / 2,
        handshake: limits.handshake_timeout,
        idle: limits.idle_timeout,
        age: limits.connection_age,
        linger: config.timeout + config.shutdown.grace,
        send: limits.send_timeout,
        grace: config.shutdown.grace,
    }
}
