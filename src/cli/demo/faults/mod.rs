//! The demo of faults: the shipped models served through a worker under load, while the worker is killed, frozen and fed
//! garbage. Nobody who asks may notice.

mod calls;
mod fault;
mod load;
mod timeline;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

use super::{local_config, runtime};
use crate::app::{Server, Signals, start_log, worker_beside_server};
use crate::config::{DeviceChoice, LogFormat};
use crate::device::{PROBE_MAX, ask_for_gpus};
use crate::registry::Shipped;
use calls::Call;
use fault::Fault;
use load::Load;
use timeline::Timeline;

/// That a worker is down, and why, the timeline tells itself.
const LOG_LEVEL: &str = "error,sconce::app::devices=off";
/// A line of the timeline is printed so often.
const TICK: Duration = Duration::from_millis(500);
/// The worker and its breakers are looked at so often.
const LOOK: Duration = Duration::from_millis(10);
/// How much longer than its phase a fault may keep the worker from serving.
const RETURN_MAX: Duration = Duration::from_secs(20);

/// Serves through a worker on `device`, does one fault after the other with `phase` of traffic after each, and prints what came of it.
///
/// Errors: there is no worker's program, no GPU that was asked for, or the server fails.
pub(super) fn run(device: DeviceChoice, worker: Option<&Path>, phase: Duration) -> anyhow::Result<ExitCode> {
    let mut config = local_config();
    let program = worker_program(worker)?;
    if device == DeviceChoice::Cuda {
        let found = ask_for_gpus(&program, PROBE_MAX);
        found.map_err(|no_gpu| anyhow::anyhow!("--device cuda: {no_gpu}"))?;
    }
    config.device = device;
    config.worker.path = Some(program);
    let _log = start_log(LogFormat::Pretty, LOG_LEVEL).map_err(anyhow::Error::msg)?;
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let server = Server::start(config, vec![Box::new(Shipped)])?;
        let shown = tokio::select! {
            shown = show(&server, phase) => shown,
            () = signals.stop(|| {}) => Ok(false),
        };
        server.shut_down(signals.stop(|| {})).await;
        Ok(if shown? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// The worker's program that was named, or the one beside the server's. Errors: it is not there.
fn worker_program(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = named.map(Path::to_owned).or_else(worker_beside_server).unwrap_or_default();
    anyhow::ensure!(
        path.is_file(),
        "there is no worker's program at {}: build it with `cargo build --release -p sconce-worker`, or name it with --worker",
        path.display()
    );
    Ok(path)
}

/// True if nobody saw an error, and answers were as quick as before soon after each fault.
async fn show(server: &Server, phase: Duration) -> anyhow::Result<bool> {
    let failed = server.loaded().await;
    anyhow::ensure!(failed == 0, "a shipped model did not load; the log above says why");
    let supervisor = server.pipeline().registry().accelerators().supervisors().next();
    let supervisor = Arc::clone(supervisor.context("the server was started without a worker")?);
    let (load, mut calls) = Load::start(server).await?;
    let mut timeline = Timeline::new(server, Arc::clone(&supervisor));
    let mut well = watch(&mut timeline, &mut calls, phase).await;
    for fault in Fault::ALL {
        if well {
            timeline.begin(fault, &fault.happens_to(&supervisor)?);
            well = watch(&mut timeline, &mut calls, phase).await;
        }
    }
    load.stop();
    while let Some(call) = calls.recv().await {
        timeline.book(call);
    }
    Ok(timeline.conclude() && well)
}

/// Prints the timeline until the phase is over and the worker serves every model; false if it does not in the end.
async fn watch(timeline: &mut Timeline<'_>, calls: &mut mpsc::Receiver<Call>, phase: Duration) -> bool {
    let begun = Instant::now();
    let mut next = begun;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        next += TICK;
        loop {
            tokio::select! {
                Some(call) = calls.recv() => timeline.book(call),
                _ = looks.tick() => timeline.look(),
                () = tokio::time::sleep_until(next) => break,
            }
        }
        timeline.print_line();
        let (over, well) = (begun.elapsed() >= phase, timeline.is_well());
        if over && (well || begun.elapsed() >= phase + RETURN_MAX) {
            return well;
        }
    }
}
