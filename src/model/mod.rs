//! Models: their files, the architectures that build them, and how sure they are of an answer. Candle lives here.
//!
//! Deliberately absent: threads, batching, requests, clients. A model is given rows and gives rows.

mod arch;
mod error;
mod files;
mod json;
pub mod kernels;
mod made_up;
mod pickle;
mod predict;
mod prepare;
mod score;
mod table;
mod target;
mod weights;

pub use error::LoadError;
pub use files::{Files, Folder};
pub use made_up::zeros;
pub use predict::Prediction;
pub use prepare::{Prepare, Prepared, Room};
pub use score::{Declared, Scoring};
pub use table::{ARCHITECTURES, Architecture, Marker, Source, load};
pub use target::Target;
pub use weights::{Needs, Weights};

use std::sync::Arc;

use candle_core::Tensor as CandleTensor;
use candle_nn::ops::softmax_last_dim;

use crate::types::{Error, Signature, Tensor};

/// One version of a model, ready to run.
pub struct Loaded {
    /// What is known of it.
    pub about: About,
    /// The model.
    pub model: Model,
}

/// What is known of a model beside its weights.
#[derive(Clone, Debug)]
pub struct About {
    /// What it takes and gives.
    pub signature: Signature,
    /// What makes its rows of what clients send; `None` if they are taken as they come.
    pub prepare: Option<Arc<dyn Prepare>>,
    /// How its answers are scored, where that is known.
    pub scoring: Option<Scoring>,
    /// Its kind, as model metadata names it.
    pub platform: &'static str,
}

/// A model by the side on which its tensors live.
pub enum Model {
    /// On a candle device.
    Candle(Box<dyn CandleModel>),
    /// On host bytes.
    Host(Box<dyn HostModel>),
}

/// A model that computes with candle.
pub trait CandleModel: Send + Sync {
    /// Runs contiguous inputs `[rows, ..]` in the order of the signature, or of what [`Prepare`] gives; outputs come in the
    /// signature's order, with as many rows.
    ///
    /// Packed rows come as `[elements, ..]`, and after them their offsets, `U32 [rows + 1]` on the host: row `i` has the elements
    /// `offsets[i]..offsets[i + 1]`.
    ///
    /// A row's answer does not depend on the rows beside it, within 1e-5 in `f32`. Errors: candle's own.
    fn forward(&self, inputs: &[CandleTensor]) -> candle_core::Result<Vec<CandleTensor>> {
        let mut outputs = self.compute(inputs)?;
        let last = self.softmax(&outputs)?;
        outputs.extend(last);
        Ok(outputs)
    }

    /// The same without the softmax that is the last output of some models: a device may have a quicker way to it.
    fn compute(&self, inputs: &[CandleTensor]) -> candle_core::Result<Vec<CandleTensor>>;

    /// Which output's softmax is the last output; `None` if none is.
    fn softmax_of(&self) -> Option<usize> {
        None
    }

    /// That softmax, of what [`CandleModel::compute`] gave.
    fn softmax(&self, outputs: &[CandleTensor]) -> candle_core::Result<Option<CandleTensor>> {
        self.softmax_of().and_then(|at| outputs.get(at)).map(softmax_last_dim).transpose()
    }
}

/// A model that works on host bytes.
pub trait HostModel: Send + Sync {
    /// Runs inputs `[rows, ..]` in the order of the signature; outputs come in its order, with as many rows.
    fn forward(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error>;
}
