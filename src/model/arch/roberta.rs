//! RoBERTa (Liu et al. 2019) and XLM-RoBERTa, as transformers' `modeling_roberta.py` computes them: BERT whose positions are
//! counted from the padding's id, and whose classifier has a layer of its own.

use super::bert::{KEYS, NAMES};
use super::encoder::{Activation, Plan, Pooling};
use super::text::{Classifier, Family, Positions, padding_of, plan_of, text_model};
use crate::model::json::Json;
use crate::model::{LoadError, Loaded, Source};

const FAMILY: Family = Family {
    platform: "candle_roberta",
    prefix: "roberta.",
    names: NAMES,
    plan,
    positions: |config| Ok(Positions::AfterPadding(padding_of(config)?.unwrap_or(PADDING))),
    classifier: |_| Ok(CLASSIFIER),
    unused: &["pooler.", "roberta.pooler.", "lm_head."],
};

/// The padding's id where the file does not tell.
const PADDING: u32 = 1;

const CLASSIFIER: Classifier = Classifier {
    pooling: Pooling::First,
    dense: "classifier.dense",
    dense_bias: true,
    activation: Activation::Tanh,
    norm: None,
    out: "classifier.out_proj",
};

/// Reads a Hugging Face folder of this family.
pub(crate) fn build(source: &Source<'_>) -> Result<Loaded, LoadError> {
    text_model(source, &FAMILY)
}

fn plan(config: &Json) -> Result<Plan, LoadError> {
    plan_of(config, &KEYS, Some(2))
}
