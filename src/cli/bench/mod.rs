//! `sconce bench`: a load tester for any server of the protocol.
//!
//! [`request`] prepares what is sent from [`server`]'s metadata or a file; [`step`] runs one load, in a [`closed`] or an
//! [`open`] loop, over [`client`]s that record into a [`tally`]; [`report`] is the figures, which [`table`], JSON and
//! [`plot`] show.

mod arrivals;
mod client;
mod closed;
mod codec;
mod flags;
mod input_file;
mod open;
mod outcome;
mod pace;
mod plot;
mod random;
mod report;
mod request;
mod server;
mod shape;
mod step;
mod sweep;
mod table;
mod tally;
mod values;

#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::screen::say;
use super::serve::runtime;
use crate::app::Signals;
use client::Client;
pub(super) use flags::Flags;
use report::{Input, Report, Setup, Step};
use request::Requests;
use step::{Load, Plan};

/// Measures and prints. Errors: the server cannot be reached, the flags do not fit the model, no call was answered well.
pub(super) fn run(flags: &Flags) -> anyhow::Result<ExitCode> {
    let report = runtime()?.block_on(measure(flags))?;
    if flags.json {
        say(&serde_json::to_string_pretty(&report).context("write the report")?);
    } else {
        say(&table::render(&report));
    }
    if let Some(file) = &flags.plot {
        std::fs::write(file, plot::draw(&report)).with_context(|| format!("--plot {}: write", file.display()))?;
    }
    match report.main_error() {
        _ if report.has_answers() => Ok(ExitCode::SUCCESS),
        Some(error) => bail!("no call was answered well: {}", table::error_line(error)),
        None => bail!("no call was answered"),
    }
}

async fn measure(flags: &Flags) -> anyhow::Result<Report> {
    let mut signals = Signals::listen().context("listen for signals")?;
    let stop = CancellationToken::new();
    let mut measuring = std::pin::pin!(prepare_and_run(flags, &stop));
    tokio::select! {
        report = &mut measuring => return report,
        () = signals.stop(|| {}) => stop.cancel(),
    }
    measuring.await
}

async fn prepare_and_run(flags: &Flags, stop: &CancellationToken) -> anyhow::Result<Report> {
    let channels = server::connect(&flags.address, flags.connections).await?;
    let first = channels.first().context("no connection")?.clone();
    let declared = server::inputs(first, &flags.model, &flags.model_version).await?;
    let requests = Arc::new(Requests::prepare(flags, &declared)?);
    let clients = Client::on_each(channels, flags, &requests);
    let steps = run_steps(&clients, flags, stop).await?;
    Ok(Report::new(setup(flags, &requests), steps, flags.sweep, stop.is_cancelled()))
}

/// The steps, one after the other; a step without a good answer, or `stop`, is the last.
async fn run_steps(clients: &[Client], flags: &Flags, stop: &CancellationToken) -> anyhow::Result<Vec<Step>> {
    let plan = plan(flags);
    let mut steps: Vec<Step> = Vec::new();
    while let Some(load) = next_load(flags, &steps)
        && !stop.is_cancelled()
    {
        let Some(measured) = step::run(clients, load, &plan, stop).await? else { break };
        steps.push(Step::of(&measured));
        if steps.last().is_some_and(|last| last.ok == 0) {
            break;
        }
    }
    Ok(steps)
}

fn next_load(flags: &Flags, steps: &[Step]) -> Option<Load> {
    if flags.sweep {
        return sweep::next(&report::points(steps)).map(Load::Callers);
    }
    let rate = flags.rate.get(steps.len()).copied().map(Load::Rate);
    let callers = flags.concurrency.get(steps.len()).copied().map(Load::Callers);
    if flags.rate.is_empty() { callers } else { rate }
}

fn plan(flags: &Flags) -> Plan {
    Plan {
        warmup: flags.warmup,
        duration: flags.duration,
        deadline: flags.deadline,
        spread: flags.arrivals,
        in_flight_max: flags.in_flight_max,
        heeds_pushback: flags.heed_pushback,
        seed: flags.seed,
    }
}

fn setup(flags: &Flags, requests: &Requests) -> Setup {
    let input = |(name, dtype, shape): &(String, crate::types::DataType, Vec<usize>)| Input {
        name: name.clone(),
        datatype: dtype.name(),
        shape: shape.clone(),
    };
    Setup {
        address: flags.address.clone(),
        model: flags.model.clone(),
        model_version: flags.model_version.clone(),
        inputs: requests.about().iter().map(input).collect(),
        request_variants: requests.variants(),
        connections: flags.connections.get(),
        warmup_seconds: flags.warmup.as_secs_f64(),
        duration_seconds: flags.duration.as_secs_f64(),
        deadline_seconds: flags.deadline.map(|deadline| deadline.as_secs_f64()),
        priority: flags.priority.map(std::num::NonZeroU64::get),
        ids: flags.ids,
        gzip: flags.gzip,
        heed_pushback: flags.heed_pushback,
        arrivals: (!flags.rate.is_empty()).then(|| flags.arrivals.name()),
        seed: flags.seed,
    }
}
