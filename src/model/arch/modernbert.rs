//! ModernBERT (Warner et al. 2024), as transformers' `modeling_modernbert.py` computes it: norms first, rotary positions, a gated
//! middle, and layers that see all of a text or only what is near.

use super::encoder::{AttentionShape, Biases, LayerNames, Names, Order, Plan, Pooling, Qkv, Rotary};
use super::text::{
    Classifier, Family, HIDDEN_MAX, INNER_MAX, LAYERS_MAX, POSITIONS_MAX, Positions, activation_of, head_width,
    refuse_unsupported, text_model, vocabulary_of,
};
use crate::model::json::Json;
use crate::model::{LoadError, Loaded, Source};

const FAMILY: Family = Family {
    platform: "candle_modernbert",
    prefix: "model.",
    names: Names {
        words: "embeddings.tok_embeddings",
        positions: "",
        types: "",
        embedded: "embeddings.norm",
        layers: "layers",
        layer: LayerNames {
            qkv: Qkv::Joined("attn.Wqkv"),
            attended: "attn.Wo",
            attention_norm: "attn_norm",
            up: "mlp.Wi",
            down: "mlp.Wo",
            inner_norm: "mlp_norm",
        },
        last: "final_norm",
    },
    plan,
    positions: |config| Ok(Positions::Rotary(positions(config)?)),
    classifier,
    unused: &["head.", "decoder."],
};

/// The kinds of layers, in the order of the plan's ways: the key of each's `rope_parameters`, and its theta where none is given.
const KINDS: [(&str, f64); 2] = [("full_attention", 160_000.0), ("sliding_attention", 10_000.0)];

/// Reads a Hugging Face folder of this family.
pub(crate) fn build(source: &Source<'_>) -> Result<Loaded, LoadError> {
    text_model(source, &FAMILY)
}

fn plan(config: &Json) -> Result<Plan, LoadError> {
    refuse_unsupported(config)?;
    let hidden = config.require_size("hidden_size", 1..=HIDDEN_MAX)?;
    let count = config.require_size("num_hidden_layers", 1..=LAYERS_MAX)?;
    let (heads, width) = head_width(config, "num_attention_heads", hidden)?;
    if width % 2 != 0 {
        return Err(config.error("num_attention_heads", format!("expected heads of even width, got {width}")));
    }
    let positions = positions(config)?;
    let way = |kind: usize, reach| -> Result<AttentionShape, LoadError> {
        Ok(AttentionShape { heads, width, reach, rotary: Some(Rotary { theta: theta(config, kind)?, positions }) })
    };
    // The window is told whole, and half of it lies to either side, the ends included.
    let window = config.size("local_attention", 1..=POSITIONS_MAX)?.unwrap_or(128);
    let flag = |key, default| config.flag(key).map(|flag| flag.unwrap_or(default));
    Ok(Plan {
        hidden,
        inner: config.require_size("intermediate_size", 1..=INNER_MAX)?,
        vocabulary: vocabulary_of(config)?,
        positions: None,
        types: None,
        ways: vec![way(0, None)?, way(1, Some(window / 2))?],
        layers: kinds(config, count)?,
        order: Order::Before,
        starts_with_norm: false,
        activation: activation_of(config, "hidden_activation")?,
        is_gated: true,
        has_qkv_bias: flag("attention_bias", false)?,
        biases: Biases {
            attention: flag("attention_bias", false)?,
            inner: flag("mlp_bias", false)?,
            norms: flag("norm_bias", false)?,
        },
        eps: config.number("norm_eps", 0.0..=1.0)?.unwrap_or(1e-5),
    })
}

fn positions(config: &Json) -> Result<usize, LoadError> {
    config.require_size("max_position_embeddings", 1..=POSITIONS_MAX)
}

/// Which kind each layer is: listed by transformers 5, else every n-th sees all.
fn kinds(config: &Json, count: usize) -> Result<Vec<usize>, LoadError> {
    let Some(listed) = config.texts("layer_types")? else {
        let every = config.size("global_attn_every_n_layers", 1..=LAYERS_MAX)?.unwrap_or(3);
        return Ok((0..count).map(|layer| usize::from(layer % every != 0)).collect());
    };
    if listed.len() != count {
        return Err(config.error("layer_types", format!("expected {count} layers, got {}", listed.len())));
    }
    let kind = |name: &str| KINDS.iter().position(|(known, _)| *known == name);
    let unknown = |name: &str| {
        config.error("layer_types", format!("expected full_attention or sliding_attention, got \"{name}\""))
    };
    listed.into_iter().map(|name| kind(name).ok_or_else(|| unknown(name))).collect()
}

/// The base of rotary positions, under transformers 5's key or the older one.
fn theta(config: &Json, kind: usize) -> Result<f64, LoadError> {
    const THETAS: std::ops::RangeInclusive<f64> = 1.0..=1e12;
    let (name, default) = KINDS.get(kind).copied().unwrap_or(KINDS[0]);
    if let Some(parameters) = config.object("rope_parameters")?
        && let Some(own) = parameters.object(name)?
    {
        if own.text("rope_type")?.is_some_and(|kind| kind != "default") {
            return Err(own.unexpected("rope_type", "\"default\""));
        }
        return Ok(own.number("rope_theta", THETAS)?.unwrap_or(default));
    }
    let older = if kind == 0 { "global_rope_theta" } else { "local_rope_theta" };
    Ok(config.number(older, THETAS)?.unwrap_or(default))
}

fn classifier(config: &Json) -> Result<Classifier, LoadError> {
    let pooling = match config.text("classifier_pooling")? {
        None | Some("cls") => Pooling::First,
        Some("mean") => Pooling::Mean,
        Some(_) => return Err(config.unexpected("classifier_pooling", "\"cls\" or \"mean\"")),
    };
    Ok(Classifier {
        pooling,
        dense: "head.dense",
        dense_bias: config.flag("classifier_bias")?.unwrap_or(false),
        activation: activation_of(config, "classifier_activation")?,
        norm: Some("head.norm"),
        out: "classifier",
    })
}
