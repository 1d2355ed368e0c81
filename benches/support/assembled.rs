//! Sconce with what the configuration does not let one choose: recording on or off.

use std::net::SocketAddr;

use sconce::app::{Extras, Server};
use sconce::config::{Config, Placement};
use sconce::monitor::Settings;
use sconce::registry::{Found, RegistrySource};

/// Loads, listens and begins to serve. Errors: no port is free, threads cannot be started, a model fails to load.
pub(super) async fn start(
    config: &Config,
    source: Box<dyn RegistrySource>,
    recording: bool,
) -> anyhow::Result<SocketAddr> {
    let monitor = Settings { recording, window: config.monitor.window, ..Settings::default() };
    let extras = Extras { monitor, ..Extras::default() };
    let server = Server::start_with(config.clone(), vec![Box::new(Inline(source))], extras)?;
    anyhow::ensure!(server.loaded().await == 0, "a model failed to load");
    // Its tasks run until the process ends.
    Ok(server.grpc())
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
