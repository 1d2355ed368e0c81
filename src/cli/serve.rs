//! `sconce serve`: the server itself.

use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use tracing::{error, info, warn};

use super::screen::say;
use crate::app::{Dropped, Log, Server, Signals, start_log};
use crate::config::{Config, Environment, ServeFlags, reload_log_level};
use crate::monitor::Reading;
use crate::registry::{Directory, RegistrySource};

/// Serves until SIGTERM or Ctrl-C. Errors: the configuration is wrong, an address is taken, `--strict` and a model failed.
pub(super) fn run(flags: &ServeFlags) -> anyhow::Result<ExitCode> {
    let environment = Environment::take();
    let config = Config::load(flags, &environment).map_err(|problems| anyhow!("{problems}"))?;
    let log = start_log(config.log.format, &config.log.level).map_err(|error| anyhow!("log level: {error}"))?;
    let reload = || change_level(&log, flags, &environment);
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config, log.dropped(), reload));
    // A model that is still loading does not hold the process up.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// A runtime with a network thread for each core. Errors: they cannot be started.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.thread_name("net").enable_all();
    builder.build().context("start the network's threads")
}

async fn serve(config: Config, dropped: Dropped, reload: impl Fn()) -> anyhow::Result<()> {
    for folder in &config.models {
        anyhow::ensure!(folder.is_dir(), "--models {}: there is no such folder", folder.display());
    }
    let mut signals = Signals::listen().context("listen for signals")?;
    let sources = config.models.iter().map(|path| Box::new(Directory::new(path)) as Box<dyn RegistrySource>);
    let (sources, strict) = (sources.collect(), config.strict);
    let server = Server::start(config, sources)?;
    server.pipeline().monitor().observe(Reading::LogLinesDropped, move || dropped.count());
    let (grpc, metrics) = (server.grpc(), server.metrics());
    info!(%grpc, %metrics, "listening");
    let failed = tokio::select! {
        failed = server.loaded() => failed,
        () = signals.stop(&reload) => {
            server.shut_down(signals.stop(&reload)).await;
            return Ok(());
        }
    };
    if failed > 0 && strict {
        bail!("{failed} of the models failed to load, and --strict asks for all; the log above says why");
    }
    if server.pipeline().model_states().is_empty() {
        warn!("no models: expected folders laid out as <model>/<version>/<files> in --models");
    }
    say(&format!("sconce is ready: grpc={grpc} metrics={metrics}"));
    signals.stop(&reload).await;
    server.shut_down(signals.stop(&reload)).await;
    Ok(())
}

fn change_level(log: &Log, flags: &ServeFlags, environment: &Environment) {
    let changed = reload_log_level(flags, environment).map_err(|problems| problems.to_string());
    match changed.and_then(|level| log.set_level(&level).map(|()| level)) {
        Ok(level) => info!(level, "log level read again"),
        Err(error) => error!(error, "read the log level again"),
    }
}
