//! transformers' `ResNetForImageClassification`.

use super::load;
use super::network::{Block, Names, Plan};
use crate::model::arch::text::{labels, refuse_unsupported};
use crate::model::arch::vision::classifier::check_task;
use crate::model::arch::vision::processor::{Kind, hub};
use crate::model::json::Json;
use crate::model::table::{HUB_CONFIG, HUB_WEIGHTS};
use crate::model::{LoadError, Loaded, Source, Weights};

const CHANNELS_MAX: usize = 1 << 16;
const BLOCKS_MAX: usize = 1 << 10;

/// Reads a Hugging Face folder.
pub(crate) fn build(source: &Source<'_>) -> Result<Loaded, LoadError> {
    let config = Json::read(source.files, HUB_CONFIG)?;
    check_task(&config)?;
    refuse_unsupported(&config)?;
    let plan = plan(&config)?;
    let recipe = hub(source.files, Kind::CONVNEXT)?;
    let weights = Weights::read(source.files, HUB_WEIGHTS)?;
    load(source, weights, &plan, recipe, |classes| labels(&config, classes))
}

fn plan(config: &Json) -> Result<Plan, LoadError> {
    let block = match config.text("layer_type")? {
        Some("basic") => Block::Basic,
        None | Some("bottleneck") => {
            Block::Bottleneck { strides_first: config.flag("downsample_in_bottleneck")?.unwrap_or(false) }
        }
        Some(_) => return Err(config.unexpected("layer_type", "basic or bottleneck")),
    };
    if config.text("hidden_act")?.is_some_and(|activation| activation != "relu") {
        return Err(config.unexpected("hidden_act", "\"relu\""));
    }
    let channels = config.sizes("hidden_sizes", 1..=CHANNELS_MAX)?.unwrap_or_else(|| vec![256, 512, 1024, 2048]);
    let depths = config.sizes("depths", 1..=BLOCKS_MAX)?.unwrap_or_else(|| vec![3, 4, 6, 3]);
    if channels.is_empty() || channels.len() != depths.len() {
        let reason = format!("expected as many as `hidden_sizes`, {}, got {}", channels.len(), depths.len());
        return Err(config.error("depths", reason));
    }
    Ok(Plan {
        names: NAMES,
        stem: config.size("embedding_size", 1..=CHANNELS_MAX)?.unwrap_or(64),
        stages: depths.into_iter().zip(channels).collect(),
        block,
        halves_first: config.flag("downsample_in_first_stage")?.unwrap_or(false),
    })
}

const NAMES: Names = Names {
    stem: ["resnet.embedder.embedder.convolution", "resnet.embedder.embedder.normalization"],
    block: |stage, block| format!("resnet.encoder.stages.{stage}.layers.{block}"),
    convolution: |number| ["convolution", "normalization"].map(|part| format!("layer.{number}.{part}")),
    shortcut: ["shortcut.convolution", "shortcut.normalization"],
    classifier: "classifier.1",
};
