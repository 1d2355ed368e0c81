//! Text models from Hugging Face folders: what a folder says the model is for, and the parts put together for it.
//!
//! `config` reads what families share, `task` decides between embeddings, classes and scores, `modules` reads what
//! sentence-transformers adds, `head` computes it, and `tokens` makes rows of texts or ids.

mod config;
mod head;
mod labels;
mod modules;
mod task;

#[cfg(test)]
mod tests;
mod tokens;

use candle_core::{Tensor, bail};

pub(super) use self::config::{
    HIDDEN_MAX, INNER_MAX, Keys, LAYERS_MAX, POSITIONS_MAX, activation_of, head_width, padding_of, plan_of,
    refuse_unsupported, vocabulary_of,
};
use self::head::Head;
pub(super) use self::labels::{LABELS_MAX, distinct, labels};
use self::task::Task;
use self::tokens::{Limits, Tokens};
use super::super::json::Json;
use super::super::table::{HUB_CONFIG, HUB_WEIGHTS};
use super::super::{About, CandleModel, Declared, Files, LoadError, Loaded, Model, Scoring, Source, Weights};
use super::encoder::{Activation, Encoder, Fused, Names, Operators, Parts, Plan, Pooling, Portable};
use crate::types::{Signature, TensorSpec};

/// Buffers of torch modules that a running model does not need.
const UNUSED_BUFFERS: [&str; 3] = ["embeddings.position_ids", "embeddings.token_type_ids", "rotary_emb.inv_freq"];

/// What tells one family of text models from another.
pub(super) struct Family {
    /// As model metadata names it.
    pub(super) platform: &'static str,
    /// What its tensors' names begin with, where a head stands beside the encoder.
    pub(super) prefix: &'static str,
    pub(super) names: Names,
    pub(super) plan: fn(&Json) -> Result<Plan, LoadError>,
    pub(super) positions: fn(&Json) -> Result<Positions, LoadError>,
    pub(super) classifier: fn(&Json) -> Result<Classifier, LoadError>,
    /// What the names of tensors begin with that only training, or another task, needs.
    pub(super) unused: &'static [&'static str],
}

/// How a family tells tokens' positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Positions {
    /// From 0, in a table.
    Counted,
    /// In a table, from the padding's id on; tokens that have that id stand still at it.
    AfterPadding(u32),
    /// By rotation, for so many positions.
    Rotary(usize),
}

/// A family's classifier: a vector for each row, a product with an activation, a norm perhaps, and a product to the classes.
pub(super) struct Classifier {
    pub(super) pooling: Pooling,
    /// Name of the first product.
    pub(super) dense: &'static str,
    pub(super) dense_bias: bool,
    pub(super) activation: Activation,
    pub(super) norm: Option<&'static str>,
    /// Name of the second.
    pub(super) out: &'static str,
}

/// Reads a Hugging Face folder of this family.
pub(super) fn text_model(source: &Source<'_>, family: &Family) -> Result<Loaded, LoadError> {
    let config = Json::read(source.files, HUB_CONFIG)?;
    let plan = (family.plan)(&config)?;
    let task = Task::of(source.files, &config, plan.hidden)?;
    let limits = Limits::new(&plan, (family.positions)(&config)?, padding_of(&config)?)
        .ok_or_else(|| config.error("max_position_embeddings", "no position is left for a token"))?;
    let tokens = Tokens::read(source.files, limits, &task)?;
    let folder = Folder { files: source.files, config, plan, task };
    let (model, outputs, scores) = match &source.target.kernels {
        Some(kernels) => folder.assemble(family, Fused::new(source.target, kernels))?,
        None => folder.assemble(family, Portable::new(&source.target.device))?,
    };
    let signature = Signature { inputs: tokens.inputs().to_vec(), outputs };
    let scoring = Scoring::resolve(&signature, Some(&scores), &source.config.confidence)?;
    let prepare = Some(std::sync::Arc::new(tokens) as std::sync::Arc<dyn super::super::Prepare>);
    let about = About { signature, prepare, scoring, platform: family.platform };
    Ok(Loaded { about, model: Model::Candle(model) })
}

/// What has been read of a folder, but for its weights.
struct Folder<'a> {
    files: &'a Files,
    config: Json,
    plan: Plan,
    task: Task,
}

impl Folder<'_> {
    /// Puts the weights together: the model, what it gives, and how that is scored.
    fn assemble<O: Operators + 'static>(self, family: &Family, operators: O) -> Result<Assembled, LoadError> {
        let Self { files, config, plan, task } = self;
        let weights = Weights::read(files, HUB_WEIGHTS)?;
        let words = format!("{}{}.weight", family.prefix, family.names.words);
        let prefix = if weights.dims(&words).is_some() { family.prefix } else { "" };
        let encoder = Encoder::new(&Parts { operators: &operators, weights: &weights, prefix }, &plan, &family.names)?;
        let parts = Parts { operators: &operators, weights: &weights, prefix: "" };
        let head = match task {
            Task::Embed(modules) => {
                weights.ignore_prefixes(&["classifier."]);
                Head::embed(&parts, files, &modules, plan.hidden)?
            }
            Task::Classify(meaning) => Head::classify(&parts, &config, &(family.classifier)(&config)?, meaning, &plan)?,
        };
        // What the head took is not among what is left.
        weights.ignore_prefixes(family.unused);
        weights.finish(&UNUSED_BUFFERS)?;
        let (outputs, scores) = (head.outputs(), head.scores());
        Ok((Box::new(TextModel { operators, encoder, head }), outputs, scores))
    }
}

type Assembled = (Box<dyn CandleModel>, Vec<TensorSpec>, Declared);

/// An encoder and what is made of its rows.
struct TextModel<O: Operators> {
    operators: O,
    encoder: Encoder<O>,
    head: Head<O>,
}

impl<O: Operators> CandleModel for TextModel<O> {
    fn compute(&self, inputs: &[Tensor]) -> candle_core::Result<Vec<Tensor>> {
        let Some((offsets, inputs)) = inputs.split_last() else { bail!("expected packed rows, got no inputs") };
        let offsets: Vec<usize> = offsets.to_vec1::<u32>()?.into_iter().map(|offset| offset as usize).collect();
        let batch = self.encoder.batch(&self.operators, &offsets, inputs)?;
        let rows = self.encoder.forward(&self.operators, &batch)?;
        self.head.compute(&self.operators, &batch, &rows)
    }

    fn softmax_of(&self) -> Option<usize> {
        self.head.softmax_of()
    }
}
