//! DistilBERT (Sanh et al. 2019), as transformers' `modeling_distilbert.py` computes it: BERT without token types and pooler.

use super::encoder::{Activation, LayerNames, Names, Plan, Pooling, Qkv};
use super::text::{Classifier, Family, Keys, Positions, plan_of, text_model};
use crate::model::json::Json;
use crate::model::{LoadError, Loaded, Source};

const FAMILY: Family = Family {
    platform: "candle_distilbert",
    prefix: "distilbert.",
    names: Names {
        words: "embeddings.word_embeddings",
        positions: "embeddings.position_embeddings",
        types: "",
        embedded: "embeddings.LayerNorm",
        layers: "transformer.layer",
        layer: LayerNames {
            qkv: Qkv::Apart(["attention.q_lin", "attention.k_lin", "attention.v_lin"]),
            attended: "attention.out_lin",
            attention_norm: "sa_layer_norm",
            up: "ffn.lin1",
            down: "ffn.lin2",
            inner_norm: "output_layer_norm",
        },
        last: "",
    },
    plan,
    positions: |_| Ok(Positions::Counted),
    classifier: |_| Ok(CLASSIFIER),
    unused: &["pre_classifier.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector."],
};

const KEYS: Keys =
    Keys { hidden: "dim", layers: "n_layers", heads: "n_heads", inner: "hidden_dim", activation: "activation" };

const CLASSIFIER: Classifier = Classifier {
    pooling: Pooling::First,
    dense: "pre_classifier",
    dense_bias: true,
    activation: Activation::Relu,
    norm: None,
    out: "classifier",
};

/// Reads a Hugging Face folder of this family.
pub(crate) fn build(source: &Source<'_>) -> Result<Loaded, LoadError> {
    text_model(source, &FAMILY)
}

fn plan(config: &Json) -> Result<Plan, LoadError> {
    plan_of(config, &KEYS, None)
}
