//! Every metric: name, type, unit, labels and meaning. The only place with metric names.

use std::fmt::Write as _;

use prometheus::proto::MetricType;

/// A metric as it is exposed.
#[derive(Debug)]
pub(super) struct Metric {
    /// Name by Prometheus' rules: `sconce_<thing>_<base unit>[_total]`.
    pub(super) name: &'static str,
    /// Kind of metric.
    pub(super) kind: MetricType,
    /// Unit, for people.
    pub(super) unit: &'static str,
    /// Names of its labels, beside `le` and `quantile`.
    pub(super) labels: &'static [&'static str],
    /// What it means.
    pub(super) help: &'static str,
}

/// Labels of what belongs to one deployment.
const DEPLOYMENT: &[&str] = &["model", "version"];
/// Labels of what is told apart by predicted class.
const CLASS: &[&str] = &["model", "version", "class"];
/// Labels of what belongs to one rung of a deployment's ladder.
const RUNG: &[&str] = &["model", "version", "rung"];
/// Labels of what is told apart by phase of a request.
const PHASE: &[&str] = &["model", "version", "phase"];

macro_rules! catalogue {
    ($($ident:ident = $name:literal $kind:ident $unit:literal $labels:expr, $help:literal;)*) => {
        $(pub(super) const $ident: &Metric =
            &Metric { name: $name, kind: MetricType::$kind, unit: $unit, labels: $labels, help: $help };)*
        /// Every metric, by name.
        pub(super) const ALL: &[&Metric] = &[$($ident),*];
    };
}

