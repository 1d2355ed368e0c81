//! One request's stamps and outcome, booked exactly once when it ends, however it ends.

use std::sync::Arc;

use tokio::time::Instant;

use super::access::{Line, loggable};
use super::hub::Monitor;
use super::instruments::Instruments;
use super::latency::Phase;
use crate::stats::nanos;
use crate::types::{BatchReport, Error, Reason, Scores};

/// One request on its way through the server.
///
/// Stages stamp it with one `now` each. It is counted by [`Self::finish`]; if it is dropped unfinished, it counts as a
/// panic while a panic unwinds, as expired if its deadline has passed, and as cancelled by the client otherwise.
/// Durations are recorded of answered requests only, so that refusals, which are fast, do not flatter the percentiles.
#[derive(Debug)]
pub struct Journey {
    /// `None` once it is booked, or if nothing is to be recorded.
    monitor: Option<Arc<Monitor>>,
    instruments: Option<Arc<Instruments>>,
    arrived: Instant,
    deadline: Option<Instant>,
    decoded: Option<Instant>,
    prepared: Option<Instant>,
    answered: Option<(Instant, BatchReport)>,
    request_bytes: usize,
    rows: Option<usize>,
    id: Option<Box<str>>,
}

/// How a request ended.
#[derive(Clone, Copy)]
enum Outcome<'a> {
    Answered { bytes: usize },
    Failed { reason: Reason, error: Option<&'a str> },
}

impl Journey {
    pub(super) fn new(monitor: Option<Arc<Monitor>>, arrived: Instant, deadline: Option<Instant>) -> Self {
        Self {
            monitor,
            instruments: None,
            arrived,
            deadline,
            decoded: None,
            prepared: None,
            answered: None,
            request_bytes: 0,
            rows: None,
            id: None,
        }
    }

    /// Sets the deadline once it is known; it decides only as what a dropped journey counts.
    pub fn expires(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// The request came in this many bytes.
    pub fn request_bytes(&mut self, bytes: usize) {
        self.request_bytes = bytes;
    }

    /// The client's id and the number of rows, for the access line. Copied only where such a line will be written.
    pub fn describe(&mut self, id: &str, rows: usize) {
        if self.monitor.as_ref().is_some_and(|monitor| monitor.access_log()) {
            self.rows = Some(rows);
            self.id = (!id.is_empty()).then(|| loggable(id));
        }
    }

    /// The request is translated: end of phase `decode`.
    pub fn decoded(&mut self, now: Instant) {
        self.decoded = Some(now);
    }

    /// Its rows have been made of what the client sent: end of phase `prepare`. Only where a model has such a step.
    pub fn prepared(&mut self, now: Instant) {
        self.prepared = Some(now);
    }

    /// The request has found its model; until then it belongs to the model `unknown`.
    pub fn routed(&mut self, instruments: Arc<Instruments>) {
        self.instruments = Some(instruments);
    }

    /// The model has answered: phases `queue` and `compute` are the report's.
    pub fn answered(&mut self, report: &BatchReport, now: Instant) {
        self.answered = Some((now, *report));
    }

    /// The answer's rows were scored. Counted at once, even if the answer does not reach the client.
    pub fn scored(&mut self, scores: &Scores) {
        if let (Some(monitor), Some(instruments)) = (&self.monitor, &self.instruments)
            && monitor.recording()
        {
            instruments.scored(scores);
        }
    }

    /// The request has ended: with so many bytes of answer, or with an error. Later calls and the drop count nothing.
    pub fn finish(&mut self, outcome: Result<usize, &Error>, now: Instant) {
        let outcome = match outcome {
            Ok(bytes) => Outcome::Answered { bytes },
            Err(error) => Outcome::Failed { reason: error.reason(), error: Some(error.detail()) },
        };
        self.book(outcome, now);
    }

    fn book(&mut self, outcome: Outcome<'_>, now: Instant) {
        let Some(monitor) = self.monitor.take() else { return };
        if monitor.recording() {
            self.count(&monitor, outcome, now);
        }
        if monitor.access_log() {
            self.log(outcome, now);
        }
    }

    fn count(&self, monitor: &Monitor, outcome: Outcome<'_>, now: Instant) {
        let traffic = self.instruments.as_ref().map_or(monitor.unknown(), |instruments| instruments.traffic());
        match outcome {
            Outcome::Failed { reason, .. } => traffic.book(Some(reason), self.request_bytes, 0),
            Outcome::Answered { bytes } => {
                traffic.book(None, self.request_bytes, bytes);
                if let Some(instruments) = &self.instruments {
                    self.time(instruments, now);
                }
            }
        }
    }

    fn time(&self, instruments: &Instruments, now: Instant) {
        // Differences of instants are the dear part (some fifty instructions each): three do for all.
        let since_arrival = |at: Instant| nanos(at.saturating_duration_since(self.arrived));
        let (latency, total) = (instruments.latency(), since_arrival(now));
        latency.record(Phase::Total, total);
        if let Some(decoded) = self.decoded {
            let decoded = since_arrival(decoded);
            latency.record(Phase::Decode, decoded);
            if let Some(prepared) = self.prepared {
                latency.record(Phase::Prepare, since_arrival(prepared).saturating_sub(decoded));
            }
        }
        if let Some((answered, report)) = &self.answered {
            latency.record(Phase::Queue, nanos(report.queue));
            latency.record(Phase::Compute, nanos(report.compute));
            latency.record(Phase::Encode, total.saturating_sub(since_arrival(*answered)));
        }
    }

    #[cold]
    fn log(&self, outcome: Outcome<'_>, now: Instant) {
        let (failure, error, response_bytes) = match outcome {
            Outcome::Answered { bytes } => (None, None, bytes),
            Outcome::Failed { reason, error } => (Some(reason), error, 0),
        };
        let instruments = self.instruments.as_deref();
        let line = Line {
            model: instruments.map_or("unknown", |instruments| &instruments.model),
            version: instruments.map_or("unknown", |instruments| &instruments.version),
            failure,
            error,
            id: self.id.as_deref(),
            rows: self.rows,
            batch: self.answered.map(|(_, report)| report),
            total: now.saturating_duration_since(self.arrived),
            request_bytes: self.request_bytes,
            response_bytes,
        };
        line.emit();
    }
}

impl Drop for Journey {
    fn drop(&mut self) {
        if self.monitor.is_none() {
            return;
        }
        let now = Instant::now();
        let reason = if std::thread::panicking() {
            Reason::Panic
        } else if self.deadline.is_some_and(|deadline| deadline <= now) {
            Reason::Deadline
        } else {
            Reason::Cancelled
        };
        self.book(Outcome::Failed { reason, error: None }, now);
    }
}
