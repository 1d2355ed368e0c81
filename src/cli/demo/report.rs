//! The demo's figures, drawn for a terminal.

use tokio::time::Duration;

use super::held_out::{HeldOut, Targets};
use super::traffic::{CONCURRENCY, Prediction, Traffic};
use crate::cli::screen::say;
use crate::monitor::Snapshot;

const BAR_CHARS: usize = 40;
/// Lower edges of the drawn confidence bins; the last ends at 1.
const CONFIDENCE_EDGES: [f64; 8] = [0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
/// An accuracy is the committed one if it is within the rounding of the committed digits.
const COMMITTED_WITHIN: f64 = 5e-4;

/// How good the predictions were.
pub(super) struct Quality {
    /// What was measured, as it is printed.
    pub(super) line: String,
    /// Is it the committed figure?
    pub(super) as_committed: bool,
    /// For each row: was it right? Empty for a regression.
    right: Vec<bool>,
}

/// Holds the predictions against the known answers.
pub(super) fn quality(held_out: &HeldOut, traffic: &Traffic) -> Quality {
    let worst = largest_error(&held_out.reference, &traffic.predictions);
    let rows = traffic.predictions.len();
    match &held_out.targets {
        Targets::Classes(classes) => {
            let pairs = traffic.predictions.iter().zip(classes);
            let right: Vec<bool> = pairs.map(|(prediction, class)| top(&prediction.output) == Some(*class)).collect();
            let hits = right.iter().filter(|right| **right).count();
            let accuracy = ratio(hits, rows);
            let line = format!("accuracy {accuracy:.4} on {rows} held-out rows, committed {:.4}", held_out.committed);
            let line = format!("{line}; largest deviation from the training framework {worst:.1e}");
            Quality { line, as_committed: (accuracy - held_out.committed).abs() < COMMITTED_WITHIN, right }
        }
        Targets::Values(values) => {
            let (r2, rmse) = regression(values, &traffic.predictions);
            let line =
                format!("R² {r2:.4}, RMSE {rmse:.2} on {rows} held-out rows, committed R² {:.4}", held_out.committed);
            let line = format!("{line}; largest deviation from the training framework {worst:.1e}");
            Quality { line, as_committed: (r2 - held_out.committed).abs() < COMMITTED_WITHIN, right: Vec::new() }
        }
    }
}

/// Prints everything that is known of one model's traffic.
pub(super) fn print(model: &str, quality: &Quality, traffic: &Traffic, snapshot: &Snapshot) {
    say(&format!("\n── {model} ──"));
    say(&format!("  {}", quality.line));
    #[expect(clippy::cast_precision_loss, reason = "a rate for display")]
    let rate = traffic.latencies.len() as f64 / traffic.took.as_secs_f64();
    let count = traffic.latencies.len();
    say(&format!("  {rate:.0} requests/s ({count} requests of one row, {CONCURRENCY} at a time, one connection)"));
    say(&format!("  latency  {}", percentiles(&traffic.latencies)));
    print_batches(snapshot);
    print_confidence(&traffic.predictions, &quality.right);
}

/// The customary percentiles of sorted latencies.
pub(super) fn percentiles(sorted: &[Duration]) -> String {
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank"
        )]
        let rank = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
        sorted.get(rank).copied().unwrap_or_default()
    };
    let shown = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];
    let shown: Vec<String> = shown.iter().map(|(name, share)| format!("{name} {}", duration(at(*share)))).collect();
    shown.join("   ")
}

fn duration(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1000.0 { format!("{micros:.0} µs") } else { format!("{:.2} ms", micros / 1000.0) }
}

fn print_batches(snapshot: &Snapshot) {
    let batches = &snapshot.batch_rows;
    let total = batches.count();
    say(&format!("  batches  {total} ran, by their rows:"));
    let mut below = 0.0;
    let bounds = batches.bounds.iter().copied().chain([f64::INFINITY]);
    for (bound, count) in bounds.zip(&batches.counts) {
        if *count > 0 {
            let range = if bound.is_infinite() { format!("> {below}") } else { format!("≤ {bound}") };
            say(&format!("    {range:>8}  {}", bar(*count, total)));
        }
        below = bound;
    }
}

fn print_confidence(predictions: &[Prediction], right: &[bool]) {
    let confidences: Vec<f64> = predictions.iter().filter_map(|prediction| prediction.confidence).collect();
    if confidences.is_empty() || confidences.len() != right.len() {
        return;
    }
    say("  confidence of the held-out rows, and how many of them were right and wrong:");
    let edges = CONFIDENCE_EDGES.iter().zip(CONFIDENCE_EDGES.iter().skip(1).chain(&[1.0]));
    for (low, high) in edges {
        let inside = |confidence: f64| confidence >= *low && (confidence < *high || *high >= 1.0);
        let hits = confidences.iter().zip(right).filter(|(confidence, _)| inside(**confidence));
        let (good, bad): (Vec<_>, Vec<_>) = hits.partition(|(_, right)| **right);
        let count = (good.len() + bad.len()) as u64;
        if count > 0 {
            let bar = bar(count, confidences.len() as u64);
            say(&format!("    {low:>4.2} to {high:<4.2}  {bar}   right {:<4} wrong {}", good.len(), bad.len()));
        }
    }
    let mean = |wanted: bool| {
        let chosen: Vec<f64> =
            confidences.iter().zip(right).filter(|(_, right)| **right == wanted).map(|pair| *pair.0).collect();
        #[expect(clippy::cast_precision_loss, reason = "a mean for display")]
        let mean = chosen.iter().sum::<f64>() / chosen.len().max(1) as f64;
        if chosen.is_empty() { "none".to_owned() } else { format!("{mean:.3}") }
    };
    say(&format!("    mean confidence: right answers {}, wrong answers {}", mean(true), mean(false)));
}

/// A bar as long as its share, with the count and the share.
fn bar(count: u64, total: u64) -> String {
    let share = ratio(usize::try_from(count).unwrap_or(0), usize::try_from(total).unwrap_or(0));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a length"
    )]
    let length = ((share * BAR_CHARS as f64).round() as usize).max(1);
    format!("{:<BAR_CHARS$} {count:>7} {:>5.1} %", "█".repeat(length), share * 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows are small")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn top(output: &[f32]) -> Option<i64> {
    let best = output.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1))?;
    i64::try_from(best.0).ok()
}

/// max|ours − theirs| / max|theirs|, the largest over the rows.
pub(super) fn largest_error(reference: &[Vec<f32>], predictions: &[Prediction]) -> f64 {
    let mut worst = 0.0_f64;
    for (theirs, ours) in reference.iter().zip(predictions) {
        let scale = theirs.iter().fold(f32::MIN_POSITIVE, |scale, value| scale.max(value.abs()));
        for (one, other) in theirs.iter().zip(&ours.output) {
            worst = worst.max(f64::from((one - other).abs() / scale));
        }
    }
    worst
}

/// R² and root mean squared error.
fn regression(values: &[f32], predictions: &[Prediction]) -> (f64, f64) {
    let ours = predictions.iter().map(|prediction| prediction.output.first().copied().unwrap_or(f32::NAN));
    let count = ratio(values.len(), 1);
    let mean = values.iter().copied().map(f64::from).sum::<f64>() / count;
    let residual: f64 =
        values.iter().zip(ours).map(|(known, ours)| (f64::from(*known) - f64::from(ours)).powi(2)).sum();
    let total: f64 = values.iter().map(|known| (f64::from(*known) - mean).powi(2)).sum();
    (1.0 - residual / total, (residual / count).sqrt())
}
