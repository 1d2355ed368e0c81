//! One step: a load for some time, watched, and what came of it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::arrivals::{Arrivals, Spread};
use super::client::Ask;
use super::tally::{Tally, Window};
use super::{closed, open};
use crate::cli::screen::progress;

/// What is not answered so long after the measured time is given up.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

const PROGRESS_EACH: Duration = Duration::from_millis(200);

/// How requests come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// Closed loop.
    Callers(NonZeroUsize),
    /// Open loop.
    Rate(f64),
}

/// What all steps have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    pub(super) deadline: Option<Duration>,
    pub(super) spread: Spread,
    pub(super) in_flight_max: NonZeroUsize,
    pub(super) heeds_pushback: bool,
    pub(super) seed: u64,
}

/// What came of a step.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) load: Load,
    /// The measured time, shorter than planned if the run was stopped.
    pub(super) took: Duration,
    /// Requests of an open loop that were due in it.
    pub(super) due: Option<usize>,
    pub(super) tally: Arc<Tally>,
}

/// Runs one step. `None` if it was stopped before anything was measured.
///
/// Errors: the pacer's thread cannot be started. Not cancel safe: dropping it gives the measurement up.
pub(super) async fn run<A: Ask>(
    clients: &[A],
    load: Load,
    plan: &Plan,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Measured>> {
    let begun = Instant::now();
    let window = Window { start: begun + plan.warmup, end: begun + plan.warmup + plan.duration };
    let tally = Arc::new(Tally::new(window, plan.deadline));
    let arrivals = |rate| Arrivals::new(plan.spread, rate, plan.seed);
    let running = match load {
        Load::Callers(callers) => closed::start(clients, callers, plan.heeds_pushback, &tally),
        Load::Rate(rate) => open::start(clients, arrivals(rate), plan.in_flight_max, &tally, begun)?,
    };
    watch(load, &tally, running, stop).await;
    progress("");
    let took = Instant::now().min(window.end).saturating_duration_since(window.start);
    let due = match load {
        Load::Callers(_) => None,
        Load::Rate(rate) => Some(arrivals(rate).due_between(plan.warmup, plan.warmup + took)),
    };
    Ok((!took.is_zero()).then_some(Measured { load, took, due, tally }))
}

/// Shows progress until the window ends, then waits for the answers; gives up what is left then, or at once on `stop`.
async fn watch(load: Load, tally: &Tally, mut running: JoinSet<()>, stop: &CancellationToken) {
    let ended = async { while running.join_next().await.is_some() {} };
    let patience = tally.window.end.saturating_duration_since(Instant::now()) + DRAIN_TIME_MAX;
    let mut ticks = interval(PROGRESS_EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let show = async {
        loop {
            ticks.tick().await;
            progress(&line(load, tally, Instant::now()));
        }
    };
    tokio::select! {
        // Dropping the callers ends them.
        _given_up = timeout(patience, ended) => (),
        () = show => (),
        () = stop.cancelled() => (),
    }
}

fn line(load: Load, tally: &Tally, now: Instant) -> String {
    let what = match load {
        Load::Callers(callers) => format!("{callers} at once"),
        Load::Rate(rate) => format!("{rate} requests/s"),
    };
    let Window { start, end } = tally.window;
    if now < start {
        return format!("{what}: warming up");
    }
    let (passed, whole) = ((now.min(end) - start).as_secs_f64(), (end - start).as_secs_f64());
    let failed = tally.failed.distribution().count();
    let latency = tally.ok.distribution().quantiles(&[0.5, 0.99]);
    let millis = |at: usize| latency.get(at).copied().flatten().unwrap_or_default().as_secs_f64() * 1e3;
    let (p50, p99) = (millis(0), millis(1));
    #[expect(clippy::cast_precision_loss, reason = "a rate for display")]
    let rate = tally.inside.ok.load(Relaxed) as f64 / passed.max(1e-3);
    let waiting = if now > end { ", waiting for answers" } else { "" };
    format!(
        "{what}: {passed:.1} of {whole:.1} s, {rate:.0} ok/s, p50 {p50:.2} ms, p99 {p99:.2} ms, {failed} failed{waiting}"
    )
}
