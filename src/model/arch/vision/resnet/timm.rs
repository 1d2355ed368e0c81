//! timm's residual networks, whose tensors have torchvision's names. Kind, depths and widths are found from the tensors.

use super::load;
use super::network::{Block, Names, Plan, first_dim};
use crate::model::arch::text::{LABELS_MAX, distinct};
use crate::model::arch::vision::processor::timm;
use crate::model::json::Json;
use crate::model::table::{HUB_CONFIG, HUB_WEIGHTS};
use crate::model::{LoadError, Loaded, Source, Weights};

/// Those whose parts are what torchvision's are.
pub(crate) const ARCHITECTURES: &[&str] =
    &["resnet18", "resnet26", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"];
/// What may stand in `model_args`: sizes, which the tensors tell as well, and what only training needs.
const ARGUMENTS: [&str; 10] = [
    "num_classes",
    "channels",
    "layers",
    "in_chans",
    "global_pool",
    "base_width",
    "drop_rate",
    "drop_path_rate",
    "drop_block_rate",
    "zero_init_last",
];
/// Most stages. Each halves the image.
const STAGES_MAX: usize = 16;
/// Most blocks of a stage.
const BLOCKS_MAX: usize = 1 << 10;
const CHANNELS_MAX: usize = 1 << 16;

/// Reads a folder that timm saved.
pub(crate) fn build(source: &Source<'_>) -> Result<Loaded, LoadError> {
    let config = Json::read(source.files, HUB_CONFIG)?;
    check_arguments(&config)?;
    let recipe = timm(&config)?;
    let weights = Weights::read(source.files, HUB_WEIGHTS)?;
    let plan = plan(&weights)?;
    load(source, weights, &plan, recipe, |classes| labels(&config, classes))
}

fn check_arguments(config: &Json) -> Result<(), LoadError> {
    if config.text("global_pool")?.is_some_and(|pool| pool != "avg") {
        return Err(config.unexpected("global_pool", "\"avg\""));
    }
    let Some(arguments) = config.object("model_args")? else { return Ok(()) };
    if let Some((key, _)) = arguments.entries().find(|(key, value)| !ARGUMENTS.contains(key) && !value.is_null()) {
        return Err(arguments.error(key, "networks built with this are not served"));
    }
    if arguments.text("global_pool")?.is_some_and(|pool| pool != "avg") {
        return Err(arguments.unexpected("global_pool", "\"avg\""));
    }
    Ok(())
}

fn plan(weights: &Weights) -> Result<Plan, LoadError> {
    let has = |stage: usize, block: usize, convolution: usize| {
        weights.dims(&format!("layer{}.{block}.conv{convolution}.weight", stage + 1)).is_some()
    };
    let block = if has(0, 0, 3) { Block::Bottleneck { strides_first: false } } else { Block::Basic };
    let last = block.convolutions(1).len();
    let mut stages = Vec::new();
    for stage in (0..STAGES_MAX).take_while(|stage| *stage == 0 || has(*stage, 0, 1)) {
        let blocks = (1..BLOCKS_MAX).take_while(|block| has(stage, *block, 1)).count() + 1;
        let channels = first_dim(weights, &format!("layer{}.0.conv{last}", stage + 1), CHANNELS_MAX)?;
        stages.push((blocks, channels));
    }
    Ok(Plan { names: NAMES, stem: first_dim(weights, "conv1", CHANNELS_MAX)?, stages, block, halves_first: false })
}

const NAMES: Names = Names {
    stem: ["conv1", "bn1"],
    block: |stage, block| format!("layer{}.{block}", stage + 1),
    convolution: |number| ["conv", "bn"].map(|part| format!("{part}{}", number + 1)),
    shortcut: ["downsample.0", "downsample.1"],
    classifier: "fc",
};

/// The name of each class; numbers where none are given.
fn labels(config: &Json, classes: usize) -> Result<Vec<String>, LoadError> {
    if config.size("num_classes", 1..=LABELS_MAX)?.is_some_and(|count| count != classes) {
        return Err(config.unexpected("num_classes", &format!("{classes}, as many as the weights have")));
    }
    let Some(names) = config.texts("label_names")? else {
        return Ok((0..classes).map(|class| class.to_string()).collect());
    };
    if names.len() != classes {
        let got = names.len();
        return Err(config.error("label_names", format!("expected a name for each of {classes} classes, got {got}")));
    }
    let described = config.object("label_descriptions")?;
    let name = |name: &&str| match described.as_ref().map(|described| described.text(name)).transpose()? {
        Some(Some(description)) => Ok(description.to_owned()),
        _ => Ok((*name).to_owned()),
    };
    Ok(distinct(names.iter().map(name).collect::<Result<_, LoadError>>()?))
}
