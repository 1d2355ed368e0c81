//! Snapshots to the Prometheus text format: one `Collector` of the `prometheus` crate over everything.

use std::sync::LazyLock;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{TEXT_FORMAT, TextEncoder};
use tokio::time::Instant;

use super::catalogue::{self as named, Metric};
use super::hub::{Monitor, Reading, UNKNOWN};
use super::latency::Phase;
use super::page::{Page, float};
use super::rungs::RungSnapshot;
use super::snapshot::{ClassSnapshot, PhaseSnapshot, ScoreSnapshot, Snapshot};
use super::{bounds, process};
use crate::types::Reason;

/// Media type of the rendered page.
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// The percentiles that are exposed.
const SHARES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];

static DESCRIPTIONS: LazyLock<Vec<Desc>> = LazyLock::new(|| {
    let labels = |metric: &Metric| metric.labels.iter().map(|label| (*label).to_owned()).collect();
    let describe = |metric: &&Metric| Desc::new(metric.name.into(), metric.help.into(), labels(metric), [].into());
    // A name or help text that the crate refuses is caught by a test, not by users.
    named::ALL.iter().filter_map(|metric| describe(metric).ok()).collect()
});

/// The page at `now`.
pub(super) fn render(monitor: &Monitor, now: Instant) -> String {
    let families = Scrape { monitor, now }.collect();
    TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
        // Only a family without a name or a sample fails, and a page has none.
        tracing::error!(%error, "metrics not rendered");
        String::new()
    })
}

/// One reading of the monitor, at `now`.
struct Scrape<'a> {
    monitor: &'a Monitor,
    now: Instant,
}

impl Collector for Scrape<'_> {
    fn desc(&self) -> Vec<&Desc> {
        DESCRIPTIONS.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut page = Page::default();
        server(&mut page, self.monitor);
        let snapshots = self.monitor.snapshots(self.now);
        for snapshot in &snapshots {
            deployment(&mut page, snapshot);
        }
        loads(&mut page, self.monitor, &snapshots);
        page.into_families()
    }
}

fn server(page: &mut Page, monitor: &Monitor) {
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    page.gauge(named::BUILD_INFO, &[env!("CARGO_PKG_VERSION"), &target], 1.0);
    page.gauge(named::START_TIME, &[], monitor.started());
    page.gauge(named::RESIDENT_MEMORY, &[], process::resident_bytes().map_or(0.0, float));
    page.counter(named::PANICS, &[], monitor.panics());
    for reading in Reading::ALL {
        self::reading(page, reading, monitor.read(reading));
    }
    monitor.workers().show(page);
    let unknown = monitor.unknown();
    requests(page, [UNKNOWN, UNKNOWN], unknown.answered(), &unknown.failed());
    page.counter(named::REQUEST_BYTES, &[UNKNOWN, UNKNOWN], unknown.request_bytes());
    page.counter(named::RESPONSE_BYTES, &[UNKNOWN, UNKNOWN], unknown.response_bytes());
}

fn reading(page: &mut Page, reading: Reading, value: u64) {
    match reading {
        Reading::RequestsInFlight => page.gauge(named::REQUESTS_IN_FLIGHT, &[], float(value)),
        Reading::BytesInFlight => page.gauge(named::IN_FLIGHT_BYTES, &[], float(value)),
        Reading::Connections => page.gauge(named::CONNECTIONS, &[], float(value)),
        Reading::ConnectionsAccepted => page.counter(named::CONNECTIONS_TOTAL, &["accepted"], value),
        Reading::ConnectionsRefused => page.counter(named::CONNECTIONS_TOTAL, &["refused"], value),
        Reading::ConnectionsWithoutPreface => page.counter(named::CONNECTIONS_TOTAL, &["no_preface"], value),
        Reading::AcceptErrors => page.counter(named::ACCEPT_ERRORS, &[], value),
        Reading::StalledAnswers => page.counter(named::STALLED_ANSWERS, &[], value),
        Reading::LogLinesDropped => page.counter(named::LOG_LINES_DROPPED, &[], value),
        Reading::MemoryLimit => page.gauge(named::MEMORY_LIMIT, &[], float(value)),
        Reading::MemoryPressure => page.gauge(named::MEMORY_PRESSURE, &[], float(value)),
        Reading::ModelsLimit => page.gauge(named::MODELS_LIMIT, &[], float(value)),
    }
}

fn requests(page: &mut Page, [model, version]: [&str; 2], answered: u64, failed: &[(Reason, u64)]) {
    page.counter(named::REQUESTS, &[model, version, "OK", "ok"], answered);
    for (reason, count) in failed {
        page.counter(named::REQUESTS, &[model, version, reason.kind().code(), reason.label()], *count);
    }
}

