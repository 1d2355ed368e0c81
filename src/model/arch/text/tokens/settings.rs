//! How texts become tokens, as the files beside the tokenizer say: how many, where a text is cut, and in which case.

use tokenizers::utils::truncation::TruncationDirection;

use crate::model::json::Json;
use crate::model::{Files, LoadError};

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Where sentence-transformers says it; older versions named the file after the model's family.
const SENTENCE_CONFIGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// A `model_max_length` above this stands for none; transformers writes 1e30.
const SANE_LENGTH: f64 = 1e6;

/// What a folder says beside `tokenizer.json`.
pub(super) struct Settings {
    /// Tokens of a row, special ones included.
    pub(super) length_max: Option<usize>,
    /// Where a longer text is cut.
    pub(super) side: Option<TruncationDirection>,
    /// Are texts put in lower case before anything else?
    pub(super) lower_case: bool,
}

impl Settings {
    /// Errors: a value that is not known, or out of range.
    pub(super) fn read(files: &Files) -> Result<Self, LoadError> {
        let config = Json::find(files, TOKENIZER_CONFIG)?;
        let sentence = sentence_config(files)?;
        let (mut length_max, mut lower_case) = (None, false);
        if let Some(sentence) = &sentence {
            length_max = sentence.size("max_seq_length", 1..=usize::MAX)?;
            lower_case = sentence.flag("do_lower_case")?.unwrap_or_default();
        }
        let mut side = None;
        if let Some(config) = &config {
            length_max = length_max.map_or_else(|| own_length(config), |length| Ok(Some(length)))?;
            side = side_of(config)?;
        }
        Ok(Self { length_max, side, lower_case })
    }
}

/// The first that is there and says something.
fn sentence_config(files: &Files) -> Result<Option<Json>, LoadError> {
    for file in SENTENCE_CONFIGS {
        if let Some(config) = Json::find(files, file)?
            && config.entries().next().is_some()
        {
            return Ok(Some(config));
        }
    }
    Ok(None)
}

fn own_length(config: &Json) -> Result<Option<usize>, LoadError> {
    let key = "model_max_length";
    match config.number(key, 1.0..=f64::MAX)? {
        Some(length) if length < SANE_LENGTH => config.size(key, 1..=usize::MAX),
        _ => Ok(None),
    }
}

fn side_of(config: &Json) -> Result<Option<TruncationDirection>, LoadError> {
    match config.text("truncation_side")? {
        None => Ok(None),
        Some("left") => Ok(Some(TruncationDirection::Left)),
        Some("right") => Ok(Some(TruncationDirection::Right)),
        Some(_) => Err(config.unexpected("truncation_side", "\"left\" or \"right\"")),
    }
}
