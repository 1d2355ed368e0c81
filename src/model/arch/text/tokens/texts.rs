//! Rows of texts: how long they may be, and what of them is cut.

use std::str::from_utf8;

use tracing::warn;

use super::pack::{Packing, TOKEN_BYTES};
use super::settings::Settings;
use super::tokenizer::Tokenizer;
use super::{Limits, PAIR, TEXT};
use crate::model::arch::text::task::Task;
use crate::model::{Files, LoadError, Prepared, Room};
use crate::types::{Error, Presence, Reason, Tensor};

const TOKENIZER: &str = "tokenizer.json";
/// Bytes of a text that are read for each token that it may have, and at least.
const TOKEN_TEXT_BYTES: usize = 64;
const TEXT_BYTES_MIN: usize = 64 << 10;
/// Bytes that the tokenizer takes for each of a text, while it is at it.
const WORK_BYTES: usize = 64;

/// A tokenizer, and how it is used for this model.
#[derive(Debug)]
pub(super) struct Texts {
    tokenizer: Tokenizer,
    /// Tokens of a row, special ones included; more are cut off.
    length_max: usize,
    /// Of a longer text no more than the beginning is read.
    bytes_max: usize,
    /// Whether a row has a second text.
    pairs: Option<Presence>,
    /// What is put before each text.
    prompt: String,
}

impl Texts {
    /// Reads the tokenizer's files; `None` if there is no `tokenizer.json`. Errors: what is wrong with them.
    pub(super) fn read(files: &Files, limits: &Limits, task: &Task) -> Result<Option<Self>, LoadError> {
        if !files.has(TOKENIZER) {
            // Legal, and rarely meant: other files of a tokenizer may be there.
            warn!(
                "no tokenizer.json: texts are not taken, only input_ids; in Python, \
                 AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes one"
            );
            return Ok(None);
        }
        let settings = Settings::read(files)?;
        let length_max = settings.length_max.map_or(limits.length_max, |own| own.min(limits.length_max));
        let tokenizer = Tokenizer::read(files, TOKENIZER, limits, &settings)?;
        let pairs = task.pairs();
        tokenizer.check_room(TOKENIZER, length_max, pairs.is_some())?;
        let bytes_max = length_max.saturating_mul(TOKEN_TEXT_BYTES).max(TEXT_BYTES_MIN);
        let prompt = task.prompt().to_owned();
        Ok(Some(Self { tokenizer, length_max, bytes_max, pairs, prompt }))
    }

    pub(super) fn pairs(&self) -> Option<Presence> {
        self.pairs
    }

    /// The rows of some texts, or pairs of them.
    ///
    /// Errors: no pairs where the model needs them; a text that is not UTF-8, or too long to be cut.
    pub(super) fn rows(
        &self,
        texts: &Tensor,
        pairs: Option<&Tensor>,
        limits: &Limits,
        room: &mut Room<'_>,
    ) -> Result<Prepared, Error> {
        if self.pairs == Some(Presence::Usual) && pairs.is_none() {
            return Err(Error::invalid(format!("input \"{PAIR}\" is missing: this model scores pairs of texts")));
        }
        let mut pairs = pairs.map(Tensor::strings);
        let mut packing = Packing::new(limits);
        let (mut truncated, mut longest) = (Vec::new(), 0);
        for (row, text) in texts.strings().enumerate() {
            let pair = pairs.as_mut().and_then(Iterator::next);
            let bytes = text.len().min(self.bytes_max) + pair.map_or(0, |pair| pair.len().min(self.bytes_max));
            // Rows are read one after the other, so that the longest is what the work takes.
            let work = bytes.saturating_sub(longest).saturating_mul(WORK_BYTES);
            longest = longest.max(bytes);
            room(work.saturating_add(bytes.saturating_add(SPECIAL).min(self.length_max).saturating_mul(TOKEN_BYTES)))?;
            let text = self.read_text(TEXT, row, text)?;
            let pair = pair.map(|pair| self.read_text(PAIR, row, pair)).transpose()?;
            let encoded = self.tokenizer.encode(&text, pair.as_ref(), self.length_max);
            let encoded = encoded.map_err(|reason| Error::invalid(format!("input \"{TEXT}\", row {row}: {reason}")))?;
            if encoded.tokens.is_empty() {
                return Err(Error::invalid(format!("input \"{TEXT}\", row {row}: the tokenizer gives it no tokens")));
            }
            truncated.push(encoded.cut);
            packing.push(encoded.tokens.into_iter());
        }
        if truncated.iter().all(|cut| *cut == 0) {
            truncated.clear();
        }
        let rows = packing.rows().ok_or_else(|| Error::new(Reason::Model, "the packed rows have no tokens"))?;
        Ok(Prepared { rows, truncated })
    }

    /// As much of a text as is read.
    fn read_text<'a>(&'a self, name: &str, row: usize, bytes: &'a [u8]) -> Result<Text<'a>, Error> {
        let text = from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            Error::invalid(format!("input \"{name}\", row {row}: expected UTF-8, byte {at} is not"))
        })?;
        let end = text.floor_char_boundary(self.bytes_max);
        let (read, left) = text.split_at(end);
        let text = if self.prompt.is_empty() { read.into() } else { format!("{}{read}", self.prompt).into() };
        Ok(Text { text, is_cut: !left.is_empty() })
    }
}

/// Tokens that a template adds to a row, at most.
pub(super) const SPECIAL: usize = 32;

/// The beginning of a text, or all of it.
pub(super) struct Text<'a> {
    pub(super) text: std::borrow::Cow<'a, str>,
    pub(super) is_cut: bool,
}
