//! The figures as a table for a terminal.

use super::report::{ErrorCount, Latency, Offered, Report, Setup, Step};

/// A column: its head, its width, and a step's figure in it.
type Column = (&'static str, usize, fn(&Step) -> String);

const CLOSED: &[Column] =
    &[("callers", 8, |step| step.concurrency.map_or(String::new(), |callers| callers.to_string()))];

const OPEN: &[Column] = &[
    ("asked/s", 9, |step| step.offered.as_ref().map_or(String::new(), |offered| number(offered.asked_per_second))),
    ("sent/s", 9, |step| step.offered.as_ref().map_or(String::new(), |offered| number(offered.sent_per_second))),
];

const THROUGHPUT: &[Column] = &[
    ("answers/s", 10, |step| number(step.answers_per_second)),
    ("ok/s", 9, |step| number(step.ok_per_second)),
    ("goodput/s", 10, |step| number(step.goodput_per_second)),
    ("rows/s", 9, |step| number(step.rows_per_second)),
];

const LATENCY: &[Column] = &[
    ("mean ms", 9, |step| millis(step.latency_seconds.map(|latency| latency.mean))),
    ("p50", 8, |step| millis(step.latency_seconds.map(|latency| latency.p50))),
    ("p90", 8, |step| millis(step.latency_seconds.map(|latency| latency.p90))),
    ("p95", 8, |step| millis(step.latency_seconds.map(|latency| latency.p95))),
    ("p99", 8, |step| millis(step.latency_seconds.map(|latency| latency.p99))),
    ("p99.9", 8, |step| millis(step.latency_seconds.map(|latency| latency.p999))),
    ("max", 8, |step| millis(step.latency_seconds.map(|latency| latency.max))),
];

/// The whole report, lines without a last line break.
pub(super) fn render(report: &Report) -> String {
    let is_open = report.steps.iter().any(|step| step.offered.is_some());
    let load = if is_open { OPEN } else { CLOSED };
    let columns: Vec<&Column> = load.iter().chain(THROUGHPUT).chain(LATENCY).collect();
    let mut lines = vec![head(&report.setup), String::new()];
    lines.push(row(&columns, |column| column.0.to_owned()));
    for step in &report.steps {
        lines.push(row(&columns, |column| column.2(step)));
    }
    for step in &report.steps {
        lines.extend(notes(step));
    }
    if let Some(knee) = &report.knee {
        let share = knee.share_of_best * 100.0;
        let (callers, goodput) = (knee.concurrency, number(knee.goodput_per_second));
        lines.push(format!(
            "\nknee: {callers} callers, {goodput} good answers/s (the fewest with {share:.0} % of the best)"
        ));
    }
    if report.interrupted {
        lines.push("\nstopped before the end".to_owned());
    }
    lines.join("\n")
}

fn head(setup: &Setup) -> String {
    let inputs = setup.inputs.iter().map(|input| format!("{} {} {:?}", input.name, input.datatype, input.shape));
    let inputs = inputs.collect::<Vec<_>>().join(", ");
    let Setup { address, model, request_variants, connections, duration_seconds, warmup_seconds, .. } = setup;
    let version = if setup.model_version.is_empty() { String::new() } else { format!("/{}", setup.model_version) };
    let arrivals =
        setup.arrivals.map_or("closed loop".to_owned(), |arrivals| format!("open loop, {arrivals} arrivals"));
    let deadline = setup.deadline_seconds.map_or(String::new(), |time| format!(", deadline {} ms", time * 1e3));
    format!(
        "{model}{version} on {address}: {inputs}, {request_variants} different requests\n\
         {arrivals}, {connections} connection(s){deadline}; {duration_seconds} s a step after {warmup_seconds} s of warm-up"
    )
}

fn row(columns: &[&Column], cell: impl Fn(&Column) -> String) -> String {
    let cells = columns.iter().map(|column| format!("{:>1$}", cell(column), column.1));
    cells.collect::<Vec<_>>().join(" ")
}

/// What a step's figures alone would hide: failures, what was given up, a rate that was not kept.
fn notes(step: &Step) -> Vec<String> {
    let label = match (&step.offered, step.concurrency) {
        (Some(offered), _) => format!("at {}/s", number(offered.asked_per_second)),
        (None, callers) => format!("at {} callers", callers.unwrap_or(0)),
    };
    let mut notes = Vec::new();
    if let Some(offered) = step.offered.as_ref().filter(|offered| !offered.kept) {
        notes.push(format!("\n{label}: THE CLIENT DID NOT KEEP THIS RATE: {}", shortfall(offered, step.calls)));
    }
    if step.failed > 0 {
        let after = step.failed_latency_seconds.map(|Latency { p50, p99, .. }| {
            format!(", told after p50 {} ms, p99 {} ms", millis(Some(p50)), millis(Some(p99)))
        });
        notes.push(format!("\n{label}: {} of {} calls failed{}", step.failed, step.calls, after.unwrap_or_default()));
        notes.extend(step.errors.iter().map(|error| format!("  {}", error_line(error))));
    }
    if step.unanswered > 0 {
        notes.push(format!("\n{label}: {} of {} calls were given up unanswered", step.unanswered, step.calls));
    }
    notes
}

fn shortfall(offered: &Offered, sent: u64) -> String {
    let lag = millis(offered.lag_seconds.map(|lag| lag.p99));
    let (due, held_back) = (offered.due, offered.held_back);
    format!("{sent} of {due} due were sent, {held_back} waited for --in-flight-max; sent after p99 {lag} ms")
}

/// `12 × RESOURCE_EXHAUSTED (queue_full): the queue is full`
pub(super) fn error_line(error: &ErrorCount) -> String {
    let ErrorCount { code, reason, count, message } = error;
    let reason = reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
    format!("{count} × {code}{reason}: {message}")
}

fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn millis(seconds: Option<f64>) -> String {
    let Some(millis) = seconds.map(|seconds| seconds * 1e3) else { return "-".to_owned() };
    match millis {
        0.0..10.0 => format!("{millis:.3}"),
        10.0..100.0 => format!("{millis:.2}"),
        100.0..1000.0 => format!("{millis:.1}"),
        _ => format!("{millis:.0}"),
    }
}
