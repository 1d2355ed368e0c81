//! The held-out rows of a shipped model, with the known answers and the committed figures.

use anyhow::{Context as _, anyhow};
use safetensors::{Dtype, SafeTensors};

use crate::config::Document;
use crate::registry::shipped_file;

/// What is known of each row.
#[derive(Debug)]
pub(super) enum Targets {
    /// Index of the true class.
    Classes(Vec<i64>),
    /// True value.
    Values(Vec<f32>),
}

/// Rows that the model has not seen in training.
#[derive(Debug)]
pub(super) struct HeldOut {
    /// Shape of one row.
    pub(super) row: Vec<usize>,
    /// Raw little-endian FP32 contents of each row.
    pub(super) rows: Vec<bytes::Bytes>,
    pub(super) targets: Targets,
    /// The training framework's outputs for each row.
    pub(super) reference: Vec<Vec<f32>>,
    /// Committed accuracy, or R² for a regression.
    pub(super) committed: f64,
}

impl HeldOut {
    /// Reads what ships beside a model. Errors: a file is missing or not what it should be.
    pub(super) fn of(model: &str) -> anyhow::Result<Self> {
        let file = |name: &str| shipped_file(model, name).with_context(|| format!("{model}/{name} is not shipped"));
        let tensors = SafeTensors::deserialize(file("held_out.safetensors")?)?;
        let inputs = tensors.tensor("inputs")?;
        let (count, row) = inputs.shape().split_first().context("inputs: expected rows")?;
        let stride = inputs.data().len().checked_div(*count).context("inputs: expected rows")?;
        let rows = inputs.data().chunks_exact(stride.max(1)).map(bytes::Bytes::copy_from_slice).collect();
        let reference = tensors.tensor("reference")?;
        let width = reference.shape().last().copied().unwrap_or(1).max(1);
        let reference = floats(reference.data()).chunks_exact(width).map(<[f32]>::to_vec).collect();
        let targets = tensors.tensor("targets")?;
        let (targets, figure) = match targets.dtype() {
            Dtype::I64 => (Targets::Classes(integers(targets.data())), "accuracy"),
            Dtype::F32 => (Targets::Values(floats(targets.data())), "r2"),
            other => return Err(anyhow!("targets: expected I64 or F32, got {other:?}")),
        };
        let text = std::str::from_utf8(file("held_out.toml")?)?;
        let document = Document::parse("held_out.toml", text).map_err(|problems| anyhow!("{problems}"))?;
        let committed = document.root().number(figure, f64::MIN..=f64::MAX);
        let committed = committed.with_context(|| format!("held_out.toml: expected a number `{figure}`"))?;
        Ok(Self { row: row.to_vec(), rows, targets, reference, committed })
    }
}

fn floats(data: &[u8]) -> Vec<f32> {
    data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn integers(data: &[u8]) -> Vec<i64> {
    data.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
}
