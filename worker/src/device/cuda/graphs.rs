//! Work that recurs, recorded as CUDA graphs: one call in place of a hundred launches.
//!
//! A graph is trusted only when it has once given what the launches themselves gave. What cannot be recorded is never tried again,
//! and runs launch by launch as before.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use candle_core::{DType, Error, Result, Tensor};
use cudarc::driver::{CudaGraph, sys};
use parking_lot::Mutex;
use sconce::model::kernels::{Recorder, Size};
use tracing::{debug, warn};

use super::gpu::{Gpu, first_line};
use crate::device::budget::Budget;

/// Batches of the same lengths before they are recorded.
const RECURRED: u32 = 2;
/// How far a graph may be from the launches, which it fills up to another size, so that products are added in another order; a part
/// of the largest number.
const NEAR_F32: f64 = 1e-3;
const NEAR_HALF: f64 = 5e-2;

/// One model's graphs, by the lengths that they were recorded for.
pub(super) struct Graphs {
    gpu: Arc<Gpu>,
    /// The model's.
    budget: Arc<Mutex<Budget>>,
    known: Mutex<HashMap<Vec<usize>, Known>>,
}

enum Known {
    /// Has run so often.
    Seen(u32),
    Recorded(Graph),
    /// Cannot be recorded.
    Refused,
}

/// A graph, what it reads, and what it writes.
struct Graph {
    recorded: CudaGraph,
    inputs: Vec<Tensor>,
    output: Tensor,
}

// SAFETY: CUDA's graphs may be used from any thread, one at a time; this one is used under the lock of `Graphs::known`.
#[expect(unsafe_code, reason = "a handle of the driver's")]
unsafe impl Send for Graph {}

impl Graphs {
    pub(super) fn new(gpu: Arc<Gpu>, budget: Arc<Mutex<Budget>>) -> Self {
        Self { gpu, budget, known: Mutex::default() }
    }

    /// Records `compute`, and has the graph give what it gave; `None` while something else goes on beside the batches.
    ///
    /// Errors: it does not, something in it cannot be recorded, or there is too little memory to keep it.
    fn record(
        &self,
        size: &Size,
        (inputs, launched): (&[Tensor], &Tensor),
        compute: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    ) -> Result<Option<Graph>> {
        let Some(_alone) = self.gpu.recording.try_write() else { return Ok(None) };
        // What it takes is not the batch's.
        self.gpu.beside.fetch_add(1, Relaxed);
        let rows = size.lengths.first().copied().unwrap_or_default();
        let lengths = size.lengths.iter().copied().chain([rows]);
        let own = inputs.iter().chain([launched]).zip(lengths).map(|(tensor, length)| bytes_of(tensor, length)).sum();
        // Graphs take nothing of the pool.
        self.budget.lock().admit_graph(own, |_| self.gpu.driver_bytes()).map_err(Error::msg)?;
        let before = self.gpu.graph_bytes();
        let filled = inputs.iter().zip(&size.lengths).map(|(input, length)| longer(input, *length));
        let filled: Vec<Tensor> = filled.collect::<Result<_>>()?;
        let output = longer(launched, rows)?;
        // Loads what is loaded at first use, which cannot be recorded.
        compute(&filled)?;
        self.gpu.finish().map_err(Error::wrap)?;
        let recorded = self.capture(|| output.slice_set(&compute(&filled)?, 0, 0))?;
        let graph = Graph { recorded, inputs: filled, output };
        // What is behind the rows that count may be anything.
        expect_near(&graph.replay(inputs, size.rows)?, &launched.narrow(0, 0, size.rows)?)?;
        // It has its memory since it ran.
        self.budget.lock().keep(own.saturating_add(self.gpu.graph_bytes().saturating_sub(before)));
        Ok(Some(graph))
    }

