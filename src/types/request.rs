//! A request and its answer, as every door translates them.

use std::time::Duration;

use super::{Fallbacks, RungKind, Tensor, Version};

/// A tensor under the name that the client gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTensor {
    /// Name on the wire.
    pub name: String,
    /// Contents.
    pub tensor: Tensor,
}

/// What a client wants of the answer beside its outputs, by request parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `confidence`: the confidence and label of each row.
    pub confidence: bool,
    /// `batch_report`: size, times and release reason of the batch.
    pub batch_report: bool,
    /// `fallback`: what may answer where the model's first device cannot.
    pub fallbacks: Fallbacks,
}

/// Rows for a model.
#[derive(Clone, Debug, Default)]
pub struct InferRequest {
    /// Name of the model, not yet looked up.
    pub model: String,
    /// Version of the model; empty for the one served by default.
    pub version: String,
    /// Echoed in the answer; never a key.
    pub id: String,
    /// Inputs, in the client's order.
    pub inputs: Vec<NamedTensor>,
    /// Names of the wanted outputs; empty for all.
    pub outputs: Vec<String>,
    /// 1 is the most urgent; `None` is the model's default.
    pub priority: Option<u64>,
    /// Time that the client gives the answer, by the `timeout` parameter.
    pub timeout: Option<Duration>,
    /// What it wants of the answer beside its outputs.
    pub wishes: Wishes,
    /// Size of the request on the wire.
    pub bytes: usize,
}

/// Why a batch was released when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Release {
    /// It was as large as the model's largest batch.
    Full,
    /// It reached a preferred size.
    Preferred,
    /// The device was free and waiting did not pay.
    Idle,
    /// The hold ended.
    Delay,
    /// Its head's deadline allowed no more rows, or no more waiting.
    Deadline,
    /// The server was draining.
    Drain,
    /// A larger batch failed and was cut to find the guilty request.
    Bisect,
    /// The device had too little memory for a larger batch.
    Memory,
}

impl Release {
    /// Every reason.
    pub const ALL: [Self; 8] =
        [Self::Full, Self::Preferred, Self::Idle, Self::Delay, Self::Deadline, Self::Drain, Self::Bisect, Self::Memory];

    /// The label under which it is counted and reported.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Preferred => "preferred",
            Self::Idle => "idle",
            Self::Delay => "delay",
            Self::Deadline => "deadline",
            Self::Drain => "drain",
            Self::Bisect => "bisect",
            Self::Memory => "memory",
        }
    }
}

/// How the batch that carried a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchReport {
    /// Rows in the batch.
    pub rows: usize,
    /// Its size: rows, or tokens where rows differ in length.
    pub size: usize,
    /// From arrival in the queue to the start of the batch.
    pub queue: Duration,
    /// Execution of the batch.
    pub compute: Duration,
    /// Why it was released.
    pub release: Release,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct InferAnswer {
    /// Version that answered.
    pub version: Version,
    /// The wanted outputs, in the wanted order.
    pub outputs: Vec<NamedTensor>,
    /// How its batch went; of the last one where the request was cut.
    pub batch: BatchReport,
    /// Confidence of each row, where asked for and declared.
    pub confidence: Vec<f64>,
    /// Label of each row, where asked for and declared; empty strings for rows on which the model abstains.
    pub labels: Vec<String>,
    /// Did any output hold NaN or an infinity?
    pub non_finite: bool,
    /// How many tokens were cut off each row; empty if none were.
    pub truncated: Vec<u32>,
    /// What served it, where there is a ladder.
    pub rung: Option<RungKind>,
}
