//! A model whose weights are on the GPU.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use candle_core::cuda::set_gemm_reduced_precision_f32;
use candle_core::{Device, Error, Result as CandleResult, Tensor, bail};
use cudarc::driver::{CudaContext, CudaEvent};
use parking_lot::Mutex;
use sconce::config::Precision;
use sconce::device::wire::Failure;
use sconce::model::{CandleModel, Model as Loaded};
use sconce::types::{Rows, Signature};
use tracing::debug;

use super::copies::{described, download, upload};
use super::gpu::{Gpu, apart};
use super::side::CudaSide;
use crate::device::budget::{Batch, Budget, mib_left};
use crate::device::fault::failed;
use crate::device::fused::{Fused, Scorer};
use crate::device::{Failed, Model, Next};
use crate::outputs::Outputs;

/// A model, and what it may take.
pub(super) struct CudaModel {
    pub(super) gpu: Arc<Gpu>,
    pub(super) kernels: Arc<Fused<CudaSide>>,
    /// Until it is dropped.
    pub(super) model: Option<Loaded>,
    /// With scores among the outputs, where it tells them.
    pub(super) signature: Signature,
    pub(super) precision: Precision,
    pub(super) scorer: Option<Scorer>,
    pub(super) budget: Arc<Mutex<Budget>>,
    /// Made-up batches that have not run yet, the first one last.
    pub(super) first: Vec<Rows>,
    /// The next batch, whose copy has begun.
    pub(super) ahead: Option<Copied>,
}

/// A batch's inputs on the GPU, or on their way.
pub(super) struct Copied {
    /// Where they are copied from, which stays until they are dropped.
    rows: Rows,
    inputs: Vec<Tensor>,
    /// When they are there.
    done: CudaEvent,
    context: Arc<CudaContext>,
}

impl Copied {
    /// Has the rows copied while the device computes. Errors: the driver's.
    fn begin(rows: Rows, gpu: &Gpu) -> CandleResult<Self> {
        let inputs = rows.inputs().iter().map(|input| upload(input, gpu, &gpu.copies));
        let inputs = inputs.collect::<CandleResult<_>>()?;
        let done = gpu.copies.record_event(None).map_err(Error::wrap)?;
        Ok(Self { rows, inputs, done, context: Arc::clone(gpu.context()) })
    }

    /// Are these the rows?
    fn is_of(&self, rows: &Rows) -> bool {
        let places = |rows: &Rows| rows.inputs().iter().map(|input| input.data().as_ptr_range()).collect::<Vec<_>>();
        places(&self.rows) == places(rows)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // Else the rows' memory might go while it is read. A device that fails reads nothing any more.
        let _done = apart(&self.context, || self.done.synchronize());
    }
}

impl Model for CudaModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn try_out(&mut self) -> Result<bool, Failed> {
        let (Some(Loaded::Candle(model)), Some(rows)) = (&self.model, self.first.pop()) else { return Ok(false) };
        let forward = |inputs: &[Tensor]| self.forward(&**model, &rows, inputs).map(drop);
        let tried = self.measured(&rows, None, |inputs| forward(inputs).map_err(|error| self.told(&error)), || {});
        match tried {
            Err(lost) if lost.failure == Failure::Device => return Err(lost),
            // The first one, of a single row.
            Err(full) if full.failure == Failure::Memory && !self.first.is_empty() => {
                let free = mib_left(self.gpu.free_bytes(u64::MAX));
                let detail = format!("a single row does not fit beside its weights: the device has {free} free");
                return Err(Failed::new(Failure::Memory, detail));
            }
            // What batches take is not known then; they will find out.
            Err(Failed { detail, .. }) => debug!(size = rows.size(), detail, "a batch to try a model out"),
            Ok(()) => {}
        }
        Ok(true)
    }

    fn run(&mut self, rows: &Rows, outputs: &mut Outputs<'_>) -> Result<(), Failed> {
        self.run_before(rows, outputs, &mut || None)
    }

    fn run_before(&mut self, rows: &Rows, outputs: &mut Outputs<'_>, next: &mut Next<'_>) -> Result<(), Failed> {
        // Dropped at the end, when the device has done with it.
        let ahead = self.ahead.take();
        let model = match &self.model {
            None => return Err(Failed::new(Failure::Model, "the model is being unloaded")),
            Some(Loaded::Host(model)) => {
                let given = model.forward(rows.inputs());
                let given = given.map_err(|error| Failed::new(Failure::Model, error.detail()))?;
                return outputs.copy(&given);
            }
            Some(Loaded::Candle(_)) if rows.count() == 0 => return outputs.none(&self.signature.outputs),
            Some(Loaded::Candle(model)) => &**model,
        };
        let admitted = self.budget.lock().admit(Batch::of(rows), |wanted| self.gpu.free_bytes(wanted));
        admitted.map_err(|why| Failed::new(Failure::Memory, why))?;
        let mut following = None;
        let outcome = self.measured(
            rows,
            ahead.as_ref(),
            |inputs| self.compute(model, rows, inputs, outputs),
            // A copy that cannot begin now is made in its turn.
            || following = next().and_then(|rows| Copied::begin(rows, &self.gpu).ok()),
        );
        self.ahead = following;
        outcome
    }
}

