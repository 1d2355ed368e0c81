//! What is printed: a line each half second while it happens, and what came of it.

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::calls::{Call, back_after, by_rung, errors, p99, returned_after};
use super::fault::Fault;
use super::load::DESCRIPTION;
use crate::app::Server;
use crate::cli::screen::say;
use crate::device::{Supervisor, WorkerState};
use crate::guard::BreakerState;
use crate::registry::Rung;
use crate::types::RungKind;

/// p99 is back where it is at most so many times that before the first fault, or below the floor.
const P99_TIMES_MAX: f64 = 1.5;
/// Below this it is noise of a machine that does other things as well.
const P99_FLOOR: Duration = Duration::from_millis(5);
/// p99 must be back within this time.
const BACK_MAX: Duration = Duration::from_secs(2);
/// It is back where so much time goes by with it.
const WINDOW: Duration = Duration::from_secs(1);
/// Errors that are shown word by word.
const ERRORS_SHOWN: usize = 5;

/// A fault, and the time that follows it.
struct Phase {
    fault: Fault,
    begun: Instant,
}

/// Everything that has happened.
pub(super) struct Timeline<'a> {
    server: &'a Server,
    supervisor: Arc<Supervisor>,
    begun: Instant,
    phases: Vec<Phase>,
    calls: Vec<Call>,
    /// Calls in lines that were printed.
    printed: usize,
    /// Did the worker answer any of those in the last line?
    worker_answers: bool,
    /// How the device was when it was looked at last.
    seen: String,
}

impl<'a> Timeline<'a> {
    /// Begins now, with its heading.
    pub(super) fn new(server: &'a Server, supervisor: Arc<Supervisor>) -> Self {
        say(&format!("sconce {} serves the shipped models through a worker", env!("CARGO_PKG_VERSION")));
        say(&format!("{DESCRIPTION}\n"));
        say("    time   answered   worker    cpu  errors       p99  breakers              worker");
        let (begun, phases, calls) = (Instant::now(), Vec::new(), Vec::new());
        Self { server, supervisor, begun, phases, calls, printed: 0, worker_answers: false, seen: String::new() }
    }

    /// A fault has happened.
    pub(super) fn begin(&mut self, fault: Fault, what: &str) {
        let begun = Instant::now();
        say(&format!("{}  ── {what}", self.clock()));
        self.phases.push(Phase { fault, begun });
    }

    /// Prints how the device is, if that has changed.
    pub(super) fn look(&mut self) {
        let seen = self.device();
        if seen != self.seen {
            self.print("", &seen);
            self.seen = seen;
        }
    }

    fn print(&self, figures: &str, device: &str) {
        say(&format!("{}{figures:<45}  {device}", self.clock()));
    }

    /// Time since the beginning.
    fn clock(&self) -> String {
        format!("{:>6.2} s", self.begun.elapsed().as_secs_f64())
    }

    /// A call has ended.
    pub(super) fn book(&mut self, call: Call) {
        self.calls.push(call);
    }

    /// Does the worker answer, and nothing keeps it from serving any model?
    pub(super) fn is_well(&self) -> bool {
        let (table, now) = (self.server.pipeline().registry().table(), Instant::now());
        let models = table.models();
        let mut deployments = models.keys().map(|name| table.route(name.as_str(), ""));
        let serves = |rung: &Rung| rung.is_up() && rung.breaker(now) == BreakerState::Closed;
        self.worker_answers && deployments.all(|deployment| deployment.is_ok_and(|found| serves(found.rungs.first())))
    }

    /// Prints what has ended since the last line, and how the device is.
    pub(super) fn print_line(&mut self) {
        let calls = self.calls.get(self.printed..).unwrap_or_default();
        let rungs = by_rung(calls);
        let by = |rung| rungs.get(&rung).copied().unwrap_or(0);
        let (all, worker, cpu) = (calls.len(), by(RungKind::Worker), by(RungKind::Cpu));
        let (errors, p99) = (errors(calls).count(), millis(p99(calls)));
        self.print(&format!(" {all:>10} {worker:>8} {cpu:>6} {errors:>7} {p99:>9}"), &self.device());
        (self.printed, self.worker_answers) = (self.calls.len(), worker > 0);
    }

