//! A model's own settings, from the `model.toml` in its folder.

mod breaker;
mod device;
mod fallback;
mod forms;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

pub use breaker::BreakerConfig;
pub use device::{DeviceConfig, DevicePolicy, Placement, Precision};
pub use fallback::{FallbackConfig, NonFinite, PredictionConfig, RungConfig, RungUse, VersionChoice};
use forms::{Range, Versions};

use super::document::Document;
use super::form::{Choice, List, Number, Positive, Switch, Text, Time};
use super::problems::Problems;
use super::reader::{Reader, Sources, positive};
use super::score::ScoreKind;

const BATCH_ROWS_MAX: u32 = 1 << 16;
const BATCH_TOKENS_MAX: u32 = 1 << 22;
const QUEUE_ROWS_MAX: u32 = 1 << 24;
const PRIORITY_LEVELS_MAX: u32 = 16;
/// Rows that a queue or a request may have by default, in full batches.
const DEFAULT_BATCHES: usize = 16;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Everything that can be set about one model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Largest batch, rows.
    pub max_batch_size: NonZeroUsize,
    /// Which of its versions are served.
    pub versions: VersionPolicy,
    /// Longest time that a request is given; `None` for the server's.
    pub timeout: Option<Duration>,
    /// How its rows wait.
    pub batching: BatchingConfig,
    /// How its confidence is computed.
    pub confidence: ConfidenceConfig,
    /// Where it runs.
    pub device: DeviceConfig,
    /// How it is warmed up.
    pub warmup: WarmupConfig,
    /// When its device is left alone for a while.
    pub breaker: BreakerConfig,
    /// What answers where its devices cannot.
    pub fallback: FallbackConfig,
}

/// Which versions of a model are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPolicy {
    /// So many, of the highest numbers.
    Latest(NonZeroUsize),
    /// Every one that is there.
    All,
    /// These, which must be there; ascending, at least one.
    Only(Vec<u64>),
}

impl Default for VersionPolicy {
    fn default() -> Self {
        Self::Latest(NonZeroUsize::MIN)
    }
}

/// How a model's rows wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchingConfig {
    /// Upper bound of a hold; zero never holds.
    pub max_queue_delay: Duration,
    /// Largest batch of rows that differ in length, tokens.
    pub max_batch_tokens: NonZeroUsize,
    /// Batch sizes at which a batch is cut, ascending, none above `max_batch_size`; empty for none.
    pub preferred_batch_sizes: Vec<NonZeroUsize>,
    /// Rows that may wait, at least `max_batch_size`.
    pub queue_rows_max: NonZeroUsize,
    /// Rows in one request, at most `queue_rows_max`.
    pub request_rows_max: NonZeroUsize,
    /// Number of priorities; 1 is the most urgent.
    pub priority_levels: NonZeroUsize,
    /// Priority of a request that says none, at most `priority_levels`.
    pub default_priority: NonZeroUsize,
    /// Batches that may go ahead of a waiting row of lower priority.
    pub overtake_max: NonZeroUsize,
}

/// How a model's confidence is computed. What is `None` is as the model's files declare it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfidenceConfig {
    /// Name of the output that it is computed from.
    pub output: Option<String>,
    /// What that output means.
    pub scores: Option<ScoreKind>,
    /// Names of the classes, in order; distinct.
    pub labels: Option<Vec<String>>,
    /// Divides logits before softmax or sigmoid; above zero.
    pub temperature: f64,
    /// Confidences below this are low; 0 to 1.
    pub low: f64,
    /// Do answers of low confidence carry an empty label?
    pub abstain: bool,
    /// Where a regression's values are expected: lower and upper bound, finite, the first below the second.
    pub range: Option<(f64, f64)>,
}

/// How a model is warmed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmupConfig {
    /// Time that warming up may take; zero for none.
    pub time_max: Duration,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::read(&mut Reader::default())
    }
}

impl ModelConfig {
    /// Reads a `model.toml`. Errors: unreadable, and everything that [`ModelConfig::parse`] refuses.
    pub fn open(path: &Path) -> Result<Self, Problems> {
        Self::of(Document::open(path)?)
    }

