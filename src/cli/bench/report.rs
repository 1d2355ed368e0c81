//! The figures of a run as plain data: what the table, the JSON object and the plot are made from.
//!
//! Field names and meanings are stable within a `format`; docs/load-testing.md describes them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Serialize;

use super::step::{Load, Measured};
use super::sweep::{self, Point};
use super::tally::{Errors, Timings};

/// Grows when a field changes its name or meaning, not when one is added.
const FORMAT: u32 = 1;

/// An open loop that sent less than this share of what was due did not offer its rate.
const KEPT_SHARE: f64 = 0.99;

/// A run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) format: u32,
    pub(super) sconce: &'static str,
    pub(super) setup: Setup,
    pub(super) steps: Vec<Step>,
    /// Of a sweep.
    pub(super) knee: Option<Knee>,
    /// Was the run stopped before its end?
    pub(super) interrupted: bool,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Setup {
    pub(super) address: String,
    pub(super) model: String,
    pub(super) model_version: String,
    /// Of the first request.
    pub(super) inputs: Vec<Input>,
    pub(super) request_variants: usize,
    pub(super) connections: usize,
    pub(super) warmup_seconds: f64,
    pub(super) duration_seconds: f64,
    pub(super) deadline_seconds: Option<f64>,
    pub(super) priority: Option<u64>,
    pub(super) ids: bool,
    pub(super) gzip: bool,
    /// Does a caller wait after a refusal for as long as the server asks?
    pub(super) heed_pushback: bool,
    /// Of an open loop: `constant` or `poisson`.
    pub(super) arrivals: Option<&'static str>,
    pub(super) seed: u64,
}

/// An input of the first request.
#[derive(Debug, Serialize)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) datatype: &'static str,
    pub(super) shape: Vec<usize>,
}

/// One concurrency or one rate.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// Of a closed loop.
    pub(super) concurrency: Option<usize>,
    /// Of an open loop.
    pub(super) offered: Option<Offered>,
    pub(super) measured_seconds: f64,
    /// Calls before the measured time, in none of the other figures.
    pub(super) warmup_calls: u64,
    /// Calls due in the measured time and sent: `ok` + `failed` + `unanswered`.
    pub(super) calls: u64,
    pub(super) ok: u64,
    pub(super) failed: u64,
    /// Given up when the step had ended.
    pub(super) unanswered: u64,
    pub(super) answers_per_second: f64,
    pub(super) ok_per_second: f64,
    /// Ok within the deadline.
    pub(super) goodput_per_second: f64,
    pub(super) rows_per_second: f64,
    /// Of ok answers.
    pub(super) latency_seconds: Option<Latency>,
    /// Of all other ends of calls.
    pub(super) failed_latency_seconds: Option<Latency>,
    /// The commonest first.
    pub(super) errors: Vec<ErrorCount>,
}

/// What an open loop was to send, and what it did send.
#[derive(Debug, Serialize)]
pub(super) struct Offered {
    pub(super) asked_per_second: f64,
    pub(super) sent_per_second: f64,
    /// Requests due in the measured time.
    pub(super) due: u64,
    /// Of these, how many had to wait for others to end, because of `--in-flight-max`.
    pub(super) held_back: u64,
    /// From due to sent.
    pub(super) lag_seconds: Option<Latency>,
    /// Was nearly all that was due sent, and at once?
    pub(super) kept: bool,
}

/// Durations in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    #[serde(rename = "p99.9")]
    pub(super) p999: f64,
    pub(super) max: f64,
}

/// Failures of one kind.
#[derive(Debug, Serialize)]
pub(super) struct ErrorCount {
    /// Name of the gRPC status.
    pub(super) code: &'static str,
    /// The server's `sconce-reason`.
    pub(super) reason: Option<String>,
    pub(super) count: u64,
    /// The first one's.
    pub(super) message: String,
}

/// Where more callers stop bringing more answers.
#[derive(Debug, Serialize)]
pub(super) struct Knee {
    pub(super) concurrency: usize,
    pub(super) goodput_per_second: f64,
    /// The share of the best step's goodput that the knee has at least.
    pub(super) share_of_best: f64,
}