catalogue! {
    ACCEPT_ERRORS = "sconce_accept_errors_total" COUNTER "errors" &[],
        "Connections that could not be accepted, such as for want of descriptors; accepting pauses after each.";
    BATCH_BISECTIONS = "sconce_batch_bisections_total" COUNTER "batches" DEPLOYMENT,
        "Batches that failed and were cut in two to find the guilty request.";
    BATCH_PADDING = "sconce_batch_padding_tokens_total" COUNTER "tokens" DEPLOYMENT,
        "Tokens that were computed only to fill batches up, of models whose rows differ in length.";
    BATCH_ROWS = "sconce_batch_rows" HISTOGRAM "rows" DEPLOYMENT,
        "Rows of the batches that ran.";
    BATCH_SIZE_LIMIT = "sconce_batch_size_limit" GAUGE "" RUNG,
        "Size of the largest batch, rows or tokens: as configured, or as the device has shown to have memory for.";
    BATCH_TOKENS = "sconce_batch_tokens_total" COUNTER "tokens" DEPLOYMENT,
        "Tokens of the batches that ran, without padding, of models whose rows differ in length.";
    BATCHES_AHEAD = "sconce_batches_ahead_total" COUNTER "batches" DEPLOYMENT,
        "Batches that were copied to the device while it computed the one before.";
    BATCHES = "sconce_batches_total" COUNTER "batches" &["model", "version", "release"],
        "Batches that ran, by the reason why each was released when it was.";
    BREAKER_OPENED = "sconce_breaker_opened_total" COUNTER "openings" RUNG,
        "How often the breaker of a device opened.";
    BREAKER_STATE = "sconce_breaker_state" GAUGE "" RUNG,
        "Where the breaker of a device stands: 0 closed, 1 probing, 2 open; while it is open, requests take the next rung.";
    BUILD_INFO = "sconce_build_info" GAUGE "" &["version", "target"],
        "Always 1; version and target of the running server.";
    CONCURRENCY_LIMIT = "sconce_concurrency_limit" GAUGE "rows or tokens" DEPLOYMENT,
        "Rows (of texts: tokens) that may wait for a batch now; lowered while requests end late, raised while none do.";
    CONNECTIONS = "sconce_connections" GAUGE "connections" &[],
        "Open client connections.";
    CONNECTIONS_TOTAL = "sconce_connections_total" COUNTER "connections" &["result"],
        "Client connections by result: accepted; refused, beyond the limit; no_preface, accepted but closed because they \
         did not begin to speak HTTP/2 in time.";
    DEVICE_MEMORY = "sconce_device_memory_bytes" GAUGE "bytes" &["device"],
        "Memory of the device that a worker's process computes on; 0 while the process is not there.";
    EMBEDDING_NORM = "sconce_embedding_norm" HISTOGRAM "" DEPLOYMENT,
        "Euclidean norm of embeddings.";
    EMBEDDING_SIMILARITY = "sconce_embedding_similarity_ratio" HISTOGRAM "ratio" DEPLOYMENT,
        "Cosine between each embedding and the mean direction of some thousand before it; it falls when inputs drift.";
    EXECUTOR_REBUILDS = "sconce_executor_rebuilds_total" COUNTER "rebuilds" DEPLOYMENT,
        "Executors that were built anew after a failure or a panic.";
    GPU_MISSING = "sconce_gpu_missing" GAUGE "" &["reason"],
        "1 where the server looked for a GPU and uses none, with what is missing.";
    IN_FLIGHT_BYTES = "sconce_in_flight_request_bytes" GAUGE "bytes" &[],
        "Bytes of the requests that are being served, and of answers that their clients have not read yet.";
    LABEL_PROBABILITY = "sconce_label_probability_ratio" HISTOGRAM "ratio" CLASS,
        "Probability of each label in all rows, of models whose labels do not exclude each other; the labels after the \
         twentieth are 'other'.";
    LOG_LINES_DROPPED = "sconce_log_lines_dropped_total" COUNTER "lines" &[],
        "Lines of the log that were not written: its reader was too slow, or writing failed.";
    LOW_CONFIDENCE = "sconce_low_confidence_predictions_total" COUNTER "rows" DEPLOYMENT,
        "Rows whose predicted class had a confidence below the model's threshold.";
    MEMORY_LIMIT = "sconce_memory_limit_bytes" GAUGE "bytes" &[],
        "Memory that the server may use: as configured, else its cgroup's limit, else the machine's.";
    MEMORY_PRESSURE = "sconce_memory_pressure" GAUGE "" &[],
        "How short memory is: 0 enough; 1 from 92 % of the limit, connections are told to go; 2 from 95 %, requests are \
         refused as well.";
    MODEL_BYTES = "sconce_model_bytes" GAUGE "bytes" DEPLOYMENT,
        "Memory that the model's weights take, in FP32; while it is loaded again, those of both.";
    MODEL_LOAD = "sconce_model_load_seconds" GAUGE "seconds" DEPLOYMENT,
        "How long the last attempt to load the model took.";
    MODEL_LOADS = "sconce_model_loads_total" COUNTER "loads" &["model", "version", "result"],
        "Attempts to load the model, by result (success or failure).";
    MODEL_READY = "sconce_model_ready" GAUGE "" DEPLOYMENT,
        "1 if the model answers requests, else 0.";
    MODEL_WARMUP = "sconce_model_warmup_seconds" GAUGE "seconds" DEPLOYMENT,
        "How long the last warm-up of the model took.";
    MODELS_LIMIT = "sconce_models_limit_bytes" GAUGE "bytes" &[],
        "Memory that the weights of all models may take.";
    NON_FINITE = "sconce_non_finite_predictions_total" COUNTER "rows" DEPLOYMENT,
        "Rows with NaN or an infinity among the outputs; they are in none of the other prediction metrics.";
    PANICS = "sconce_panics_total" COUNTER "panics" &[],
        "Panics that were caught, in models and elsewhere.";
    PREDICTED_CLASS = "sconce_predicted_class_ratio" GAUGE "ratio" CLASS,
        "Share of each predicted class among the rows of the sliding window (60 s unless configured); 0 if there \
         were none.";
    CONFIDENCE = "sconce_prediction_confidence_ratio" HISTOGRAM "ratio" CLASS,
        "Probability of the predicted class, by predicted class; the classes after the twentieth are 'other'.";
    ENTROPY = "sconce_prediction_entropy_ratio" HISTOGRAM "ratio" DEPLOYMENT,
        "Entropy of the predicted probabilities, divided by that of a uniform guess.";
    MARGIN = "sconce_prediction_margin_ratio" HISTOGRAM "ratio" DEPLOYMENT,
        "Probability of the predicted class less that of the runner-up.";
    VALUE = "sconce_prediction_value" HISTOGRAM "" DEPLOYMENT,
        "Predicted values of a regression.";
    PREDICTIONS = "sconce_predictions_total" COUNTER "rows" CLASS,
        "Rows by predicted class; the classes after the twentieth are 'other'.";
    QUEUE_AGE = "sconce_queue_oldest_age_seconds" GAUGE "seconds" DEPLOYMENT,
        "How long the oldest waiting request has waited; 0 if none waits.";
    QUEUE_ROWS = "sconce_queue_rows" GAUGE "rows" DEPLOYMENT,
        "Rows that wait for a batch.";
    REQUEST_BYTES = "sconce_request_bytes_total" COUNTER "bytes" DEPLOYMENT,
        "Bytes of requests received.";
    REQUEST_DURATION_QUANTILES = "sconce_request_duration_quantiles_seconds" SUMMARY "seconds" PHASE,
        "Percentiles (within 1 %) of the time of answered requests, by phase, over the sliding window (60 s unless \
         configured, moved on in sixths); NaN if there were none. Sum and count are since the start.";
    REQUEST_DURATION = "sconce_request_duration_seconds" HISTOGRAM "seconds" PHASE,
        "Time of answered requests, by phase: total (arrival to encoded answer), of it queue and compute (of the \
         batch), decode, prepare (texts and images) and encode. Requests that failed are in sconce_requests_total only.";
    REQUESTS_IN_FLIGHT = "sconce_requests_in_flight" GAUGE "requests" &[],
        "Requests that are being served.";
    REQUESTS = "sconce_requests_total" COUNTER "requests" &["model", "version", "code", "reason"],
        "Requests by status code and reason. Those that reached no model have model and version 'unknown'.";
    RESIDENT_MEMORY = "sconce_resident_memory_bytes" GAUGE "bytes" &[],
        "Resident memory of the server's process; 0 where the system does not tell.";
    RESPONSE_BYTES = "sconce_response_bytes_total" COUNTER "bytes" DEPLOYMENT,
        "Bytes of answers, without errors.";
    RETRIES_DENIED = "sconce_retries_denied_total" COUNTER "requests" DEPLOYMENT,
        "Requests that failed on a rung and were not asked again of the next, because too many were.";
    RUNG_ANSWERS = "sconce_rung_answers_total" COUNTER "requests" RUNG,
        "Requests by the rung that answered them: a device (gpu, worker, cpu), another version or model, or a declared \
         prediction. All that is not the first rung is a fallback.";
    RUNG_FAILURES = "sconce_rung_failures_total" COUNTER "failures" &["model", "version", "rung", "reason"],
        "What failed on a rung: batches (device_lost, device_overdue, device_memory), answers (non_finite), and requests \
         that it could not take (other).";
    RUNG_TRIALS = "sconce_rung_trials_total" COUNTER "trials" &["model", "version", "rung", "result"],
        "Trials of the rungs that seldom serve, by result: agreed with the first rung, differed from it, or failed.";
    STALLED_ANSWERS = "sconce_stalled_answers_total" COUNTER "answers" &[],
        "Answers, or connections with all of theirs, that were reset because their client did not read them.";
    START_TIME = "sconce_start_time_seconds" GAUGE "seconds" &[],
        "When the server started, in seconds since 1970.";
    WORKER_RESTARTS = "sconce_worker_restarts_total" COUNTER "restarts" &["device"],
        "How often a worker's process was started again.";
    WORKER_UP = "sconce_worker_up" GAUGE "" &["device"],
        "1 while a worker's process is there, else 0.";
}