    /// Reads the text of a `model.toml`; `file` stands for it in problems. Errors: every problem, one a line.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        Self::of(Document::parse(file, text)?)
    }

    fn of(document: Document) -> Result<Self, Problems> {
        let mut settings = Reader::new(Sources { file: Some(&document), ..Sources::default() });
        let config = Self::read(&mut settings);
        config.check(&mut settings);
        document.finish().map(|()| config)
    }

    /// Declares and reads every setting of a model.
    pub(super) fn read(settings: &mut Reader<'_>) -> Self {
        let max_batch_size = settings
            .what("Largest batch, in rows. A request of more rows is cut and its answers are joined again")
            .change(
                "Lower it where large batches take too much memory or time; raise it for a GPU that they do not fill",
            )
            .get("max_batch_size", &Positive(BATCH_ROWS_MAX), positive(64));
        Self {
            max_batch_size,
            versions: settings.what("Which of the version folders are served").change("`\"latest:2\"`, `\"all\"` or a list lets clients ask for older versions by number").get("versions", &Versions, VersionPolicy::default()),
            timeout: settings.what("Longest time that a request is given. A shorter gRPC deadline or `timeout` parameter counts instead").change("Set it where this model's callers wait longer, or less, than others").find("timeout", &Time(MILLISECOND..=3600 * SECOND), "the server's `timeout`"),
            batching: BatchingConfig::read(settings, max_batch_size),
            confidence: ConfidenceConfig::read(settings),
            device: DeviceConfig::read(settings),
            warmup: WarmupConfig::read(settings),
            breaker: BreakerConfig::read(settings),
            fallback: FallbackConfig::read(settings),
        }
    }

    fn check(&self, settings: &mut Reader<'_>) {
        self.batching.check(self.max_batch_size, settings);
        self.confidence.check(settings);
        self.breaker.check(settings);
        self.fallback.check(settings);
    }
}

impl BatchingConfig {
    fn read(settings: &mut Reader<'_>, max_batch_size: NonZeroUsize) -> Self {
        let rows = max_batch_size.saturating_mul(positive(DEFAULT_BATCHES));
        let delay = Time(Duration::ZERO..=SECOND);
        let max_queue_delay = settings
            .what(
                "Upper bound of the time for which rows are held back so that others may join them. Whether they are \
                 held at all is learned: only where that pays and no deadline is at risk",
            )
            .change("0ms never holds; raise it where throughput counts more than the latency of single requests")
            .get("batching.max_queue_delay", &delay, 2 * MILLISECOND);
        let max_batch_tokens = settings
            .what(
                "Largest batch of a text model, in tokens, beside `max_batch_size`. A batch is made no larger than pays: \
                 once its fixed cost is a sixteenth of the whole, more company would only make it late",
            )
            .change("Lower it where long texts take too much memory; raise it for a GPU that a batch does not fill")
            .get("batching.max_batch_tokens", &Positive(BATCH_TOKENS_MAX), positive(8192));
        let size = List(Positive(BATCH_ROWS_MAX));
        let mut preferred_batch_sizes = settings.what("Batch sizes that the model likes; a batch is cut to one of them where it can. None above `max_batch_size`").change("Set it where a model is much faster at some sizes than just above them").get("batching.preferred_batch_sizes", &size, Vec::new());
        preferred_batch_sizes.sort_unstable();
        preferred_batch_sizes.dedup();
        let queue = settings
            .what("Rows that may wait; more are refused with `RESOURCE_EXHAUSTED`. At least `max_batch_size`")
            .change("Lower it to refuse earlier under overload; raise it to ride out longer bursts")
            .find("batching.queue_rows_max", &Positive(QUEUE_ROWS_MAX), "16 x `max_batch_size`");
        let queue_rows_max = queue.unwrap_or(rows);
        let words = "16 x `max_batch_size`, at most `batching.queue_rows_max`";
        let request = settings
            .what("Rows in one request; one of more is refused. At most `batching.queue_rows_max`")
            .change("Lower it to keep single callers from filling the queue")
            .find("batching.request_rows_max", &Positive(QUEUE_ROWS_MAX), words);
        let levels = Positive(PRIORITY_LEVELS_MAX);
        let priority_levels = settings
            .what("Number of priorities that a request can ask for by its `priority` parameter; 1 is the most urgent")
            .change("1 ignores priorities; more than 2 where callers are of more than two kinds")
            .get("batching.priority_levels", &levels, positive(2));
        let default_priority = settings
            .what("Priority of a request that asks for none, or for 0. At most `batching.priority_levels`")
            .change("Lower it so that some callers can be less urgent than the rest")
            .find("batching.default_priority", &levels, "`batching.priority_levels`");
        let overtake_max = settings
            .what("Batches of higher priority that may go ahead of a waiting row before it goes next")
            .change("Lower it where low priorities wait too long; raise it where high ones must not")
            .get("batching.overtake_max", &Positive(1 << 20), positive(16));
        Self {
            max_queue_delay,
            max_batch_tokens,
            preferred_batch_sizes,
            queue_rows_max,
            request_rows_max: request.unwrap_or(rows.min(queue_rows_max)),
            priority_levels,
            default_priority: default_priority.unwrap_or(priority_levels),
            overtake_max,
        }
    }

