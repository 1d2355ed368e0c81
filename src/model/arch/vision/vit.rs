//! `ViT` (Dosovitskiy et al. 2020), as transformers' `modeling_vit.py` computes it: patches of an image as the tokens of the
//! encoder.

use candle_core::{DType, Tensor, bail};

use super::super::encoder::{
    AttentionShape, Biases, Fused, LayerNames, Layers, Names, Operators, Order, Parts, Plan, Pooling, Portable, Qkv,
    Then,
};
use super::super::text::{
    HIDDEN_MAX, INNER_MAX, LABELS_MAX, LAYERS_MAX, activation_of, head_width, labels, refuse_unsupported,
};
use super::SIDE_MAX;
use super::classifier::{self, check_task, classifier};
use super::processor::{Kind, Recipe, hub};
use crate::model::json::Json;
use crate::model::table::{HUB_CONFIG, HUB_WEIGHTS};
use crate::model::{CandleModel, LoadError, Loaded, Source, Weights};

/// Most tokens of an image.
const TOKENS_MAX: usize = 1 << 14;
const NAMES: Names = Names {
    words: "",
    positions: "embeddings.position_embeddings",
    types: "",
    embedded: "",
    layers: "encoder.layer",
    layer: LayerNames {
        qkv: Qkv::Apart(["attention.attention.query", "attention.attention.key", "attention.attention.value"]),
        attended: "attention.output.dense",
        attention_norm: "layernorm_before",
        up: "intermediate.dense",
        down: "output.dense",
        inner_norm: "layernorm_after",
    },
    last: "layernorm",
};
const FIRST: &str = "embeddings.cls_token";
const PROJECTION: &str = "embeddings.patch_embeddings.projection";
const CLASSIFIER: &str = "classifier";

/// How an image is cut into patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grid {
    /// Side of a patch.
    patch: usize,
    /// Patches down and across.
    down: usize,
    across: usize,
}

/// Reads a Hugging Face folder.
pub(crate) fn build(source: &Source<'_>) -> Result<Loaded, LoadError> {
    let config = Json::read(source.files, HUB_CONFIG)?;
    check_task(&config)?;
    let plan = plan(&config)?;
    let grid = grid(&config)?;
    let sides = [grid.down * grid.patch, grid.across * grid.patch];
    let recipe = hub(source.files, Kind::VIT)?;
    if let Some((width, height)) = recipe.as_ref().and_then(Recipe::size)
        && [height, width] != sides
    {
        let [own_height, own_width] = sides;
        let reason = format!("expected {height} x {width}, as preprocessor_config.json makes images, got");
        return Err(config.error("image_size", format!("{reason} {own_height} x {own_width}")));
    }
    let weights = Weights::read(source.files, HUB_WEIGHTS)?;
    let (network, classes) = match &source.target.kernels {
        Some(kernels) => network(Fused::new(source.target, kernels), &weights, &plan, grid)?,
        None => network(Portable::new(&source.target.device), &weights, &plan, grid)?,
    };
    let labels = labels(&config, classes)?;
    weights.ignore_prefixes(&["vit.pooler."]);
    weights.finish(&[])?;
    classifier(source, classifier::Parts { platform: "candle_vit", recipe, sides, labels, network })
}

/// The network, and how many classes it tells.
fn network<O: Operators + 'static>(
    operators: O,
    weights: &Weights,
    plan: &Plan,
    grid: Grid,
) -> Result<(Box<dyn CandleModel>, usize), LoadError> {
    let network = Vit::new(operators, weights, plan, grid)?;
    let classes = network.classes;
    Ok((Box::new(network), classes))
}

fn plan(config: &Json) -> Result<Plan, LoadError> {
    refuse_unsupported(config)?;
    let hidden = config.require_size("hidden_size", 1..=HIDDEN_MAX)?;
    let (heads, width) = head_width(config, "num_attention_heads", hidden)?;
    let layers = config.require_size("num_hidden_layers", 1..=LAYERS_MAX)?;
    Ok(Plan {
        hidden,
        inner: config.require_size("intermediate_size", 1..=INNER_MAX)?,
        vocabulary: 0,
        positions: None,
        types: None,
        ways: vec![AttentionShape { heads, width, reach: None, rotary: None }],
        layers: vec![0; layers],
        order: Order::Before,
        starts_with_norm: true,
        activation: activation_of(config, "hidden_act")?,
        is_gated: false,
        biases: Biases::ALL,
        has_qkv_bias: config.flag("qkv_bias")?.unwrap_or(true),
        eps: config.number("layer_norm_eps", 0.0..=1.0)?.unwrap_or(1e-12),
    })
}

fn grid(config: &Json) -> Result<Grid, LoadError> {
    let [height, width] = pair(config, "image_size", 224)?;
    let [patch, patch_width] = pair(config, "patch_size", 16)?;
    if patch != patch_width {
        return Err(config.error("patch_size", "only square patches are served"));
    }
    if height % patch != 0 || width % patch != 0 {
        return Err(config.error("patch_size", format!("expected a divisor of {height} and {width}, got {patch}")));
    }
    let grid = Grid { patch, down: height / patch, across: width / patch };
    if grid.down * grid.across >= TOKENS_MAX {
        let got = grid.down * grid.across;
        return Err(config.error("patch_size", format!("expected fewer than {TOKENS_MAX} patches, got {got}")));
    }
    Ok(grid)
}

