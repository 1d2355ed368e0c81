//! What families of text models have in common in their `config.json`: sizes in range, and no key that changes the arithmetic in
//! a way that is not computed here.

use serde_json::Value;

use super::super::encoder::{Activation, AttentionShape, Biases, Order, Plan};
use crate::model::LoadError;
use crate::model::json::Json;

/// Largest sizes. Far beyond any encoder's; their products are far below what overflows.
pub(in crate::model::arch) const HIDDEN_MAX: usize = 1 << 14;
pub(in crate::model::arch) const INNER_MAX: usize = 1 << 17;
pub(in crate::model::arch) const LAYERS_MAX: usize = 512;
pub(in crate::model::arch) const POSITIONS_MAX: usize = 1 << 16;
const HEADS_MAX: usize = 1 << 10;
const VOCABULARY_MAX: usize = 1 << 22;
const TYPES_MAX: usize = 1 << 10;

/// Names that transformers gives to activations.
const ACTIVATIONS: [(&str, Activation); 9] = [
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
];

/// What a family's sizes are called.
pub(in crate::model::arch) struct Keys {
    pub(in crate::model::arch) hidden: &'static str,
    pub(in crate::model::arch) layers: &'static str,
    pub(in crate::model::arch) heads: &'static str,
    pub(in crate::model::arch) inner: &'static str,
    pub(in crate::model::arch) activation: &'static str,
}

/// The plan of a model built as BERT is. `types` is how many token types there are where the file does not tell; `None` if the
/// family has none.
pub(in crate::model::arch) fn plan_of(config: &Json, keys: &Keys, types: Option<usize>) -> Result<Plan, LoadError> {
    refuse_unsupported(config)?;
    let hidden = config.require_size(keys.hidden, 1..=HIDDEN_MAX)?;
    let (heads, width) = head_width(config, keys.heads, hidden)?;
    let layers = config.require_size(keys.layers, 1..=LAYERS_MAX)?;
    let types = match types {
        Some(default) => Some(config.size("type_vocab_size", 1..=TYPES_MAX)?.unwrap_or(default)),
        None => None,
    };
    Ok(Plan {
        hidden,
        inner: config.require_size(keys.inner, 1..=INNER_MAX)?,
        vocabulary: vocabulary_of(config)?,
        positions: Some(config.require_size("max_position_embeddings", 1..=POSITIONS_MAX)?),
        types,
        ways: vec![AttentionShape { heads, width, reach: None, rotary: None }],
        layers: vec![0; layers],
        order: Order::After,
        starts_with_norm: false,
        activation: activation_of(config, keys.activation)?,
        is_gated: false,
        biases: Biases::ALL,
        has_qkv_bias: true,
        eps: config.number("layer_norm_eps", 0.0..=1.0)?.unwrap_or(1e-12),
    })
}

/// Heads, and the width of each.
pub(in crate::model::arch) fn head_width(config: &Json, key: &str, hidden: usize) -> Result<(usize, usize), LoadError> {
    let heads = config.require_size(key, 1..=HEADS_MAX)?;
    if !hidden.is_multiple_of(heads) {
        return Err(config.error(key, format!("expected a divisor of the width {hidden}, got {heads}")));
    }
    Ok((heads, hidden / heads))
}

pub(in crate::model::arch) fn vocabulary_of(config: &Json) -> Result<usize, LoadError> {
    config.require_size("vocab_size", 1..=VOCABULARY_MAX)
}

/// The padding's id, if there is one.
pub(in crate::model::arch) fn padding_of(config: &Json) -> Result<Option<u32>, LoadError> {
    let padding = config.size("pad_token_id", 0..=vocabulary_of(config)?.saturating_sub(1))?;
    Ok(padding.and_then(|padding| u32::try_from(padding).ok()))
}

/// The activation under this key; the exact GELU where none is named.
pub(in crate::model::arch) fn activation_of(config: &Json, key: &str) -> Result<Activation, LoadError> {
    let Some(name) = config.text(key)? else { return Ok(Activation::Gelu) };
    let known = ACTIVATIONS.iter().find(|(known, _)| *known == name);
    known.map(|(_, activation)| *activation).ok_or_else(|| {
        let known: Vec<_> = ACTIVATIONS.iter().map(|(known, _)| *known).collect();
        config.unexpected(key, &format!("one of {}", known.join(", ")))
    })
}

/// Refuses what would change the arithmetic.
pub(in crate::model::arch) fn refuse_unsupported(config: &Json) -> Result<(), LoadError> {
    for key in ["is_decoder", "is_encoder_decoder", "add_cross_attention", "tie_encoder_decoder"] {
        if config.flag(key)? == Some(true) {
            return Err(config.error(key, "only encoders that read a text as a whole are served"));
        }
    }
    if config.text("position_embedding_type")?.is_some_and(|kind| kind != "absolute") {
        return Err(config.unexpected("position_embedding_type", "\"absolute\""));
    }
    let is_used = |value: &Value| !value.as_object().is_some_and(serde_json::Map::is_empty);
    for key in ["quantization_config", "pruned_heads", "adapters"] {
        if config.get(key).is_some_and(is_used) {
            return Err(config.error(key, "models with this are not served"));
        }
    }
    Ok(())
}
