//! From ids to vectors: sums of rows of tables.

use candle_core::{Tensor, bail};

use super::operators::Operators;
use super::{Names, Parts, Plan};
use crate::model::LoadError;

/// The tables, and the norm of their sum.
pub(in crate::model) struct Embeddings<O: Operators> {
    /// Words, token types, positions, as many as there are.
    tables: Vec<Tensor>,
    norm: O::Norm,
}

impl<O: Operators> Embeddings<O> {
    pub(super) fn new(parts: &Parts<'_, O>, plan: &Plan, names: &Names) -> Result<Self, LoadError> {
        let planned =
            [(names.words, Some(plan.vocabulary)), (names.types, plan.types), (names.positions, plan.positions)];
        let mut tables = Vec::new();
        for (name, size) in planned {
            let Some(size) = size else { continue };
            tables.push(parts.take(&format!("{name}.weight"), &[size, plan.hidden])?);
        }
        if plan.types == Some(1) {
            fold_only_type(&mut tables).map_err(|error| parts.failed(names.types, &error))?;
        }
        let tables = tables.into_iter().map(|table| parts.operators.table(table)).collect::<Result<_, _>>();
        let tables = tables.map_err(|error| parts.failed(names.words, &error))?;
        Ok(Self { tables, norm: parts.norm(names.embedded, plan.hidden, plan.biases.norms, plan.eps)? })
    }

    /// Errors: there are not as many inputs as tables.
    pub(super) fn check(&self, inputs: &[Tensor]) -> candle_core::Result<()> {
        if inputs.len() != self.tables.len() {
            bail!("expected {} inputs, got {}", self.tables.len(), inputs.len());
        }
        Ok(())
    }

    /// `[tokens, hidden]` of a batch.
    pub(super) fn forward(&self, operators: &O, batch: &O::Batch) -> candle_core::Result<Tensor> {
        operators.embed(&self.norm, &self.tables, batch)
    }
}

/// Where all tokens are of one type, what it adds is added to each word once and for all.
fn fold_only_type(tables: &mut Vec<Tensor>) -> candle_core::Result<()> {
    let only = tables.remove(1);
    if let Some(words) = tables.first_mut() {
        *words = words.broadcast_add(&only)?;
    }
    Ok(())
}