/// A height and a width; one number stands for both.
fn pair(config: &Json, key: &str, usual: usize) -> Result<[usize; 2], LoadError> {
    if !config.get(key).is_some_and(serde_json::Value::is_array) {
        let side = config.size(key, 1..=SIDE_MAX)?.unwrap_or(usual);
        return Ok([side; 2]);
    }
    let sides = config.sizes(key, 1..=SIDE_MAX)?.unwrap_or_default();
    <[usize; 2]>::try_from(sides).map_err(|_| config.unexpected(key, "a side, or a height and a width"))
}

/// The network.
struct Vit<O: Operators> {
    operators: O,
    grid: Grid,
    projection: O::Linear,
    /// `[1, 1, hidden]`, its position added.
    first: Tensor,
    /// `[1, patches, hidden]`
    positions: Tensor,
    layers: Layers<O>,
    classifier: O::Linear,
    classes: usize,
}

impl<O: Operators> Vit<O> {
    fn new(operators: O, weights: &Weights, plan: &Plan, grid: Grid) -> Result<Self, LoadError> {
        let parts = Parts { operators: &operators, weights, prefix: "vit." };
        let (hidden, tokens) = (plan.hidden, grid.down * grid.across + 1);
        let layers = Layers::new(&parts, plan, &NAMES)?;
        let weight = parts.take(&format!("{PROJECTION}.weight"), &[hidden, 3, grid.patch, grid.patch])?;
        let bias = parts.take(&format!("{PROJECTION}.bias"), &[hidden])?;
        let first = parts.take(FIRST, &[1, 1, hidden])?;
        let positions = parts.take(NAMES.positions, &[1, tokens, hidden])?;
        let put = || {
            let projection = operators.linear(weight.flatten_from(1)?, Some(bias))?;
            let first = operators.table(first.add(&positions.narrow(1, 0, 1)?)?)?;
            let positions = operators.table(positions.narrow(1, 1, tokens - 1)?)?;
            Ok((projection, first, positions))
        };
        let (projection, first, positions) = put().map_err(|error| parts.failed(PROJECTION, &error))?;
        let (classifier, classes) = head(&Parts { operators: &operators, weights, prefix: "" }, hidden)?;
        Ok(Self { operators, grid, projection, first, positions, layers, classifier, classes })
    }

    /// `[rows · patches, 3 · patch · patch]`, in the order of the projection's weights.
    fn patches(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        let Grid { patch, down, across } = self.grid;
        let rows = pixels.dim(0)?;
        let cut = pixels.reshape(&[rows, 3, down, patch, across, patch][..])?.permute([0, 2, 4, 1, 3, 5])?;
        cut.reshape((rows * down * across, 3 * patch * patch))
    }
}

fn head<O: Operators>(parts: &Parts<'_, O>, hidden: usize) -> Result<(O::Linear, usize), LoadError> {
    let name = format!("{CLASSIFIER}.weight");
    let dims = parts.weights.dims(&name).ok_or_else(|| parts.weights.missing(&name))?;
    let classes = dims.first().copied().unwrap_or_default();
    if !(1..=LABELS_MAX).contains(&classes) {
        let reason = format!("tensor \"{name}\": expected 1 to {LABELS_MAX} classes, got shape {dims:?}");
        return Err(LoadError::new(HUB_WEIGHTS, reason));
    }
    Ok((parts.linear(CLASSIFIER, (classes, hidden), true)?, classes))
}

impl<O: Operators> CandleModel for Vit<O> {
    fn compute(&self, inputs: &[Tensor]) -> candle_core::Result<Vec<Tensor>> {
        let [pixels] = inputs else { bail!("expected one input, got {}", inputs.len()) };
        let (rows, patches) = (pixels.dim(0)?, self.grid.down * self.grid.across);
        let projected = self.operators.project(&self.projection, &self.patches(pixels)?, Then::Nothing)?;
        let hidden = projected.dim(1)?;
        let placed = projected.reshape((rows, patches, hidden))?.broadcast_add(&self.positions)?;
        let first = self.first.broadcast_as((rows, 1, hidden))?;
        let tokens = Tensor::cat(&[&first.contiguous()?, &placed], 1)?.reshape((rows * (patches + 1), hidden))?;
        let offsets: Vec<usize> = (0..=rows).map(|row| row * (patches + 1)).collect();
        let batch = self.operators.batch(&offsets, &[], self.layers.ways())?;
        let seen = self.layers.forward(&self.operators, &batch, tokens)?;
        let pooled = self.operators.pool(Pooling::First, &batch, &seen)?;
        Ok(vec![self.operators.project(&self.classifier, &pooled, Then::Nothing)?.to_dtype(DType::F32)?])
    }
}
