//! The `tokenizers` crate, held to what a model's file may do with it.
//!
//! Texts are tokenised without special tokens, cut to the model's limit, and then given to the file's template: the crate's own
//! truncation keeps all that was cut, in every combination with a pair's. What a file could do to memory is refused by
//! [`guard`](super::guard); a panic in the crate at load is a reason, one at a request is answered as any other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings};
use tokenizers::{Encoding, PostProcessor as _};

use super::Limits;
use super::guard::{check, parse};
use super::settings::Settings;
use super::texts::{SPECIAL, Text};
use crate::model::{Files, LoadError};

/// What a tokenizer is tried out with: words that are there or can be put together, and one, a hieroglyph, that stays as it is
/// through every normalizer and that hardly a vocabulary has. Where nothing stands for what is not known, such a word fails.
const TRIAL: &str = "a b \u{13080}";

/// A tokenizer that neither pads nor cuts by itself.
pub(super) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    side: TruncationDirection,
    /// Special tokens that a template adds to one text, and to two.
    added: [usize; 2],
}

/// A row's tokens, ids with their types, and how many were cut off.
pub(super) struct Encoded {
    pub(super) tokens: Vec<(u32, u32)>,
    pub(super) cut: u32,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tokenizer").field("side", &self.side).field("added", &self.added).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads `file`, and does with it as the settings beside it say.
    ///
    /// Errors: it is no tokenizer, could take memory without bound, or gives ids that the model does not have.
    pub(super) fn read(files: &Files, file: &str, limits: &Limits, settings: &Settings) -> Result<Self, LoadError> {
        let failed = |reason: String| LoadError::new(file, reason);
        let (bytes, value) = parse(files, file)?;
        check(&value).map_err(failed)?;
        let load = || tokenizers::Tokenizer::from_bytes(&bytes);
        let mut inner = caught(load, "the tokenizer failed to read it")
            .map_err(failed)?
            .map_err(|error| failed(format!("not a valid tokenizer: {error}")))?;
        let own = inner.get_truncation().map(|own| own.direction);
        let side = settings.side.unwrap_or(own.unwrap_or_default());
        if settings.lower_case {
            lower_case(&mut inner).map_err(failed)?;
        }
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| failed(error.to_string()))?;
        let added = [false, true].map(|pair| inner.get_post_processor().map_or(0, |own| own.added_tokens(pair)));
        let tokenizer = Self { inner, side, added };
        tokenizer.check_ids(limits).map_err(failed)?;
        tokenizer.try_out(limits).map_err(failed)?;
        Ok(tokenizer)
    }

    /// Checks that a row of `length_max` tokens has room for a text, or a pair of them, and its template.
    pub(super) fn check_room(&self, file: &str, length_max: usize, has_pairs: bool) -> Result<(), LoadError> {
        let [single, double] = self.added;
        let (added, texts, what) = if has_pairs { (double, 2, "a pair") } else { (single, 1, "a text") };
        if added + texts > length_max {
            let reason = format!("its template adds {added} tokens to {what}, but a row has at most {length_max}");
            return Err(LoadError::new(file, reason));
        }
        Ok(())
    }

    /// The tokens of a text, or of a pair of them, at most `length_max`; of a pair the longer is cut first.
    ///
    /// Errors: one sentence; the text was only read in part, and the rest could change what is kept.
    pub(super) fn encode(
        &self,
        text: &Text<'_>,
        pair: Option<&Text<'_>>,
        length_max: usize,
    ) -> Result<Encoded, String> {
        let [single, double] = self.added;
        let kept = length_max.saturating_sub(if pair.is_some() { double } else { single });
        let text = self.tokenise(text, kept)?;
        let pair = pair.map(|pair| self.tokenise(pair, kept)).transpose()?;
        let count = |text: &Encoding, pair: Option<&Encoding>| text.len() + pair.map_or(0, Encoding::len);
        let before = count(&text, pair.as_ref());
        let strategy = TruncationStrategy::LongestFirst;
        let params = TruncationParams { direction: self.side, max_length: kept, strategy, stride: 0 };
        let (mut text, mut pair) = truncate_encodings(text, pair, &params).map_err(|error| error.to_string())?;
        text.take_overflowing();
        pair.as_mut().map(Encoding::take_overflowing);
        let cut = u32::try_from(before - count(&text, pair.as_ref())).unwrap_or(u32::MAX);
        let encoding = self.inner.post_process(text, pair, true).map_err(|error| error.to_string())?;
        let tokens = encoding.get_ids().iter().copied().zip(encoding.get_type_ids().iter().copied()).collect();
        Ok(Encoded { tokens, cut })
    }

    /// A text's tokens, without special ones.
    fn tokenise(&self, text: &Text<'_>, kept: usize) -> Result<Encoding, String> {
        if !text.is_cut {
            return self.inner.encode_fast(&*text.text, false).map_err(|error| error.to_string());
        }
        // What was not read could change the last word that was, and nothing before it.
        let encoding = self.inner.encode(&*text.text, false).map_err(|error| error.to_string())?;
        let words = encoding.get_word_ids();
        let last = words.last().copied().flatten();
        let whole = words.iter().position(|word| *word == last).unwrap_or_default();
        if self.side == TruncationDirection::Left || whole < kept {
            let bytes = text.text.len();
            return Err(format!("expected at most {bytes} bytes, since its first {kept} tokens may depend on more"));
        }
        Ok(encoding)
    }

    /// Checks that the model has every id of the vocabulary.
    fn check_ids(&self, limits: &Limits) -> Result<(), String> {
        let vocabulary = self.inner.get_vocab(true);
        let beyond = vocabulary.iter().find(|(_, id)| usize::try_from(**id).is_ok_and(|id| id >= limits.vocabulary));
        match beyond {
            Some((token, id)) => {
                let most = limits.vocabulary - 1;
                Err(format!("token \"{token}\": expected ids from 0 to {most}, as the model has, got {id}"))
            }
            None => Ok(()),
        }
    }

    /// Tokenises a text and a pair, to meet at load what would fail every request.
    fn try_out(&self, limits: &Limits) -> Result<(), String> {
        let text = || Text { text: TRIAL.into(), is_cut: false };
        let types = limits.types.unwrap_or(1);
        for pair in [None, Some(text())] {
            let encode = || self.encode(&text(), pair.as_ref(), 2 * SPECIAL);
            let encoded = caught(encode, "the tokenizer failed on a short text")??;
            if encoded.tokens.is_empty() {
                return Err("the tokenizer gives a short text no tokens".to_owned());
            }
            let is_known = |id: &u32, bound: usize| usize::try_from(*id).is_ok_and(|id| id < bound);
            if let Some((id, _)) = encoded.tokens.iter().find(|(id, _)| !is_known(id, limits.vocabulary)) {
                return Err(format!("its template adds id {id}, which the model does not have"));
            }
            if let Some((_, kind)) = encoded.tokens.iter().find(|(_, kind)| types > 1 && !is_known(kind, types)) {
                return Err(format!("its template gives token type {kind}, which the model does not have"));
            }
        }
        Ok(())
    }
}

/// Puts texts in lower case before the file's own normalizer, unless that does it: as sentence-transformers takes
/// `do_lower_case`, which looks no deeper than into one sequence.
fn lower_case(inner: &mut tokenizers::Tokenizer) -> Result<(), String> {
    let own: Vec<NormalizerWrapper> = match inner.get_normalizer() {
        None => Vec::new(),
        Some(NormalizerWrapper::Sequence(sequence)) => sequence.as_ref().to_vec(),
        Some(single) => vec![single.clone()],
    };
    if own.iter().any(|part| matches!(part, NormalizerWrapper::Lowercase(_))) {
        return Ok(());
    }
    let all = std::iter::once(NormalizerWrapper::Lowercase(Lowercase)).chain(own).collect();
    inner.with_normalizer(Some(Sequence::new(all))).map(|_| ()).map_err(|error| error.to_string())
}

/// Does what may panic. Errors: it does; what failed, and the reason that the panic gives.
fn caught<T>(work: impl FnOnce() -> T, failed: &str) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        match text.or_else(|| panic.downcast_ref::<&str>().copied()) {
            Some(reason) => format!("{failed}: {reason}"),
            None => failed.to_owned(),
        }
    })
}
