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
use std::sync::{Arc, Once};

use candle_core::DType;
use parking_lot::Mutex;
use sconce::config::{ModelConfig, Precision};
use sconce::device::LoadSettings;
use sconce::device::wire::{Failure, Hello};
use sconce::model::kernels::{Kernels, Recorder};
use sconce::model::{Files, Needs, Target, load};

use self::gpu::Gpu;
use self::graphs::Graphs;
use self::model::CudaModel;
use self::pages::Locked;
pub(super) use self::probe::probe;
use self::side::CudaSide;
use super::budget::Budget;
use super::fused::{Fused, MakeRecorder, Scorer};
use super::{Device, Failed, Model};

/// What the names of these devices begin with; their number follows.
pub(super) const PREFIX: &str = "cuda:";

/// Rows, and tokens of each where they differ in length, of the batches that tell what others take; the first one last.
const FIRST: [(usize, usize); 2] = [(8, 64), (1, 1)];

/// A GPU with its kernels.
pub(super) struct Cuda {
    gpu: Arc<Gpu>,
    side: Arc<CudaSide>,
    woken: Once,
}

impl Cuda {
    /// Takes the GPU of this number. Errors: there is none, or it cannot run the kernels.
    pub(super) fn open(number: &str) -> Result<Self, String> {
        let ordinal = number.parse().map_err(|_| format!("expected {PREFIX}NUMBER, got \"{PREFIX}{number}\""))?;
        let gpu = Arc::new(Gpu::open(ordinal)?);
        let cuda = gpu.device.as_cuda_device().map_err(|error| gpu::first_line(&error))?;
        let side = CudaSide::new(cuda).map_err(|error| error.to_string())?;
        Ok(Self { gpu, side: Arc::new(side), woken: Once::new() })
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
        self.woken.call_once(|| self.gpu.wake());
        let needs = Needs::of(files).map_err(|error| error.to_string())?;
        let weights = needs.weights / DType::F32.size_in_bytes() as u64 * dtype.size_in_bytes() as u64;
        let budget = Budget::new(weights, settings.memory_max, self.gpu.free_bytes(weights))?;
        let budget = Arc::new(Mutex::new(budget));
        let (gpu, ledger) = (Arc::clone(&self.gpu), Arc::clone(&budget));
        let recorder: MakeRecorder =
            Box::new(move || Some(Box::new(Graphs::new(Arc::clone(&gpu), Arc::clone(&ledger))) as Box<dyn Recorder>));
        let kernels = Arc::new(Fused::new(Arc::clone(&self.side), recorder));
        let own = Arc::clone(&kernels) as Arc<dyn Kernels>;
        let target = Target { device: self.gpu.device.clone(), dtype, kernels: Some(own), records: settings.graphs };
        // How answers are scored is the server's business.
        let config = ModelConfig::default();
        let loaded = load(files, &config, &target).map_err(|error| error.to_string())?;
        self.gpu.finish().map_err(|error| format!("put the weights on the GPU: {error}"))?;
        let first = FIRST.into_iter().filter_map(|(rows, length)| loaded.about.made_up(rows, length)).collect();
        let mut signature = loaded.about.signature;
        let scorer = settings.scores.as_ref().map(|scores| Scorer::new(scores, &signature, &self.gpu.device));
        let scorer = scorer.transpose().map(Option::flatten).map_err(|error| gpu::first_line(&error))?;
        if scorer.is_some() {
            signature.outputs.extend(Scorer::specs());
        }
        Ok(Box::new(CudaModel {
            gpu: Arc::clone(&self.gpu),
            kernels,
            model: Some(loaded.model),
            signature,
            precision: settings.precision,
            scorer,
            budget,
            first,
            ahead: None,
        }))
    }
}