    fn capture(&self, work: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
        let stream = &self.gpu.stream;
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(Error::wrap)?;
        let done = catch_unwind(AssertUnwindSafe(work));
        // Ends the capture in any case: the stream does nothing until then, and what drops have left would be told in its place.
        let late = self.gpu.context().check_err();
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags).map_err(Error::wrap);
        done.unwrap_or_else(|panic| resume_unwind(panic))?;
        late.map_err(Error::wrap)?;
        let graph = graph?.ok_or_else(|| Error::msg("nothing was recorded"))?;
        graph.upload().map_err(Error::wrap)?;
        Ok(graph)
    }
}

impl Recorder for Graphs {
    fn run(&self, size: &Size, inputs: &[Tensor], compute: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> Result<Tensor> {
        let mut known = self.known.lock();
        let entry = known.entry(size.lengths.clone()).or_insert(Known::Seen(0));
        match entry {
            Known::Recorded(graph) => {
                // What the pool gives for it tells nothing of launches.
                self.gpu.beside.fetch_add(1, Relaxed);
                return graph.replay(inputs, size.rows);
            }
            Known::Seen(times) if *times < RECURRED => *times += 1,
            Known::Seen(_) => {
                let launched = compute(inputs)?;
                *entry = match self.record(size, (inputs, &launched), compute) {
                    Ok(None) => Known::Seen(RECURRED),
                    Ok(Some(graph)) => {
                        debug!(?size, "recorded as a graph");
                        Known::Recorded(graph)
                    }
                    Err(error) => {
                        let why = first_line(&error);
                        warn!(?size, why, "not recorded as a graph; it runs launch by launch");
                        self.gpu.trim_graphs();
                        Known::Refused
                    }
                };
                // A failed recording may have left an error behind, or the device broken.
                self.gpu.try_out().map_err(Error::msg)?;
                return launched.narrow(0, 0, size.rows);
            }
            Known::Refused => {}
        }
        compute(inputs)?.narrow(0, 0, size.rows)
    }
}

impl Graph {
    fn replay(&self, inputs: &[Tensor], rows: usize) -> Result<Tensor> {
        for (own, input) in self.inputs.iter().zip(inputs) {
            own.zero_set()?;
            own.slice_set(input, 0, 0)?;
        }
        self.recorded.launch().map_err(Error::wrap)?;
        // The next batch writes over it, after all that this one has the stream do.
        self.output.narrow(0, 0, rows)
    }
}

/// Bytes of a tensor that is filled up.
fn bytes_of(tensor: &Tensor, length: usize) -> u64 {
    let row: usize = tensor.dims().iter().skip(1).product();
    (length * row * tensor.dtype().size_in_bytes()) as u64
}

/// A copy with zeros behind it, up to `length` along the first dimension.
fn longer(tensor: &Tensor, length: usize) -> Result<Tensor> {
    let mut dims = tensor.dims().to_vec();
    if let Some(first) = dims.first_mut() {
        *first = length;
    }
    let longer = Tensor::zeros(dims, tensor.dtype(), tensor.device())?;
    longer.slice_set(tensor, 0, 0)?;
    Ok(longer)
}

/// Errors: the graph does not give what the launches gave. Compared on the host, since a GPU's maximum leaves NaN out.
fn expect_near(replayed: &Tensor, launched: &Tensor) -> Result<()> {
    let near = if launched.dtype() == DType::F32 { NEAR_F32 } else { NEAR_HALF };
    let numbers = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let (replayed, launched) = (numbers(replayed)?, numbers(launched)?);
    let (mut off, mut largest) = (0.0_f64, 0.0_f64);
    for (replayed, launched) in replayed.iter().zip(&launched) {
        let difference = f64::from(replayed - launched).abs();
        if difference.is_nan() {
            return Err(Error::msg("not every number of the graph is one"));
        }
        (off, largest) = (off.max(difference), largest.max(f64::from(*launched).abs()));
    }
    if off <= near * largest { Ok(()) } else { Err(Error::msg(format!("the graph is off by {off} of {largest}"))) }
}
