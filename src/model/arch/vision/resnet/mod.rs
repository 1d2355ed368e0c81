//! Residual networks (He et al. 2015), with the stride in a bottleneck's 3x3 ("v1.5") or its first convolution.
//!
//! Their steps are those of a declared network, so that they run as one does. `hub` reads transformers' folders, `timm` timm's,
//! which have torchvision's names.

mod hub;
mod network;
mod timm;

pub(crate) use self::hub::build as build_hub;
pub(crate) use self::timm::{ARCHITECTURES as TIMM, build as build_timm};

use self::network::{Plan, network};
use super::classifier::{Parts, classifier};
use super::processor::Recipe;
use crate::model::arch::network::assemble;
use crate::model::table::HUB_WEIGHTS;
use crate::model::weights::one_line;
use crate::model::{LoadError, Loaded, Source, Weights};

/// Side of what a network takes where no folder says otherwise: it was trained so.
const SIDE: usize = 224;
/// Buffers of torch modules that a running model does not need.
const UNUSED_BUFFERS: [&str; 1] = [".num_batches_tracked"];

/// Builds the network that `plan` tells. `labels` are given the number of classes.
fn load(
    source: &Source<'_>,
    weights: Weights,
    plan: &Plan,
    recipe: Option<Recipe>,
    labels: impl FnOnce(usize) -> Result<Vec<String>, LoadError>,
) -> Result<Loaded, LoadError> {
    let (width, height) = recipe.as_ref().and_then(Recipe::size).unwrap_or((SIDE, SIDE));
    let dims = [3, height, width];
    let (steps, classes) = network(plan, &dims, &weights)?;
    weights.finish(&UNUSED_BUFFERS)?;
    let labels = labels(classes)?;
    let network = assemble(steps, &dims, source.target)
        .map_err(|error| LoadError::new(HUB_WEIGHTS, format!("cannot be put on the device: {}", one_line(&error))))?;
    classifier(source, Parts { platform: "candle_resnet", recipe, sides: [height, width], labels, network })
}
