//! `sconce demo`: the shipped models, served for real and asked with rows they have never seen.

mod held_out;
mod report;
mod traffic;

use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::time::{Duration, Instant};

use super::screen::say;
use super::serve::runtime;
use crate::app::{Server, Signals, start_log};
use crate::config::{Config, LogFormat};
use crate::registry::Shipped;
use held_out::HeldOut;

/// How the demo runs.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// Exit when the figures are printed; the exit code is 1 if an accuracy is not the committed one.
    #[arg(long)]
    once: bool,
    /// Seconds of traffic for each model.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=3600))]
    seconds: u64,
}

/// Serves, asks, prints; then serves on until Ctrl-C. Errors: the server or a call fails.
pub(super) fn run(flags: &Flags) -> anyhow::Result<ExitCode> {
    let _log = start_log(LogFormat::Pretty, "warn").map_err(anyhow::Error::msg)?;
    let mut config = Config::default();
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    (config.grpc, config.metrics, config.shutdown.delay) = (any_port, any_port, Duration::ZERO);
    runtime()?.block_on(demo(config, flags))
}

async fn demo(config: Config, flags: &Flags) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let server = Server::start(config, vec![Box::new(Shipped)])?;
    let failed = server.loaded().await;
    say(&format!("sconce {} serves the shipped models on {}", env!("CARGO_PKG_VERSION"), server.grpc()));
    let asked = tokio::select! {
        asked = ask_all(&server, Duration::from_secs(flags.seconds)) => Some(asked?),
        () = signals.stop(|| {}) => None,
    };
    let Some(as_committed) = asked else {
        server.shut_down(signals.stop(|| {})).await;
        return Ok(ExitCode::FAILURE);
    };
    if !flags.once {
        tell_how_to_call(&server);
        signals.stop(|| {}).await;
    }
    server.shut_down(signals.stop(|| {})).await;
    if as_committed && failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    say("an accuracy differs from the committed one, or a model failed to load");
    Ok(ExitCode::FAILURE)
}

/// Sends each model its rows and prints what came of it. True if every accuracy is the committed one.
async fn ask_all(server: &Server, time: Duration) -> anyhow::Result<bool> {
    let client = traffic::connect(server.grpc()).await?;
    let models = server.pipeline().registry().table().models();
    let mut names: Vec<&str> = models.keys().map(crate::types::ModelName::as_str).collect();
    names.sort_unstable();
    let mut as_committed = !names.is_empty();
    for name in names {
        let held_out = HeldOut::of(name)?;
        let traffic = traffic::send(&client, name, &held_out, time).await?;
        let quality = report::quality(&held_out, &traffic);
        let deployment = server.pipeline().registry().table().route(name, "")?;
        report::print(name, &quality, &traffic, &deployment.instruments.snapshot(Instant::now()));
        as_committed &= quality.as_committed;
    }
    Ok(as_committed)
}

fn tell_how_to_call(server: &Server) {
    let (grpc, metrics) = (server.grpc(), server.metrics());
    say(&format!(
        "
Still serving. Call it from Python (pip install 'tritonclient[grpc]'):

    import numpy as np, tritonclient.grpc as client
    server = client.InferenceServerClient(\"{grpc}\")
    row = client.InferInput(\"features\", [1, 30], \"FP32\")
    row.set_data_from_numpy(np.full((1, 30), 10, np.float32))
    answer = server.infer(\"breast_cancer\", [row], parameters={{\"confidence\": True}})
    print(answer.as_numpy(\"probabilities\"), answer.get_response().parameters)

or with grpcurl:

    grpcurl -plaintext -d '{{\"name\": \"digits\"}}' {grpc} inference.GRPCInferenceService/ModelMetadata

Metrics for Prometheus: http://{metrics}/metrics      Readiness: http://{metrics}/health/ready
Ctrl-C ends it."
    ));
}
