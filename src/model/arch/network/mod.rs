//! A feed-forward network that is declared as a list of layers, with weights named as `torch.nn.Sequential` names them.
//!
//! `declared` and `layer` read `network.toml`; `plan` meets it with the weights and checks every shape; `fold` makes the
//! steps fewer; `cpu` runs them on the processor in one pass over plain memory, `portable` on any other candle device.

mod cpu;
mod declared;
mod fold;
pub(super) mod layer;
mod plan;
mod portable;
pub(super) mod step;
#[cfg(test)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the numbers of tests are small")]
mod tests;

use self::declared::Declared;
use self::layer::{Activation, Kind};
pub(super) use self::plan::narrow;
use self::step::Step;
use super::super::weights::one_line;
use super::super::{About, CandleModel, LoadError, Loaded, Model, Scoring, Source, Target, Weights};
use super::read_declaration;
use crate::config::ScoreKind;
use crate::types::{DataType, Presence, Signature, TensorSpec};

const DECLARATION: &str = "network.toml";
const WEIGHTS: &str = "model.safetensors";
/// Buffers of torch modules that a running model does not need.
const IGNORED_TENSORS: [&str; 1] = [".num_batches_tracked"];

/// Reads `network.toml` and `model.safetensors`, and checks every layer and tensor.
pub(crate) fn build(source: &Source<'_>) -> Result<Loaded, LoadError> {
    let declared = read_declaration(source.files, DECLARATION, Declared::read)?;
    let weights = Weights::read(source.files, WEIGHTS)?;
    let steps = plan::plan(DECLARATION, &declared.dims, &declared.layers, &weights)?;
    weights.finish(&IGNORED_TENSORS)?;
    let output = steps.last().map_or_else(|| declared.dims.clone(), |step| step.to.clone());
    let signature = Signature {
        inputs: vec![spec(&declared.input, &declared.dims)],
        outputs: vec![spec(&declared.output, &output)],
    };
    let scores = meaning(&declared, &output);
    let scoring = Scoring::resolve(&signature, Some(&scores), &source.config.confidence)?;
    let model = assemble(steps, &declared.dims, source.target)
        .map_err(|error| LoadError::new(WEIGHTS, format!("cannot be put on the device: {}", one_line(&error))))?;
    let about = About { signature, prepare: None, scoring, platform: "candle_network" };
    Ok(Loaded { about, model: Model::Candle(model) })
}

/// A model of these steps, for rows of shape `dims`.
pub(super) fn assemble(steps: Vec<Step>, dims: &[usize], target: &Target) -> candle_core::Result<Box<dyn CandleModel>> {
    let steps = fold::fold(steps);
    if target.device.is_cpu() {
        return Ok(Box::new(cpu::Program::new(steps, dims)));
    }
    Ok(Box::new(portable::Portable::new(steps, target)?))
}

fn spec(name: &str, row: &[usize]) -> TensorSpec {
    let row = row.iter().copied().map(Some).collect();
    TensorSpec { name: name.to_owned(), dtype: DataType::Fp32, row, presence: Presence::Required }
}

/// What the output means: as declared, else by the last layer that does something, if it gives one list of classes.
fn meaning(declared: &Declared, output: &[usize]) -> super::super::Declared {
    let last = declared.layers.iter().map(|layer| layer.kind).rfind(|kind| *kind != Kind::Dropout);
    let implied = match (last, output) {
        (Some(Kind::Softmax), [classes]) if *classes > 1 => ScoreKind::Softmax,
        (Some(Kind::Activate(Activation::Sigmoid)), [_]) => ScoreKind::Sigmoid,
        _ => ScoreKind::None,
    };
    super::super::Declared {
        file: DECLARATION,
        output: 0,
        kind: declared.scores.unwrap_or(implied),
        labels: declared.labels.clone(),
        range: declared.range,
    }
}
