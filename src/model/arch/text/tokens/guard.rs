//! What a `tokenizer.json` may do: parts that could make much of a short text are refused before the crate sees them.

use serde_json::Value;

use super::texts::SPECIAL;
use crate::model::{Files, LoadError};

/// Largest file: the largest vocabularies take a quarter.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Longest string outside the vocabulary, but for the tables below.
const STRING_BYTES_MAX: usize = 4096;
/// Longest table of SentencePiece's normalizations, in base64; XLM-RoBERTa's has 320 KB.
const CHARSMAP_BYTES_MAX: usize = 4 << 20;
/// Tokens beside the vocabulary.
const ADDED_MAX: usize = 1 << 16;
/// Parts of a normalizer or the like, one inside the other included.
const PARTS_MAX: usize = 256;
/// How many times longer replacements may make a text in all.
const GROWTH_MAX: usize = 64;
/// Longest word that is cut into pieces; the work for one is its square.
const WORD_CHARS_MAX: u64 = 1024;

/// The bytes of a file, and what they say. Errors: too large, not JSON.
pub(super) fn parse(files: &Files, file: &str) -> Result<(Vec<u8>, Value), LoadError> {
    let bytes = files.read(file, FILE_BYTES_MAX)?;
    // Objects and lists more than 128 deep are refused by the crate.
    let value =
        serde_json::from_slice(&bytes).map_err(|error| LoadError::new(file, format!("not valid JSON: {error}")))?;
    Ok((bytes, value))
}

/// Errors: one sentence that names the part.
pub(super) fn check(file: &Value) -> Result<(), String> {
    check_added(&file["added_tokens"])?;
    let mut seen = Seen { parts: 0, growth: 1 };
    for part in ["normalizer", "pre_tokenizer", "decoder"] {
        seen.check(part, &file[part])?;
    }
    seen.check("post_processor", &file["post_processor"])?;
    check_templates(&file["post_processor"])?;
    let model = &file["model"];
    if model["dropout"].as_f64().is_some_and(|dropout| dropout != 0.0) {
        return Err("`model.dropout`: a text would have other tokens each time".to_owned());
    }
    match model["max_input_chars_per_word"].as_u64() {
        Some(chars) if chars > WORD_CHARS_MAX => {
            Err(format!("`model.max_input_chars_per_word`: expected at most {WORD_CHARS_MAX}, got {chars}"))
        }
        _ => Ok(()),
    }
}

fn check_added(added: &Value) -> Result<(), String> {
    let tokens = added.as_array().map_or(&[][..], Vec::as_slice);
    if tokens.len() > ADDED_MAX {
        return Err(format!("`added_tokens`: expected at most {ADDED_MAX}, got {}", tokens.len()));
    }
    let longest = tokens.iter().filter_map(|token| token["content"].as_str()).map(str::len).max();
    match longest {
        Some(bytes) if bytes > STRING_BYTES_MAX => {
            Err(format!("`added_tokens`: expected at most {STRING_BYTES_MAX} bytes in each, got {bytes}"))
        }
        _ => Ok(()),
    }
}

/// What was met so far.
struct Seen {
    parts: usize,
    growth: usize,
}

impl Seen {
    /// Goes through a part and all inside it. The file's reader has limited how deep that is.
    fn check(&mut self, place: &str, part: &Value) -> Result<(), String> {
        match part {
            Value::Object(keys) => {
                self.parts += 1;
                self.grow(place, part)?;
                for (key, inner) in keys {
                    let most = if key == "precompiled_charsmap" { CHARSMAP_BYTES_MAX } else { STRING_BYTES_MAX };
                    check_length(place, key.len(), STRING_BYTES_MAX)?;
                    check_length(place, inner.as_str().map_or(0, str::len), most)?;
                    if !inner.is_string() {
                        self.check(place, inner)?;
                    }
                }
            }
            Value::Array(items) => {
                self.parts += items.len();
                for item in items {
                    check_length(place, item.as_str().map_or(0, str::len), STRING_BYTES_MAX)?;
                    self.check(place, item)?;
                }
            }
            _ => {}
        }
        if self.parts > PARTS_MAX {
            return Err(format!("`{place}`: expected at most {PARTS_MAX} parts in all"));
        }
        Ok(())
    }

    /// How much longer a replacement can make a text: it may stand for every character, or between all of them.
    fn grow(&mut self, place: &str, part: &Value) -> Result<(), String> {
        let factor = match part["type"].as_str() {
            Some("Replace") => {
                let content = part["content"].as_str().map_or(0, str::len);
                match part["pattern"]["String"].as_str() {
                    Some(pattern) if !pattern.is_empty() => content.div_ceil(pattern.len()),
                    _ => content + 1,
                }
            }
            _ => 1,
        };
        self.growth = self.growth.saturating_mul(factor.max(1));
        if self.growth > GROWTH_MAX {
            return Err(format!("`{place}`: its replacements could make a text {GROWTH_MAX} times longer, and more"));
        }
        Ok(())
    }
}

fn check_length(place: &str, bytes: usize, most: usize) -> Result<(), String> {
    if bytes > most {
        return Err(format!("`{place}`: expected strings of at most {most} bytes, got {bytes}"));
    }
    Ok(())
}

/// A template that has a text twice doubles it, and templates can follow each other.
fn check_templates(processor: &Value) -> Result<(), String> {
    let inner = match processor["type"].as_str() {
        Some("Sequence") => processor["processors"].as_array().map_or(&[][..], Vec::as_slice),
        _ => std::slice::from_ref(processor),
    };
    let mut adding = 0;
    for processor in inner {
        match processor["type"].as_str() {
            None | Some("ByteLevel") => {}
            Some("BertProcessing" | "RobertaProcessing") => adding += 1,
            Some("TemplateProcessing") => {
                adding += 1;
                check_template(&processor["single"], &["A"])?;
                check_template(&processor["pair"], &["A", "B"])?;
                check_special(&processor["special_tokens"])?;
            }
            Some(other) => return Err(format!("`post_processor`: \"{other}\" is not served in this place")),
        }
    }
    if adding > 1 {
        return Err("`post_processor`: expected one template, got several".to_owned());
    }
    Ok(())
}

fn check_template(template: &Value, wanted: &[&str]) -> Result<(), String> {
    let pieces = template.as_array().map_or(&[][..], Vec::as_slice);
    let mut texts: Vec<&str> = pieces.iter().filter_map(|piece| piece["Sequence"]["id"].as_str()).collect();
    texts.sort_unstable();
    if texts != wanted {
        let (wanted, got) = (wanted.join(" and "), texts.join(", "));
        return Err(format!("`post_processor`: expected a template of {wanted}, once each, got \"{got}\""));
    }
    if pieces.len() > SPECIAL / 2 {
        return Err(format!("`post_processor`: expected at most {} pieces, got {}", SPECIAL / 2, pieces.len()));
    }
    Ok(())
}

/// Each of a template's special tokens stands for one id, or two.
fn check_special(tokens: &Value) -> Result<(), String> {
    let ids = |token: &Value| token["ids"].as_array().map_or(0, Vec::len);
    let most = tokens.as_object().into_iter().flatten().map(|(_, token)| ids(token)).max().unwrap_or_default();
    if most > 2 {
        return Err(format!("`post_processor`: expected one or two ids for a special token, got {most}"));
    }
    Ok(())
}
