//! From texts or token ids to packed rows: what [`Prepare`] does for text models.

mod guard;
mod ids;
mod limits;
mod pack;
mod settings;
#[cfg(test)]
mod tests;
mod texts;
mod tokenizer;

pub(super) use self::limits::Limits;

use self::ids::Given;
use self::pack::Packing;
use self::texts::Texts;
use super::task::Task;
use crate::model::{Files, LoadError, Prepare, Prepared, Room};
use crate::types::{DataType, Error, Presence, Reason, Rows, Shape, Tensor, TensorSpec};

const TEXT: &str = "text";
const PAIR: &str = "text_pair";
const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
const TYPES: &str = "token_type_ids";

/// Made-up rows have no more tokens than this in all.
const MADE_UP_MAX: usize = 1 << 22;

/// Makes rows of texts or token ids.
#[derive(Debug)]
pub(super) struct Tokens {
    inputs: Vec<TensorSpec>,
    shows: [TensorSpec; 2],
    /// None where the folder has no `tokenizer.json`: then only ids are taken.
    texts: Option<Texts>,
    limits: Limits,
}

impl Tokens {
    /// Reads the folder's tokenizer. Errors: what is wrong with its files.
    pub(super) fn read(files: &Files, limits: Limits, task: &Task) -> Result<Self, LoadError> {
        let texts = Texts::read(files, &limits, task)?;
        let inputs = inputs(&limits, texts.as_ref());
        let shows = [IDS, MASK].map(|name| spec(name, DataType::Int64, 1, Presence::Required));
        Ok(Self { inputs, shows, texts, limits })
    }

    /// What it takes, in order.
    pub(super) fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }
}

fn inputs(limits: &Limits, texts: Option<&Texts>) -> Vec<TensorSpec> {
    let mut inputs = Vec::new();
    if let Some(texts) = texts {
        inputs.push(spec(TEXT, DataType::Bytes, 0, Presence::Usual));
        inputs.extend(texts.pairs().map(|pair| spec(PAIR, DataType::Bytes, 0, pair)));
    }
    let ids = if texts.is_some() { Presence::Optional } else { Presence::Required };
    inputs.push(spec(IDS, DataType::Int64, 1, ids));
    inputs.push(spec(MASK, DataType::Int64, 1, Presence::Optional));
    if limits.types.is_some() {
        inputs.push(spec(TYPES, DataType::Int64, 1, Presence::Optional));
    }
    inputs
}

fn spec(name: &str, dtype: DataType, free: usize, presence: Presence) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, row: vec![None; free], presence }
}

impl Prepare for Tokens {
    fn prepare(&self, inputs: Vec<Option<Tensor>>, room: &mut Room<'_>) -> Result<Prepared, Error> {
        let mut given = inputs;
        let mut take = |name: &str| {
            let at = self.inputs.iter().position(|spec| spec.name == name)?;
            given.get_mut(at)?.take()
        };
        let (text, pair) = (take(TEXT), take(PAIR));
        let (ids, mask, types) = (take(IDS), take(MASK), take(TYPES));
        match (&self.texts, text, ids) {
            (Some(texts), Some(text), None) => {
                refuse_beside(TEXT, &[(MASK, &mask), (TYPES, &types)])?;
                texts.rows(&text, pair.as_ref(), &self.limits, room)
            }
            (_, None, Some(ids)) => {
                refuse_beside(IDS, &[(PAIR, &pair)])?;
                let rows = Given { ids, mask, types }.rows(&self.limits, room)?;
                Ok(Prepared { rows, truncated: Vec::new() })
            }
            _ => Err(Error::invalid(format!("expected one of the inputs \"{TEXT}\" and \"{IDS}\""))),
        }
    }

    fn shows(&self) -> &[TensorSpec] {
        &self.shows
    }

    fn show(&self, at: usize, rows: &Rows) -> Result<Tensor, Error> {
        let failed = || Error::new(Reason::Model, "expected packed rows of token ids");
        let (Some(lengths), Some(ids)) = (rows.lengths(), rows.inputs().first()) else { return Err(failed()) };
        let width = rows.longest();
        let mut shown = Vec::with_capacity(lengths.len() * width * 8);
        let mut ids = ids.data().as_chunks::<4>().0.iter().map(|id| i64::from(u32::from_le_bytes(*id)));
        for length in lengths {
            for column in 0..width {
                let id = if column < *length as usize { ids.next() } else { None };
                let value = if at == 0 { id.unwrap_or(self.limits.padding.into()) } else { id.is_some().into() };
                shown.extend_from_slice(&value.to_le_bytes());
            }
        }
        Tensor::new(DataType::Int64, Shape::new(&[lengths.len(), width]), shown.into()).map_err(|_| failed())
    }

    fn length_max(&self) -> Option<usize> {
        Some(self.limits.length_max)
    }

    fn made_up(&self, count: usize, length: usize) -> Option<Rows> {
        let length = length.clamp(1, self.limits.length_max);
        if count.checked_mul(length)? > MADE_UP_MAX {
            return None;
        }
        let mut packing = Packing::new(&self.limits);
        for row in 0..count {
            // Any ids do, if they are not all the same.
            let ids = (0..length).map(|at| u32::try_from((row + 7 * at) % self.limits.vocabulary).unwrap_or_default());
            packing.push(ids.map(|id| (id, 0)));
        }
        packing.rows()
    }
}

fn refuse_beside(first: &str, others: &[(&str, &Option<Tensor>)]) -> Result<(), Error> {
    match others.iter().find(|(_, tensor)| tensor.is_some()) {
        Some((name, _)) => Err(Error::invalid(format!("input \"{name}\" does not go with \"{first}\""))),
        None => Ok(()),
    }
}
