//! `sconce demo`: the shipped models, or one that the user brings, served for real and asked.

mod ask;
mod faults;
mod given;
mod held_out;
mod question;
mod report;
mod shipped;
mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::time::Duration;

use super::screen::say;
use super::serve::runtime;
use crate::app::{Server, Signals, start_log};
use crate::config::{Config, DeviceChoice, LogFormat};
use crate::registry::{RegistrySource, Shipped, Single};
use given::Given;

/// Traffic for each model.
const TRAFFIC: Duration = Duration::from_secs(3);
/// Traffic before the first fault, and after each.
const PHASE: Duration = Duration::from_secs(5);

/// How the demo runs.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// Exit when the figures are printed; the exit code is 1 if an accuracy is not the committed one.
    #[arg(long)]
    once: bool,
    /// Seconds of traffic for each model [default: 3], or before and after each fault [default: 5].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    seconds: Option<u64>,
    /// Serve the text model in this Hugging Face folder instead, and ask it about some sentences.
    #[arg(long, value_name = "FOLDER", conflicts_with = "image")]
    text: Option<PathBuf>,
    /// Serve the image model in this Hugging Face folder instead, and ask it about a picture.
    #[arg(long, value_name = "FOLDER")]
    image: Option<PathBuf>,
    /// JPEG or PNG files to ask the image model about, instead of a picture that ships.
    #[arg(long, value_name = "FILE", requires = "image")]
    picture: Vec<PathBuf>,
    /// Serve the shipped models through a worker under load, kill it, freeze it and feed it garbage, and show what clients
    /// see; the exit code is 1 if one saw an error, or answers were not as quick as before within 2 seconds.
    #[arg(long, conflicts_with_all = ["once", "text", "image"])]
    kill_device: bool,
    /// What that worker computes on.
    #[arg(long, value_name = "DEVICE", requires = "kill_device", default_value = "worker", value_parser = ["worker", "cuda"])]
    device: String,
    /// The worker's program, where it is not beside the server's.
    #[arg(long, value_name = "FILE", requires = "kill_device")]
    worker: Option<PathBuf>,
}

/// Serves, asks, prints; then serves on until Ctrl-C. Errors: the server or a call fails.
pub(super) fn run(flags: &Flags) -> anyhow::Result<ExitCode> {
    if flags.kill_device {
        let phase = flags.seconds.map_or(PHASE, Duration::from_secs);
        let device = if flags.device == "cuda" { DeviceChoice::Cuda } else { DeviceChoice::Worker };
        return faults::run(device, flags.worker.as_deref(), phase);
    }
    let _log = start_log(LogFormat::Pretty, "warn").map_err(anyhow::Error::msg)?;
    runtime()?.block_on(demo(local_config(), flags))
}

/// Of a server for this demo only.
fn local_config() -> Config {
    let mut config = Config::default();
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    (config.grpc, config.metrics, config.shutdown.delay) = (any_port, any_port, Duration::ZERO);
    config
}

async fn demo(config: Config, flags: &Flags) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let folder = flags.text.as_ref().or(flags.image.as_ref());
    let given =
        folder.map(|folder| Given::new(&Single::new(folder), flags.text.is_some(), &flags.picture)).transpose()?;
    let source: Box<dyn RegistrySource> = match folder {
        Some(folder) => Box::new(Single::new(folder)),
        None => Box::new(Shipped),
    };
    let server = Server::start(config, vec![source])?;
    let failed = server.loaded().await;
    let what = given.as_ref().map_or("the shipped models", |given| given.name());
    say(&format!("sconce {} serves {what} on {}", env!("CARGO_PKG_VERSION"), server.grpc()));
    let time = flags.seconds.map_or(TRAFFIC, Duration::from_secs);
    let asked = async {
        match &given {
            Some(given) => given.ask(&server, time).await.map(|()| true),
            None => shipped::ask_all(&server, time).await,
        }
    };
    let asked = tokio::select! {
        asked = asked => Some(asked?),
        () = signals.stop(|| {}) => None,
    };
    let Some(as_committed) = asked else {
        server.shut_down(signals.stop(|| {})).await;
        return Ok(ExitCode::FAILURE);
    };
    if !flags.once {
        let metrics = server.metrics();
        let how = given.as_ref().map_or_else(|| shipped::how_to_call(&server), |given| given.how_to_call(&server));
        say(&format!("\nStill serving. Call it from Python (pip install 'tritonclient[grpc]'):\n\n{how}\n"));
        say(&format!("Metrics for Prometheus: http://{metrics}/metrics      Readiness: http://{metrics}/health/ready"));
        say("Ctrl-C ends it.");
        signals.stop(|| {}).await;
    }
    server.shut_down(signals.stop(|| {})).await;
    if as_committed && failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    say("an accuracy differs from the committed one, or a model failed to load");
    Ok(ExitCode::FAILURE)
}
