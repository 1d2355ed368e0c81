//! NVIDIA GPUs: candle's CUDA backend, and our kernels where encoders and scores are computed.
//!
//! `gpu` is the card, `side` how kernels see candle's tensors on it, `graphs` records what recurs, `copies` and `pages` are the way in
//! and out, `probe` looks what there is. Models take turns on one stream.

mod copies;
mod gpu;
mod graphs;
mod model;
mod pages;
mod probe;
mod side;

use std::ptr::NonNull;
use std::sync::Arc;

use candle_core::DType;
use sconce::config::{ModelConfig, Precision};
use sconce::device::wire::{Failure, Hello, SCORES};
use sconce::device::{LoadSettings, LogitScores};
use sconce::model::kernels::{Kernels, Recorder};
use sconce::model::{Files, Needs, Target, load};
use sconce::types::{DataType, Presence, Signature, TensorSpec};

use self::gpu::Gpu;
use self::graphs::Graphs;
use self::model::CudaModel;
use self::pages::Locked;
pub(super) use self::probe::probe;
use self::side::CudaSide;
use super::budget::Budget;
use super::fused::{Fused, MakeRecorder};
use super::{Device, Failed, Model};

/// What the names of these devices begin with; their number follows.
pub(super) const PREFIX: &str = "cuda:";

/// A GPU with its kernels.
pub(super) struct Cuda {
    gpu: Arc<Gpu>,
    kernels: Arc<Fused<CudaSide>>,
}

impl Cuda {
    /// Takes the GPU of this number. Errors: there is none, or it cannot run the kernels.
    pub(super) fn open(number: &str) -> Result<Self, String> {
        let ordinal = number.parse().map_err(|_| format!("expected {PREFIX}NUMBER, got \"{PREFIX}{number}\""))?;
        let gpu = Arc::new(Gpu::open(ordinal)?);
        let cuda = gpu.device.as_cuda_device().map_err(|error| gpu::first_line(&error))?;
        let side = CudaSide::new(cuda).map_err(|error| error.to_string())?;
        let own = Arc::clone(&gpu);
        let recorder: MakeRecorder =
            Box::new(move || Some(Box::new(Graphs::new(Arc::clone(&own))) as Box<dyn Recorder>));
        Ok(Self { gpu, kernels: Arc::new(Fused::new(Arc::new(side), recorder)) })
    }
}

impl Device for Cuda {
    fn about(&self) -> Hello {
        self.gpu.about()
    }

    fn load(&self, files: &Files, settings: &LoadSettings) -> Result<Box<dyn Model>, Failed> {
        let loaded = self.gpu.beside(|| self.try_load(files, settings));
        loaded.map_err(|why| match self.gpu.try_out() {
            Ok(()) => Failed::new(Failure::Model, why),
            Err(broken) => Failed::new(Failure::Device, format!("{why}; {broken}")),
        })
    }

    fn lock_pages(&self, memory: NonNull<[u8]>) -> Option<Box<dyn Send + Sync>> {
        Locked::new(self.gpu.context(), memory).map(|locked| Box::new(locked) as Box<dyn Send + Sync>)
    }
}

impl Cuda {
    /// Errors: the file and what is wrong, or what there is too little memory for.
    fn try_load(&self, files: &Files, settings: &LoadSettings) -> Result<Box<dyn Model>, String> {
        let dtype = match settings.precision {
            Precision::F32 | Precision::Tf32 => DType::F32,
            Precision::F16 => DType::F16,
            Precision::Bf16 => DType::BF16,
        };
        let needs = Needs::of(files).map_err(|error| error.to_string())?;
        let weights = needs.weights / DType::F32.size_in_bytes() as u64 * dtype.size_in_bytes() as u64;
        let budget = Budget::new(weights, settings.memory_max, self.gpu.free_bytes(weights))?;
        let kernels = Arc::clone(&self.kernels) as Arc<dyn Kernels>;
        let target =
            Target { device: self.gpu.device.clone(), dtype, kernels: Some(kernels), records: settings.graphs };
        // How answers are scored is the server's business.
        let config = ModelConfig::default();
        let loaded = load(files, &config, &target).map_err(|error| error.to_string())?;
        self.gpu.finish().map_err(|error| format!("put the weights on the GPU: {error}"))?;
        let mut signature = loaded.about.signature;
        let scores = settings.scores.filter(|scores| is_rows_of_numbers(&signature, *scores));
        if scores.is_some() {
            signature.outputs.extend(score_specs());
        }
        let (gpu, kernels) = (Arc::clone(&self.gpu), Arc::clone(&self.kernels));
        let precision = settings.precision;
        Ok(Box::new(CudaModel {
            gpu,
            kernels,
            model: Some(loaded.model),
            signature,
            precision,
            scores,
            budget,
            ahead: None,
        }))
    }
}

/// Is the output that is to be scored what the kernel scores?
fn is_rows_of_numbers(signature: &Signature, scores: LogitScores) -> bool {
    let output = signature.outputs.get(scores.output);
    output.is_some_and(|output| output.dtype == DataType::Fp32 && matches!(output.row[..], [Some(_)]))
}

fn score_specs() -> [TensorSpec; 2] {
    let [classes, measures] = SCORES.map(str::to_owned);
    let spec = |name, dtype, row| TensorSpec { name, dtype, row, presence: Presence::Required };
    [spec(classes, DataType::Uint32, Vec::new()), spec(measures, DataType::Fp32, vec![Some(3)])]
}
