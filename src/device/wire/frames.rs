//! What the frames between the server and its worker say.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Precision;
use crate::types::{DataType, Signature};

/// From the server, on the control socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Are you there? To be answered by [`Report::Pong`] of the same number.
    Ping(u64),
    /// Load a model. With it come the worker's end of the model's channel and the files of its staging areas, in this order.
    Load(LoadOrder),
    /// Fail in some way; obeyed only by a worker that was started to be tested, and answered by [`Report::Obeyed`].
    Fault(FaultInjection),
}

/// From the worker, on the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The first of all.
    Hello(Hello),
    /// An answer to [`Order::Ping`].
    Pong(u64),
    /// An answer to [`Order::Fault`].
    Obeyed,
}

/// What a worker is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// `cpu` or `cuda`.
    pub kind: String,
    /// The device's own name.
    pub name: String,
    /// Bytes of memory that the device has.
    pub memory_total: u64,
    /// Bytes of it that nobody used when the worker started.
    pub memory_free: u64,
}

/// A model to load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadOrder {
    /// What the worker calls it in its log.
    pub name: String,
    /// Its files.
    pub contents: Contents,
    /// How it is to be computed.
    pub settings: LoadSettings,
}

/// How a worker is to compute a model. One on processors heeds none of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadSettings {
    /// How exactly.
    pub precision: Precision,
    /// Bytes of the device's memory that it may take; `None` for what is free.
    pub memory_max: Option<u64>,
    /// May it record what recurs, and replay it?
    pub graphs: bool,
    /// Is the device to say how sure the model was of each row? It may do so, and then gives [`SCORES`] as further outputs.
    pub scores: Option<LogitScores>,
}

/// Which output of a model is logits, how sharp their softmax is, and what is counted of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogitScores {
    /// Its index in the signature.
    pub output: usize,
    /// What logits are multiplied with.
    pub sharpness: f32,
    /// Upper bounds, rising, of the bins in which confidences are counted; at most 255.
    pub bounds: Vec<f64>,
}

/// Names of the outputs in which a device tells scores: of each row the class, then confidence, margin and entropy, then the bin
/// of the confidence.
pub const SCORES: [&str; 3] = ["sconce.class", "sconce.measures", "sconce.bin"];

/// Where a worker finds the files of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contents {
    /// In a folder.
    Folder {
        /// Its path.
        path: Vec<u8>,
        /// Where links in it may lead.
        roots: Vec<Vec<u8>>,
    },
    /// In the first staging area, by name.
    Staged(Vec<(String, Place)>),
}

/// From the worker, once, as a channel's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// The model is loaded, and takes and gives this; scores are outputs like others here.
    Loaded(Signature),
    /// It cannot be loaded: the file and what is wrong.
    Refused(String),
}

/// A batch to run, from the server on a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Counts batches; the answer repeats it.
    pub sequence: u64,
    /// Which staging area it is in, the outputs too: one that no batch is in which has not been answered.
    pub slot: u8,
    /// How many rows.
    pub rows: u64,
    /// The model's inputs, all rows joined.
    pub inputs: Vec<TensorPlace>,
    /// Where rows are packed: how many elements each has, a `u32` each.
    pub lengths: Option<Place>,
}

/// A tensor in the staging area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorPlace {
    /// Element type.
    pub dtype: DataType,
    /// Shape, rows first.
    pub dims: Vec<usize>,
    /// Its contents.
    pub place: Place,
}

/// A stretch of the staging area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

impl Place {
    /// Where it ends; `None` if there is no such place in any file.
    pub fn end(self) -> Option<u64> {
        self.offset.checked_add(self.bytes)
    }
}

/// What came of a [`Run`], from the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Which batch.
    pub sequence: u64,
    /// What came of it.
    pub body: Body,
}

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// The outputs in the signature's order, one behind the other in the staging area.
    Outputs(Vec<TensorPlace>),
    /// There are none.
    Failed(Failure, String),
}

/// Why a batch has no outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The model refused or failed on these rows.
    Model,
    /// Its code panicked; the model has been loaded again.
    Panic,
    /// The device has too little memory for so many rows.
    Memory,
    /// The device is lost, and the worker ends.
    Device,
}

/// A way to fail, for tests and demonstrations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultInjection {
    /// Answers are random bytes.
    Garbage,
    /// The next batch is never answered, and holds the device.
    Hang,
    /// Each batch takes so much longer.
    Slow(Duration),
    /// A batch larger than this is told that memory is out.
    OutOfMemoryAbove(u64),
    /// Outputs of floating-point types are NaN.
    NonFinite,
    /// The process ends with this code.
    Exit(u8),
    /// All is well again.
    Clear,
}
