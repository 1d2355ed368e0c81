//! A model's outputs with its scores behind them, in one pass over the logits: probabilities, class, confidence, margin, entropy and
//! the bin of a histogram.

use candle_core::{Device, Error, Result, Tensor, bail};
use sconce::device::LogitScores;
use sconce::device::wire::SCORES;
use sconce::model::CandleModel;
use sconce::types::{DataType, Presence, Signature, TensorSpec};
use sconce_kernels::score;

use super::side::Reading;
use super::{Fused, Side};

/// Which output of a model is scored, and how.
pub(crate) struct Scorer {
    output: usize,
    sharpness: f32,
    /// `F64 [bounds]` on the device.
    bounds: Tensor,
}

impl Scorer {
    /// `None` if that output is not what the kernel scores. Errors: the device has no memory for the bounds.
    pub(crate) fn new(scores: &LogitScores, signature: &Signature, device: &Device) -> Result<Option<Self>> {
        let LogitScores { output, sharpness, ref bounds } = *scores;
        let spec = signature.outputs.get(output);
        let is_rows = spec.is_some_and(|spec| spec.dtype == DataType::Fp32 && matches!(spec.row[..], [Some(_)]));
        let made = || Ok(Self { output, sharpness, bounds: Tensor::new(&bounds[..], device)? });
        is_rows.then(made).transpose()
    }

    /// The outputs in which scores are told.
    pub(crate) fn specs() -> [TensorSpec; 3] {
        let [classes, measures, bins] = SCORES.map(str::to_owned);
        let spec = |name, dtype, row| TensorSpec { name, dtype, row, presence: Presence::Required };
        [
            spec(classes, DataType::Uint32, Vec::new()),
            spec(measures, DataType::Fp32, vec![Some(3)]),
            spec(bins, DataType::Uint32, Vec::new()),
        ]
    }
}

/// What the kernel says of `F32 [rows, columns]` logits: classes `U32 [rows]`, measures `F32 [rows, 3]` and bins `U32 [rows]`; and
/// probabilities, `F32 [rows, columns]`, if they were wanted.
struct Scored {
    told: [Tensor; 3],
    probabilities: Option<Tensor>,
}

impl<S: Side> Fused<S> {
    /// All outputs of a model, and behind them its scores if there is a scorer. Where a softmax is among the outputs, the pass that
    /// scores makes it.
    pub(crate) fn forward(
        &self,
        model: &dyn CandleModel,
        inputs: &[Tensor],
        scorer: Option<&Scorer>,
    ) -> Result<Vec<Tensor>> {
        let Some(scorer) = scorer else { return model.forward(inputs) };
        let mut outputs = model.compute(inputs)?;
        let Some(logits) = outputs.get(scorer.output) else { bail!("the model gave no output {}", scorer.output) };
        let logits = logits.contiguous()?;
        // The kernel's probabilities are as sharp as the scores, and those of a single logit are of two classes.
        let is_softmax = scorer.sharpness.to_bits() == 1_f32.to_bits() && logits.dim(1)? > 1;
        let at_once = is_softmax && model.softmax_of() == Some(scorer.output);
        let Scored { told, probabilities } = self.score(&logits, scorer, at_once)?;
        let last = if at_once { probabilities } else { model.softmax(&outputs)? };
        outputs.extend(last.into_iter().chain(told));
        Ok(outputs)
    }

    fn score(&self, logits: &Tensor, scorer: &Scorer, wants_all: bool) -> Result<Scored> {
        let side = &*self.side;
        let (rows, columns) = logits.dims2()?;
        let (logits, bounds) = (Reading::of(logits)?, Reading::of(&scorer.bounds)?);
        let (mut classes, mut measures) = (self.room::<u32>(&[rows])?, self.room::<f32>(&[rows, 3])?);
        let mut bins = self.room::<u32>(&[rows])?;
        let mut probabilities = wants_all.then(|| self.room::<f32>(&[rows, columns])).transpose()?;
        let call = score::Score {
            logits: logits.view::<f32, S>(side)?,
            columns,
            sharpness: scorer.sharpness,
            classes: side.view_room(&mut classes)?,
            measures: side.view_room(&mut measures)?,
            probabilities: probabilities.as_mut().map(|room| side.view_room(room)).transpose()?,
            bins: Some(score::Bins { bounds: bounds.view(side)?, out: side.view_room(&mut bins)? }),
        };
        call.launch(side.driver()).map_err(Error::wrap)?;
        let told = [self.tensor(classes, &[rows]), self.tensor(measures, &[rows, 3]), self.tensor(bins, &[rows])];
        Ok(Scored { told, probabilities: probabilities.map(|room| self.tensor(room, &[rows, columns])) })
    }
}
