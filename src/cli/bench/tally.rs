//! What the calls of one step came to, recorded by all callers at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::outcome::{Failure, Outcome};
use crate::stats::{Distribution, Histogram, nanos};

/// The measured time of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: Instant,
    pub(super) end: Instant,
}

impl Window {
    fn has(&self, moment: Instant) -> bool {
        (self.start..self.end).contains(&moment)
    }
}

/// Durations: their histogram, and the longest exactly.
#[derive(Debug, Default)]
pub(super) struct Timings {
    histogram: Histogram,
    max_nanos: AtomicU64,
}

impl Timings {
    pub(super) fn record(&self, time: Duration) {
        let time = nanos(time);
        self.histogram.record(time);
        self.max_nanos.fetch_max(time, Relaxed);
    }

    pub(super) fn distribution(&self) -> Distribution {
        self.histogram.distribution()
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_nanos(self.max_nanos.load(Relaxed))
    }
}

/// What ended within the window, whenever it began: the throughput.
#[derive(Debug, Default)]
pub(super) struct Inside {
    pub(super) answers: AtomicU64,
    pub(super) ok: AtomicU64,
    /// Ok within the deadline.
    pub(super) good: AtomicU64,
    pub(super) rows: AtomicU64,
}

/// Failures of one kind.
#[derive(Clone, Debug)]
pub(super) struct Failures {
    pub(super) count: u64,
    /// The first one's message.
    pub(super) message: String,
}

/// By code, then by the server's reason.
pub(super) type Errors = BTreeMap<(&'static str, Option<String>), Failures>;

/// What the calls of one step came to.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) window: Window,
    deadline: Option<Duration>,
    /// Calls due before the window; they and their answers are in none of what follows.
    pub(super) warm_up: AtomicU64,
    /// Calls due in the window and sent.
    pub(super) sent: AtomicU64,
    /// Of good answers to calls due in the window, from when they were due.
    pub(super) ok: Timings,
    /// Of every other end of such calls.
    pub(super) failed: Timings,
    /// How long after they were due such calls were sent.
    pub(super) lag: Timings,
    /// Calls that waited in the client, because too many were unanswered.
    pub(super) held_back: AtomicU64,
    pub(super) inside: Inside,
    errors: Mutex<Errors>,
}

impl Tally {
    /// An empty one. Answers after `deadline` are not good ones, if ok.
    pub(super) fn new(window: Window, deadline: Option<Duration>) -> Self {
        Self {
            window,
            deadline,
            warm_up: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            ok: Timings::default(),
            failed: Timings::default(),
            lag: Timings::default(),
            held_back: AtomicU64::new(0),
            inside: Inside::default(),
            errors: Mutex::default(),
        }
    }

    /// A call that was due at `due` is sent at `now`.
    pub(super) fn send(&self, due: Instant, now: Instant) {
        if self.window.has(due) {
            self.sent.fetch_add(1, Relaxed);
            self.lag.record(now.saturating_duration_since(due));
        } else {
            self.warm_up.fetch_add(1, Relaxed);
        }
    }

    /// A call that was due at `due` waits in the client for others to end.
    pub(super) fn hold_back(&self, due: Instant) {
        if self.window.has(due) {
            self.held_back.fetch_add(1, Relaxed);
        }
    }

    /// A call that was due at `due` ended at `now`.
    pub(super) fn end(&self, due: Instant, now: Instant, outcome: Outcome) {
        let took = now.saturating_duration_since(due);
        if self.window.has(now) {
            self.count_inside(took, &outcome);
        }
        if !self.window.has(due) {
            return;
        }
        match outcome {
            Outcome::Ok { .. } => self.ok.record(took),
            Outcome::Failed(failure) => {
                self.failed.record(took);
                self.count_failure(failure);
            }
        }
    }

    fn count_inside(&self, took: Duration, outcome: &Outcome) {
        self.inside.answers.fetch_add(1, Relaxed);
        let Outcome::Ok { rows } = outcome else { return };
        self.inside.ok.fetch_add(1, Relaxed);
        self.inside.rows.fetch_add(*rows, Relaxed);
        if self.deadline.is_none_or(|deadline| took <= deadline) {
            self.inside.good.fetch_add(1, Relaxed);
        }
    }

    fn count_failure(&self, failure: Failure) {
        let Failure { code, reason, message, .. } = failure;
        let mut errors = self.errors.lock();
        errors.entry((code, reason)).or_insert(Failures { count: 0, message }).count += 1;
    }

    /// Failures of calls due in the window.
    pub(super) fn errors(&self) -> Errors {
        self.errors.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Tally, Window};
    use crate::cli::bench::outcome::Outcome;

    #[test]
    fn throughput_is_of_what_ended_inside_and_latency_of_what_was_due_inside() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let tally = Tally::new(Window { start: at(100), end: at(200) }, Some(Duration::from_millis(20)));
        for (due, ended) in [(90, 95), (90, 110), (150, 160), (150, 180), (190, 205)] {
            tally.send(at(due), at(due));
            tally.end(at(due), at(ended), Outcome::Ok { rows: 4 });
        }
        tally.send(at(150), at(151));
        tally.end(at(150), at(170), Outcome::expired());
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        let inside = &tally.inside;
        assert_eq!([&inside.answers, &inside.ok, &inside.good, &inside.rows].map(load), [4, 3, 2, 12]);
        assert_eq!((load(&tally.warm_up), load(&tally.sent)), (2, 4));
        assert_eq!((tally.ok.distribution().count(), tally.ok.max()), (3, Duration::from_millis(30)));
        assert_eq!((tally.failed.distribution().count(), tally.lag.max()), (1, Duration::from_millis(1)));
        let errors = tally.errors();
        assert_eq!(errors.values().map(|failures| failures.count).sum::<u64>(), 1);
        assert!(errors.contains_key(&("DEADLINE_EXCEEDED", None)));
    }
}
