//! Sconce put together from its rooms as `app` does, but for what `app` does not let one choose: recording on or off.

use std::net::SocketAddr;
use std::sync::Arc;

use sconce::api::grpc;
use sconce::config::{Config, Placement};
use sconce::device::Cores;
use sconce::monitor::{Monitor, Settings};
use sconce::net;
use sconce::registry::{Found, Registry, RegistrySource, Spawn};
use sconce::serve::{self, Pipeline};
use tokio_util::sync::CancellationToken;

/// Loads, listens and begins to serve. Errors: no port is free, threads cannot be started, a model fails to load.
#[expect(clippy::disallowed_methods, reason = "its tasks run until the process ends")]
pub(super) async fn start(
    config: &Config,
    source: Box<dyn RegistrySource>,
    recording: bool,
) -> anyhow::Result<SocketAddr> {
    let monitor = Monitor::new(Settings { recording, window: config.monitor.window, ..Settings::default() });
    let runtime = tokio::runtime::Handle::current();
    let spawn: Spawn = Arc::new(move |_name, task| drop(runtime.spawn(task)));
    let registry = Registry::new(Arc::clone(&monitor), Cores::new(1)?, spawn);
    let settings = serve::Settings {
        timeout: config.timeout,
        requests_max: config.limits.in_flight_requests_max.get(),
        bytes_max: config.limits.in_flight_bytes_max.get(),
    };
    let pipeline = Pipeline::new(registry, monitor, &settings);
    let loading = Arc::clone(&pipeline);
    let sources: Vec<Box<dyn RegistrySource>> = vec![Box::new(Inline(source))];
    let failed = tokio::task::spawn_blocking(move || loading.registry().load_all(&sources)).await?;
    anyhow::ensure!(failed == 0, "a model failed to load");
    let listener = net::bind(config.grpc)?;
    let address = listener.local_addr()?;
    let settings = grpc::Settings { message_bytes_max: config.limits.message_bytes_max.get() };
    tokio::spawn(grpc::serve(&pipeline, settings, listener, limits(config), CancellationToken::new())?);
    Ok(address)
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

/// Keeps a model on the network's thread, where its cost would place it, however slow a profiler makes it look.
struct Inline(Box<dyn RegistrySource>);

impl RegistrySource for Inline {
    fn list(&self) -> Result<Vec<Found>, String> {
        let mut models = self.0.list()?;
        for listing in models.iter_mut().filter_map(|found| found.listing.as_mut().ok()) {
            listing.config.device.placement = Placement::Inline;
        }
        Ok(models)
    }
}
