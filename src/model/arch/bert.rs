//! BERT (Devlin et al. 2018), as transformers' `modeling_bert.py` computes it.

use super::encoder::{Activation, LayerNames, Names, Plan, Pooling, Qkv};
use super::text::{Classifier, Family, Keys, Positions, plan_of, text_model};
use crate::model::json::Json;
use crate::model::{LoadError, Loaded, Source};

const FAMILY: Family = Family {
    platform: "candle_bert",
    prefix: "bert.",
    names: NAMES,
    plan,
    positions: |_| Ok(Positions::Counted),
    classifier: |_| Ok(CLASSIFIER),
    unused: &["pooler.", "bert.pooler.", "cls."],
};

/// Names of the layers are those of RoBERTa as well.
pub(super) const NAMES: Names = Names {
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    types: "embeddings.token_type_embeddings",
    embedded: "embeddings.LayerNorm",
    layers: "encoder.layer",
    layer: LayerNames {
        qkv: Qkv::Apart(["attention.self.query", "attention.self.key", "attention.self.value"]),
        attended: "attention.output.dense",
        attention_norm: "attention.output.LayerNorm",
        up: "intermediate.dense",
        down: "output.dense",
        inner_norm: "output.LayerNorm",
    },
    last: "",
};

/// What sizes are called; RoBERTa's are the same.
pub(super) const KEYS: Keys = Keys {
    hidden: "hidden_size",
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    inner: "intermediate_size",
    activation: "hidden_act",
};

const CLASSIFIER: Classifier = Classifier {
    pooling: Pooling::First,
    dense: "bert.pooler.dense",
    dense_bias: true,
    activation: Activation::Tanh,
    norm: None,
    out: "classifier",
};

/// Reads a Hugging Face folder of this family.
pub(crate) fn build(source: &Source<'_>) -> Result<Loaded, LoadError> {
    text_model(source, &FAMILY)
}

fn plan(config: &Json) -> Result<Plan, LoadError> {
    plan_of(config, &KEYS, Some(2))
}
