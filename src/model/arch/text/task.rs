//! What a folder's model is for.

use super::super::super::json::Json;
use super::modules::Modules;
use crate::model::{Files, LoadError};
use crate::types::Presence;

/// What a text model gives.
pub(super) enum Task {
    /// One vector for each text.
    Embed(Modules),
    /// A number for each class.
    Classify(Meaning),
}

/// What the numbers of a classifier mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Classes that exclude each other.
    Exclusive,
    /// Classes that do not.
    Independent,
    /// Predicted values.
    Values,
    /// How well a pair of texts fits, after the activation that the folder names. Only with one number.
    Fit { is_sigmoid: bool },
}

/// Where sentence-transformers says what it made.
const SENTENCE_CONFIG: &str = "config_sentence_transformers.json";
/// Endings of `architectures` that are encoders alone, or with a head that only training needs.
const ENCODERS: [&str; 3] = ["Model", "ForMaskedLM", "ForPreTraining"];
const CLASSIFIER: &str = "ForSequenceClassification";

impl Task {
    /// `hidden`: the encoder's width. Errors: a task that is not served, or files that contradict each other.
    pub(super) fn of(files: &Files, config: &Json, hidden: usize) -> Result<Self, LoadError> {
        let architecture = config.texts("architectures")?.and_then(|names| names.first().copied()).unwrap_or("Model");
        let modules = Modules::read(files, hidden)?;
        let sentence = Json::find(files, SENTENCE_CONFIG)?;
        match modules {
            Some(modules) if modules.has_pooling() => Ok(Self::Embed(modules.with_prompt(sentence.as_ref())?)),
            _ if architecture.ends_with(CLASSIFIER) => Ok(Self::Classify(meaning(config, sentence.as_ref())?)),
            Some(_) => Err(Modules::without_pooling()),
            None if ENCODERS.iter().any(|ending| architecture.ends_with(ending)) => Ok(Self::Embed(Modules::plain())),
            None => {
                let known = format!("a name that ends in {} or {CLASSIFIER}", ENCODERS.join(", "));
                Err(config.error("architectures", format!("expected {known}, got \"{architecture}\"")))
            }
        }
    }

    /// Whether a row has a second text; `None` if it cannot.
    pub(super) fn pairs(&self) -> Option<Presence> {
        match self {
            Self::Embed(_) => None,
            Self::Classify(Meaning::Fit { .. }) => Some(Presence::Usual),
            Self::Classify(_) => Some(Presence::Optional),
        }
    }

    /// What is put before each text.
    pub(super) fn prompt(&self) -> &str {
        match self {
            Self::Embed(modules) => modules.prompt(),
            Self::Classify(_) => "",
        }
    }
}

fn meaning(config: &Json, sentence: Option<&Json>) -> Result<Meaning, LoadError> {
    match config.text("problem_type")? {
        Some("multi_label_classification") => Ok(Meaning::Independent),
        Some("regression") => Ok(Meaning::Values),
        None | Some("single_label_classification") if count_labels(config)? == Some(1) => {
            Ok(Meaning::Fit { is_sigmoid: is_sigmoid(config, sentence)? })
        }
        None | Some("single_label_classification") => Ok(Meaning::Exclusive),
        Some(_) => {
            Err(config
                .unexpected("problem_type", "single_label_classification, multi_label_classification or regression"))
        }
    }
}

fn count_labels(config: &Json) -> Result<Option<usize>, LoadError> {
    match config.object("id2label")? {
        Some(labels) => Ok(Some(labels.entries().count())),
        None => config.size("num_labels", 1..=super::labels::LABELS_MAX),
    }
}

/// Is a pair's number put through a sigmoid? The places where sentence-transformers says so, in the order in which it looks; a
/// name that is not torch's is not trusted there, and means nothing here either.
fn is_sigmoid(config: &Json, sentence: Option<&Json>) -> Result<bool, LoadError> {
    let inner = config.object("sentence_transformers")?;
    let places = [
        (inner.as_ref(), "activation_fn"),
        (Some(config), "sbert_ce_default_activation_function"),
        (sentence, "activation_fn"),
    ];
    for (json, key) in places {
        let Some(json) = json else { continue };
        let Some(name) = json.text(key)? else { continue };
        return match name.rsplit('.').next() {
            _ if !name.starts_with("torch.") => Ok(true),
            Some("Sigmoid") => Ok(true),
            Some("Identity") => Ok(false),
            _ => Err(json.unexpected(key, "torch's Sigmoid or Identity")),
        };
    }
    Ok(true)
}
