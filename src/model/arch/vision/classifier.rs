//! A classifier of images: its inputs, its outputs and what they mean, around a network that makes logits of pixels.

use std::sync::Arc;

use candle_core::Tensor;
use tracing::warn;

use super::images::Images;
use super::processor::Recipe;
use crate::config::ScoreKind;
use crate::model::json::Json;
use crate::model::table::HUB_CONFIG;
use crate::model::{About, CandleModel, Declared, LoadError, Loaded, Model, Prepare, Scoring, Source};
use crate::types::{DataType, Presence, Signature, TensorSpec};

const TASK: &str = "ForImageClassification";

/// What a classifier is put together from.
pub(super) struct Parts {
    pub(super) platform: &'static str,
    pub(super) recipe: Option<Recipe>,
    /// Height and width of what the network takes.
    pub(super) sides: [usize; 2],
    /// The name of each class.
    pub(super) labels: Vec<String>,
    /// Makes logits of pixels.
    pub(super) network: Box<dyn CandleModel>,
}

/// Errors: settings that do not fit its outputs.
pub(super) fn classifier(source: &Source<'_>, parts: Parts) -> Result<Loaded, LoadError> {
    if parts.recipe.is_none() {
        // Legal, and rarely meant.
        warn!(
            "no preprocessor_config.json (timm: pretrained_cfg in config.json): images are not taken, only pixel_values; \
             in Python, AutoImageProcessor.from_pretrained(NAME).save_pretrained(FOLDER) writes one"
        );
    }
    let images = Images::new(parts.recipe, parts.sides);
    let output = |name: &str| TensorSpec {
        name: name.to_owned(),
        dtype: DataType::Fp32,
        row: vec![Some(parts.labels.len())],
        presence: Presence::Required,
    };
    let signature =
        Signature { inputs: images.inputs().to_vec(), outputs: vec![output("logits"), output("probabilities")] };
    let declared = Declared { file: HUB_CONFIG, output: 0, kind: ScoreKind::Logits, labels: parts.labels, range: None };
    let scoring = Scoring::resolve(&signature, Some(&declared), &source.config.confidence)?;
    let prepare: Arc<dyn Prepare> = Arc::new(images);
    let about = About { signature, prepare: Some(prepare), scoring, platform: parts.platform };
    Ok(Loaded { about, model: Model::Candle(Box::new(Classifier(parts.network))) })
}

/// Refuses what a Hugging Face folder is for, if it is anything else.
pub(super) fn check_task(config: &Json) -> Result<(), LoadError> {
    let architectures = config.texts("architectures")?.unwrap_or_default();
    if !architectures.first().is_some_and(|name| name.ends_with(TASK)) {
        let got = architectures.first().copied().unwrap_or_default();
        return Err(config.error("architectures", format!("expected a name that ends in {TASK}, got \"{got}\"")));
    }
    if config.text("problem_type")?.is_some_and(|kind| kind != "single_label_classification") {
        return Err(config.unexpected("problem_type", "\"single_label_classification\""));
    }
    match config.size("num_channels", 0..=usize::MAX)? {
        None | Some(3) => Ok(()),
        Some(_) => Err(config.unexpected("num_channels", "3, for red, green and blue")),
    }
}

/// A network whose logits have their probabilities beside them.
struct Classifier(Box<dyn CandleModel>);

impl CandleModel for Classifier {
    fn compute(&self, inputs: &[Tensor]) -> candle_core::Result<Vec<Tensor>> {
        self.0.compute(inputs)
    }

    fn softmax_of(&self) -> Option<usize> {
        Some(0)
    }
}