impl Drop for CudaModel {
    /// Another model's batch may be running, but not be recorded: what is given back must not become part of it.
    fn drop(&mut self) {
        let gpu = Arc::clone(&self.gpu);
        gpu.beside(|| {
            self.ahead = None;
            self.model = None;
            self.scorer = None;
            gpu.give_back(self.budget.lock().kept());
        });
    }
}

impl CudaModel {
    /// Has `compute` tell the device what to do with the rows' inputs, waits until that is done, and notes what it has taken.
    /// `meanwhile` runs while the device computes.
    fn measured(
        &self,
        rows: &Rows,
        ahead: Option<&Copied>,
        compute: impl FnOnce(&[Tensor]) -> Result<(), Failed>,
        meanwhile: impl FnOnce(),
    ) -> Result<(), Failed> {
        let before = self.gpu.watch_peak();
        let mut inputs = Vec::new();
        let computed = catch_unwind(AssertUnwindSafe(|| {
            inputs = self.inputs(rows, ahead)?;
            compute(&inputs)
        }));
        meanwhile();
        // What was asked of the device may still be going on: nothing of it may be left for the next batch.
        let finished = self.gpu.finish().map_err(Error::wrap);
        let Ok(computed) = computed else {
            return Err(Failed::new(Failure::Device, "the model's code panicked, and nobody knows what the GPU does"));
        };
        computed.and_then(|()| finished.map_err(|error| self.told(&error)))?;
        if let Some(bytes) = self.gpu.peak_bytes(&before) {
            self.budget.lock().learn(Batch::of(rows), bytes);
        }
        Ok(())
    }

    /// What an error means for the batch.
    fn told(&self, error: &Error) -> Failed {
        failed(error, || self.gpu.try_out())
    }

    /// The inputs on the GPU: those that were copied ahead, else copied now.
    fn inputs(&self, rows: &Rows, ahead: Option<&Copied>) -> Result<Vec<Tensor>, Failed> {
        let stream = &self.gpu.stream;
        let inputs = match ahead.filter(|ahead| ahead.is_of(rows)) {
            Some(ahead) => stream.wait(&ahead.done).map(|()| ahead.inputs.clone()).map_err(Error::wrap),
            None => rows.inputs().iter().map(|input| upload(input, &self.gpu, stream)).collect(),
        };
        inputs.map_err(|error| self.told(&error))
    }

    /// Has the batch computed, and its outputs copied to where they go. It has ended when the stream has.
    fn compute(
        &self,
        model: &dyn CandleModel,
        rows: &Rows,
        inputs: &[Tensor],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), Failed> {
        let told = |error: Error| self.told(&error);
        let given = self.forward(model, rows, inputs).map_err(told)?;
        let described: Vec<_> = given.iter().map(described).collect::<CandleResult<_>>().map_err(told)?;
        outputs.reserve(described.iter().map(|(_, bytes)| *bytes))?;
        for (tensor, (dtype, bytes)) in given.iter().zip(described) {
            let room = outputs.push(dtype, tensor.dims(), bytes)?;
            download(tensor, &self.gpu, room).map_err(told)?;
        }
        Ok(())
    }

    fn forward(&self, model: &dyn CandleModel, rows: &Rows, inputs: &[Tensor]) -> CandleResult<Vec<Tensor>> {
        // One for the process, whose models take turns.
        set_gemm_reduced_precision_f32(self.precision == Precision::Tf32);
        let mut inputs = inputs.to_vec();
        inputs.extend(rows.lengths().map(offsets).transpose()?);
        self.kernels.forward(model, &inputs, self.scorer.as_ref())
    }
}

/// Where each row begins, and the last ends, on the host.
fn offsets(lengths: &[u32]) -> CandleResult<Tensor> {
    let mut offsets = vec![0_u32];
    let mut end = 0_u32;
    for length in lengths {
        let Some(next) = end.checked_add(*length) else { bail!("a batch of 2^32 elements") };
        end = next;
        offsets.push(end);
    }
    Tensor::new(offsets, &Device::Cpu)
}