    fn check(&self, max_batch_size: NonZeroUsize, settings: &mut Reader<'_>) {
        let mut at_most = |key: &str, value: NonZeroUsize, bound: &str, limit: NonZeroUsize| {
            if value > limit {
                settings.conflict(key, bound, &format!("expected at most `{bound}`, which is {limit}, got {value}"));
            }
        };
        if let Some(largest) = self.preferred_batch_sizes.last() {
            at_most("batching.preferred_batch_sizes", *largest, "max_batch_size", max_batch_size);
        }
        at_most("batching.request_rows_max", self.request_rows_max, "batching.queue_rows_max", self.queue_rows_max);
        at_most("batching.default_priority", self.default_priority, "batching.priority_levels", self.priority_levels);
        let rows = self.queue_rows_max;
        if rows < max_batch_size {
            let text = format!("expected at least `max_batch_size`, which is {max_batch_size}, got {rows}");
            settings.conflict("batching.queue_rows_max", "max_batch_size", &text);
        }
    }
}

impl ConfidenceConfig {
    fn read(settings: &mut Reader<'_>) -> Self {
        let declared = "as the model's files declare";
        Self {
            output: settings
                .what("Name of the output that confidence is computed from")
                .change("Set it where a model has several outputs and does not say which")
                .find("confidence.output", &Text, declared),
            scores: settings
                .what("What the numbers of that output mean")
                .change("Set it where the model's files do not say, or to `\"none\"` to switch confidence off")
                .find("confidence.scores", &Choice(&ScoreKind::CHOICES), declared),
            labels: settings
                .what("Names of the classes, in the order of the output's last dimension; all different")
                .change("Set it to see names, not numbers, in answers and metrics")
                .find("confidence.labels", &List(Text), declared),
            temperature: settings
                .what("Divides logits before they become probabilities (Guo et al. 2017, On Calibration)")
                .change("Above 1 for a model that is surer than it is right; fit it on held-out rows")
                .get("confidence.temperature", &Number(0.001..=1000.0), 1.0),
            low: settings
                .what("Answers of a confidence below this are counted as low")
                .change("Set it to the confidence below which a person should look")
                .get("confidence.low", &Number(0.0..=1.0), 0.5),
            abstain: settings
                .what("Whether answers of low confidence carry an empty label")
                .change("Set it where no answer is better than a doubtful one")
                .get("confidence.abstain", &Switch, false),
            range: settings
                .what("Where a regression's values are expected: the outer bounds of their histogram")
                .change("Set it to the range of the values that the model was trained on")
                .find("confidence.range", &Range, declared),
        }
    }

    fn check(&self, settings: &mut Reader<'_>) {
        let Some(labels) = &self.labels else { return };
        let mut seen = BTreeSet::new();
        if let Some(twice) = labels.iter().find(|label| !seen.insert(label.as_str())) {
            let text = format!("expected labels that all differ, got \"{twice}\" twice");
            settings.conflict("confidence.labels", "confidence.labels", &text);
        }
        if labels.is_empty() {
            settings.conflict("confidence.labels", "confidence.labels", "expected at least one label, got []");
        }
    }
}

impl WarmupConfig {
    fn read(settings: &mut Reader<'_>) -> Self {
        Self {
            time_max: settings
                .what("Time that warming up may take before the model is ready")
                .change("Raise it for a model whose first batches are slow; 0s starts cold")
                .get("warmup.time_max", &Time(Duration::ZERO..=600 * SECOND), 10 * SECOND),
        }
    }
}

#[cfg(test)]
mod tests;