/// The catalogue for people: name, labels, type and unit of each metric on a line, and below it what it means.
pub fn reference() -> String {
    let mut text = String::new();
    for metric in ALL {
        let labels = metric.labels.join(",");
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let unit = if metric.unit.is_empty() { "-" } else { metric.unit };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{}{{{labels}}} {kind} {unit}\n    {}", metric.name, metric.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{ALL, reference};

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/monitor/catalogue.golden.txt");

    /// The catalogue is what users build dashboards on: a change here is a change for them. `BLESS=1` accepts it.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "asks whether to rewrite the file")]
    fn the_catalogue_is_as_committed() {
        let printed = reference();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(GOLDEN, &printed).expect("write the file");
        }
        let golden = std::fs::read_to_string(GOLDEN).expect("read the file");
        for (line, (want, got)) in golden.lines().zip(printed.lines()).enumerate() {
            assert_eq!(got, want, "catalogue.golden.txt, line {}", line + 1);
        }
        assert_eq!(printed, golden);
    }

    #[test]
    fn names_follow_the_rules() {
        assert!(ALL.windows(2).all(|pair| pair[0].name < pair[1].name), "sorted and distinct");
        for metric in ALL {
            let counter = metric.kind == prometheus::proto::MetricType::COUNTER;
            assert!(metric.name.starts_with("sconce_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), counter, "{}", metric.name);
            let suffix = metric.name.trim_end_matches("_total");
            if ["seconds", "bytes", "ratio"].contains(&metric.unit) {
                assert!(suffix.ends_with(metric.unit), "{}", metric.name);
            }
        }
    }
}
