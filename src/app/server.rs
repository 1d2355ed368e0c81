//! From a checked configuration to a running server, and back to nothing in order.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::tasks::Tasks;
use crate::api::{admin, grpc};
use crate::config::Config;
use crate::device::Cores;
use crate::monitor::{self, Monitor, ServerGauge};
use crate::net;
use crate::registry::{Registry, RegistrySource, Spawn};
use crate::serve::{self, Pipeline};

/// A server that listens.
pub struct Server {
    pipeline: Arc<Pipeline>,
    tasks: Tasks,
    config: Config,
    grpc: SocketAddr,
    metrics: SocketAddr,
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
        let tasks = Tasks::new();
        let pipeline = pipeline(&config, &tasks)?;
        let grpc_listener = net::bind(config.grpc)?;
        let metrics_listener = net::bind(config.metrics)?;
        let (grpc, metrics) = (grpc_listener.local_addr()?, metrics_listener.local_addr()?);
        let (stop_grpc, stop_metrics) = (CancellationToken::new(), CancellationToken::new());
        let failed = load_in_background(&pipeline, sources);
        let grpc_ended = listen_grpc(&pipeline, &config, &tasks, grpc_listener, stop_grpc.clone())?;
        let admin = admin::serve(Arc::clone(&pipeline), metrics_listener, limits(&config), stop_metrics.clone());
        tasks.spawn("metrics", admin);
        Ok(Self { pipeline, tasks, config, grpc, metrics, stop_grpc, stop_metrics, grpc_ended, failed })
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
        let orderly = async {
            tokio::time::sleep(delay).await;
            self.stop_grpc.cancel();
            let _ended = self.grpc_ended.wait_for(|ended| *ended).await;
            self.pipeline.registry().drain();
            self.stop_metrics.cancel();
            self.tasks.join().await;
        };
        tokio::select! {
            () = orderly => info!("stopped"),
            () = hurry => info!("stopped short by a second signal"),
        }
    }
}

fn pipeline(config: &Config, tasks: &Tasks) -> anyhow::Result<Arc<Pipeline>> {
    let monitor = Monitor::new(monitor::Settings {
        access_log: config.log.access,
        window: config.monitor.window,
        ..monitor::Settings::default()
    });
    let threads = config.runtime.threads.or_else(|| std::thread::available_parallelism().ok());
    let cores = Cores::new(threads.map_or(1, NonZeroUsize::get)).context("start the computing threads")?;
    let tasks = tasks.clone();
    let spawn: Spawn = Arc::new(move |name, task| tasks.spawn(&name, task));
    let registry = Registry::new(Arc::clone(&monitor), cores, spawn);
    let settings = serve::Settings {
        timeout: config.timeout,
        requests_max: config.limits.in_flight_requests_max.get(),
        bytes_max: config.limits.in_flight_bytes_max.get(),
    };
    let pipeline = Pipeline::new(registry, Arc::clone(&monitor), &settings);
    let (requests, bytes) = (Arc::clone(pipeline.admission()), Arc::clone(pipeline.admission()));
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    {
        monitor.gauge(ServerGauge::RequestsInFlight, Box::new(move || requests.requests() as f64));
        monitor.gauge(ServerGauge::RequestBytesInFlight, Box::new(move || bytes.bytes() as f64));
    }
    Ok(pipeline)
}

fn load_in_background(
    pipeline: &Arc<Pipeline>,
    sources: Vec<Box<dyn RegistrySource>>,
) -> watch::Receiver<Option<usize>> {
    let (tell, failed) = watch::channel(None);
    let pipeline = Arc::clone(pipeline);
    tokio::task::spawn_blocking(move || {
        let failed = pipeline.registry().load_all(&sources);
        tell.send_replace(Some(failed));
    });
    failed
}

fn listen_grpc(
    pipeline: &Arc<Pipeline>,
    config: &Config,
    tasks: &Tasks,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<watch::Receiver<bool>> {
    let settings = grpc::Settings { message_bytes_max: config.limits.message_bytes_max.get() };
    let serve = grpc::serve(pipeline, settings, listener, limits(config), stop);
    let serve = serve.context("read the protocol's definition")?;
    let (tell, ended) = watch::channel(false);
    tasks.spawn("grpc", async move {
        serve.await;
        tell.send_replace(true);
    });
    Ok(ended)
}

fn limits(config: &Config) -> net::Limits {
    net::Limits {
        connections_max: config.limits.connections_max.get(),
        streams_max: u32::try_from(config.limits.streams_max.get()).unwrap_or(u32::MAX),
        handshake: config.limits.handshake_timeout,
        idle: config.limits.idle_timeout,
        grace: config.shutdown.grace,
    }
}