impl Report {
    pub(super) fn new(setup: Setup, steps: Vec<Step>, is_sweep: bool, interrupted: bool) -> Self {
        let knee = is_sweep.then(|| sweep::knee(&points(&steps))).flatten();
        let knee = knee.map(|Point { concurrency, throughput }| Knee {
            concurrency,
            goodput_per_second: throughput,
            share_of_best: sweep::KNEE_SHARE,
        });
        Self { format: FORMAT, sconce: env!("CARGO_PKG_VERSION"), setup, steps, knee, interrupted }
    }

    /// Was any call answered well?
    pub(super) fn has_answers(&self) -> bool {
        self.steps.iter().any(|step| step.ok > 0)
    }

    /// The commonest failure of the first step that had any.
    pub(super) fn main_error(&self) -> Option<&ErrorCount> {
        self.steps.iter().find_map(|step| step.errors.first())
    }
}

/// The closed steps as a sweep sees them.
pub(super) fn points(steps: &[Step]) -> Vec<Point> {
    let point = |step: &Step| {
        let throughput = step.goodput_per_second;
        step.concurrency.map(|concurrency| Point { concurrency, throughput })
    };
    steps.iter().filter_map(point).collect()
}

impl Step {
    pub(super) fn of(measured: &Measured) -> Self {
        let Measured { load, took, due, tally } = measured;
        let sent = tally.sent.load(Relaxed);
        let (ok, failed) = (tally.ok.distribution().count(), tally.failed.distribution().count());
        let per_second = |counter: &AtomicU64| rate(counter.load(Relaxed), *took);
        let (concurrency, offered) = match load {
            Load::Callers(callers) => (Some(callers.get()), None),
            Load::Rate(asked) => (None, Some(Offered::of(*asked, due.unwrap_or(0) as u64, measured))),
        };
        Self {
            concurrency,
            offered,
            measured_seconds: took.as_secs_f64(),
            warmup_calls: tally.warm_up.load(Relaxed),
            calls: sent,
            ok,
            failed,
            unanswered: sent.saturating_sub(ok + failed),
            answers_per_second: per_second(&tally.inside.answers),
            ok_per_second: per_second(&tally.inside.ok),
            goodput_per_second: per_second(&tally.inside.good),
            rows_per_second: per_second(&tally.inside.rows),
            latency_seconds: Latency::of(&tally.ok),
            failed_latency_seconds: Latency::of(&tally.failed),
            errors: commonest_first(tally.errors()),
        }
    }
}

impl Offered {
    fn of(asked: f64, due: u64, measured: &Measured) -> Self {
        let tally = &measured.tally;
        let sent = tally.sent.load(Relaxed);
        let held_back = tally.held_back.load(Relaxed);
        Self {
            asked_per_second: asked,
            sent_per_second: rate(sent, measured.took),
            due,
            held_back,
            lag_seconds: Latency::of(&tally.lag),
            kept: held_back == 0 && share(sent, due) >= KEPT_SHARE,
        }
    }
}

impl Latency {
    fn of(timings: &Timings) -> Option<Self> {
        let seen = timings.distribution();
        let max = timings.max();
        let quantiles = seen.quantiles(&[0.5, 0.9, 0.95, 0.99, 0.999]);
        // A bucket's middle may lie above the longest in it.
        let quantiles = quantiles.into_iter().map(|time| time.map(|time| time.min(max).as_secs_f64()));
        let [p50, p90, p95, p99, p999] = quantiles.collect::<Option<Vec<f64>>>()?.try_into().ok()?;
        let mean = seen.sum().as_secs_f64() / whole(seen.count());
        Some(Self { mean, p50, p90, p95, p99, p999, max: max.as_secs_f64() })
    }
}

fn commonest_first(errors: Errors) -> Vec<ErrorCount> {
    let each = errors.into_iter().map(|((code, reason), failures)| ErrorCount {
        code,
        reason,
        count: failures.count,
        message: failures.message,
    });
    let mut errors: Vec<ErrorCount> = each.collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.count));
    errors
}

fn rate(count: u64, time: Duration) -> f64 {
    whole(count) / time.as_secs_f64()
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 1.0 } else { whole(part) / whole(all) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^53")]
fn whole(count: u64) -> f64 {
    count as f64
}