fn deployment(page: &mut Page, seen: &Snapshot) {
    let labels = [seen.model.as_str(), seen.version.as_str()];
    requests(page, labels, seen.answered, &seen.failed);
    page.counter(named::REQUEST_BYTES, &labels, seen.request_bytes);
    page.counter(named::RESPONSE_BYTES, &labels, seen.response_bytes);
    for times in &seen.phases {
        phase(page, labels, times);
    }
    page.bounded(named::BATCH_ROWS, &labels, &seen.batch_rows);
    if let Some(tokens) = &seen.batch_tokens {
        page.counter(named::BATCH_TOKENS, &labels, tokens.computed);
        page.counter(named::BATCH_PADDING, &labels, tokens.padding);
    }
    for (release, count) in &seen.batches {
        page.counter(named::BATCHES, &[labels[0], labels[1], release.label()], *count);
    }
    page.counter(named::BATCH_BISECTIONS, &labels, seen.bisections);
    page.counter(named::BATCHES_AHEAD, &labels, seen.batches_ahead);
    page.counter(named::EXECUTOR_REBUILDS, &labels, seen.rebuilds);
    page.gauge(named::CONCURRENCY_LIMIT, &labels, float(seen.queue_size_limit as u64));
    page.gauge(named::MODEL_BYTES, &labels, float(seen.model_bytes));
    page.gauge(named::QUEUE_ROWS, &labels, float(seen.queue_rows as u64));
    page.gauge(named::QUEUE_AGE, &labels, seen.queue_age.as_secs_f64());
    page.counter(named::RETRIES_DENIED, &labels, seen.retries_denied);
    for seen in &seen.rungs {
        rung(page, labels, seen);
    }
    scores(page, labels, &seen.scores);
}

fn rung(page: &mut Page, [model, version]: [&str; 2], seen: &RungSnapshot) {
    let labels = [model, version, seen.name];
    page.counter(named::RUNG_ANSWERS, &labels, seen.answers);
    for (reason, count) in &seen.failures {
        page.counter(named::RUNG_FAILURES, &[model, version, seen.name, reason], *count);
    }
    for (result, count) in &seen.trials {
        page.counter(named::RUNG_TRIALS, &[model, version, seen.name, result], *count);
    }
    if seen.is_device {
        page.gauge(named::BREAKER_STATE, &labels, f64::from(seen.breaker));
        page.counter(named::BREAKER_OPENED, &labels, seen.opened);
        page.gauge(named::BATCH_SIZE_LIMIT, &labels, float(seen.batch_size_max as u64));
    }
}

fn phase(page: &mut Page, [model, version]: [&str; 2], times: &PhaseSnapshot) {
    let labels = [model, version, times.phase.label()];
    let edges = match times.phase {
        Phase::Total | Phase::Queue | Phase::Compute => &bounds::FINE,
        Phase::Decode | Phase::Prepare | Phase::Encode => &bounds::COARSE,
    };
    page.durations(named::REQUEST_DURATION, &labels, edges, &times.total);
    page.summary(named::REQUEST_DURATION_QUANTILES, &labels, &SHARES, &times.recent, &times.total);
}

fn scores(page: &mut Page, labels: [&str; 2], seen: &ScoreSnapshot) {
    match seen {
        ScoreSnapshot::None => {}
        ScoreSnapshot::Classes { classes: seen, entropy, margin, low, non_finite } => {
            classes(page, labels, seen);
            page.bounded(named::ENTROPY, &labels, entropy);
            page.bounded(named::MARGIN, &labels, margin);
            page.counter(named::LOW_CONFIDENCE, &labels, *low);
            page.counter(named::NON_FINITE, &labels, *non_finite);
        }
        ScoreSnapshot::Embeddings { norm, similarity, non_finite } => {
            page.bounded(named::EMBEDDING_NORM, &labels, norm);
            page.bounded(named::EMBEDDING_SIMILARITY, &labels, similarity);
            page.counter(named::NON_FINITE, &labels, *non_finite);
        }
        ScoreSnapshot::Values { values, non_finite } => {
            page.bounded(named::VALUE, &labels, values);
            page.counter(named::NON_FINITE, &labels, *non_finite);
        }
    }
}

fn classes(page: &mut Page, [model, version]: [&str; 2], classes: &[ClassSnapshot]) {
    let recent: u64 = classes.iter().map(|class| class.recent).sum();
    for class in classes {
        let labels = [model, version, class.label.as_str()];
        page.bounded(named::CONFIDENCE, &labels, &class.confidence);
        if let Some(probability) = &class.probability {
            page.bounded(named::LABEL_PROBABILITY, &labels, probability);
        }
        page.counter(named::PREDICTIONS, &labels, class.confidence.count());
        // With no rows in the window each share is 0 / 1.
        page.gauge(named::PREDICTED_CLASS, &labels, float(class.recent) / float(recent.max(1)));
    }
}

/// Models that failed to load are here too, and are not ready.
fn loads(page: &mut Page, monitor: &Monitor, snapshots: &[Snapshot]) {
    for ((model, version), loads) in monitor.loads() {
        let labels = [model.as_str(), version.as_str()];
        let ready = snapshots.iter().any(|seen| seen.ready && seen.model == model && seen.version == version);
        page.gauge(named::MODEL_READY, &labels, f64::from(u8::from(ready)));
        page.gauge(named::MODEL_LOAD, &labels, loads.load.as_secs_f64());
        page.gauge(named::MODEL_WARMUP, &labels, loads.warmup.as_secs_f64());
        page.counter(named::MODEL_LOADS, &[&model, &version, "success"], loads.successes);
        page.counter(named::MODEL_LOADS, &[&model, &version, "failure"], loads.failures);
    }
}

#[cfg(test)]
mod tests {
    use super::{DESCRIPTIONS, named};

    #[test]
    fn the_crate_accepts_every_description() {
        assert_eq!(DESCRIPTIONS.len(), named::ALL.len());
    }
}