    /// The workers' breakers, and the worker itself.
    fn device(&self) -> String {
        format!("{:<20}  {}", self.breakers(), self.state())
    }

    /// Of the workers' breakers, one a model.
    fn breakers(&self) -> String {
        let (table, now) = (self.server.pipeline().registry().table(), Instant::now());
        let models = table.models();
        let deployments = models.keys().filter_map(|name| table.route(name.as_str(), "").ok());
        let states: Vec<BreakerState> = deployments.map(|deployment| deployment.rungs.first().breaker(now)).collect();
        let count = |state| states.iter().filter(|other| **other == state).count();
        let shown = BreakerState::ALL.map(|state| (count(state), state.label()));
        let shown = shown.iter().filter(|(count, _)| *count > 0).map(|(count, label)| format!("{count} {label}"));
        shown.collect::<Vec<_>>().join(", ")
    }

    fn state(&self) -> String {
        let pid = self.supervisor.pid().map(|pid| format!(", process {pid}")).unwrap_or_default();
        match self.supervisor.state() {
            WorkerState::Starting => format!("starting{pid}"),
            WorkerState::Up(_) => format!("up{pid}"),
            WorkerState::Down { why, .. } => format!("down: {why}"),
            WorkerState::Stopped => "stopped".to_owned(),
        }
    }

    /// Prints what came of it all. True if nobody saw an error, and p99 was back in time after each fault.
    pub(super) fn conclude(mut self) -> bool {
        self.calls.sort_by_key(|call| call.due);
        let rungs = by_rung(&self.calls).into_iter().map(|(rung, count)| format!("{count} by {}", rung.label()));
        let wrong: Vec<&str> = errors(&self.calls).collect();
        let (all, rungs, count) = (self.calls.len(), rungs.collect::<Vec<_>>().join(", "), wrong.len());
        say(&format!("\n{all} requests: {rungs}; errors seen by clients: {count}"));
        for error in wrong.iter().take(ERRORS_SHOWN) {
            say(&format!("  {error}"));
        }
        let steady = p99(self.between(None, self.phases.first()));
        let limit = steady.mul_f64(P99_TIMES_MAX).max(P99_FLOOR);
        let (steady, shown) = (millis(steady), millis(limit));
        say(&format!("p99 was {steady} before the first fault; it is back where it is within {shown} for a second:\n"));
        say("  fault     p99 back after   slowest answer   answers by cpu   worker answers again after");
        let mut is_good = wrong.is_empty() && !self.phases.is_empty();
        for (at, phase) in self.phases.iter().enumerate() {
            is_good &= self.print_phase(phase, self.phases.get(at + 1), limit);
        }
        say(if is_good { "\nNo client has noticed." } else { "\nThis should not have been noticed." });
        is_good
    }

    /// Prints what came of one fault. True if p99 was back in time.
    fn print_phase(&self, phase: &Phase, next: Option<&Phase>, limit: Duration) -> bool {
        let calls = self.between(Some(phase), next);
        let back = back_after(calls, phase.begun, limit, WINDOW);
        let slowest = calls.iter().map(|call| call.took).max().unwrap_or_default();
        let cpu = by_rung(calls).get(&RungKind::Cpu).copied().unwrap_or(0);
        let shown = |time: Option<Duration>, none: &str| time.map_or(none.to_owned(), millis);
        let (name, slowest) = (phase.fault.name(), millis(slowest));
        let (back_shown, returned) = (shown(back, "never"), shown(returned_after(calls, phase.begun), "-"));
        say(&format!("  {name:<8} {back_shown:>15} {slowest:>16} {cpu:>16} {returned:>28}"));
        back.is_some_and(|time| time <= BACK_MAX)
    }

    /// Calls that were due from one phase to the next.
    fn between(&self, from: Option<&Phase>, to: Option<&Phase>) -> &[Call] {
        let at = |phase: &Phase| self.calls.partition_point(|call| call.due < phase.begun);
        self.calls.get(from.map_or(0, at)..to.map_or(self.calls.len(), at)).unwrap_or_default()
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
