//! The operators by kernels of the device's own: attention is one launch, as is each sum with its norm; no masks, no scores in
//! memory.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};

use super::angles::angles;
use super::operators::{AttentionShape, Compute, Operators, Pooling, Then};
use crate::model::Target;
use crate::model::kernels::{Angles, Heads, Kernels, LayerNorm, Recorder, Size, TILE};

/// Tokens of batches that are recorded: a batch is filled up to the next of these. Larger ones keep the device busy as they are,
/// and filling them up would cost more than telling the device of each step.
const RECORDED: [usize; 13] = [32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096];
/// Tokens for which there is room for one tile: rows that are shorter on average are not recorded.
const TOKENS_A_TILE: usize = 8;

/// Kernels, and where they run.
pub(in crate::model) struct Fused {
    target: Target,
    kernels: Arc<dyn Kernels>,
    recorder: Option<Box<dyn Recorder>>,
}

impl Fused {
    pub(in crate::model) fn new(target: &Target, kernels: &Arc<dyn Kernels>) -> Self {
        let recorder = target.records.then(|| kernels.recorder()).flatten();
        Self { target: target.clone(), kernels: Arc::clone(kernels), recorder }
    }

    fn put_f32(&self, tensor: &Tensor) -> Result<Tensor> {
        self.target.put_as(tensor, DType::F32)
    }
}

/// A weight `[in, out]`, which is a view of one `[out, in]`, and a bias.
pub(in crate::model) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

/// A way of attending.
#[derive(Clone)]
pub(in crate::model) struct Attention {
    shape: AttentionShape,
    angles: Option<Arc<Angles>>,
}

/// What kernels have to know of a batch.
pub(in crate::model) struct Batch {
    tokens: usize,
    /// `[rows + 1]`.
    offsets: Tensor,
    /// `[TILE · tiles]`.
    tiles: Tensor,
    /// What is looked up, `[tokens]` each, or more of which the rest is zeros.
    indices: Vec<Tensor>,
    /// Of each of these in its row, where a way of attending asks for it.
    positions: Option<Tensor>,
    ways: Arc<[Attention]>,
}

impl Operators for Fused {
    type Linear = Linear;
    type Norm = LayerNorm;
    type Attention = Attention;
    type Batch = Batch;

    fn table(&self, table: Tensor) -> Result<Tensor> {
        self.target.put(&table)
    }

    fn linear(&self, weight: Tensor, bias: Option<Tensor>) -> Result<Linear> {
        let bias = bias.map(|bias| self.put_f32(&bias)).transpose()?;
        Ok(Linear { weight: self.target.put(&weight)?.t()?, bias })
    }

    #[expect(clippy::cast_possible_truncation, reason = "a small number, near enough in f32")]
    fn norm(&self, weight: Tensor, bias: Option<Tensor>, eps: f64) -> Result<LayerNorm> {
        let bias = bias.map(|bias| self.put_f32(&bias)).transpose()?;
        Ok(LayerNorm { weight: self.put_f32(&weight)?, bias, eps: eps as f32 })
    }

    fn attention(&self, shape: &AttentionShape) -> Result<Attention> {
        let angles = shape.rotary.map(|rotary| angles(rotary, shape.width, &self.target.device)).transpose()?;
        Ok(Attention { shape: *shape, angles: angles.map(Arc::new) })
    }

    /// What the host knows goes to the device in one copy; ids are laid out there, filled up where the batch will be recorded.
    fn batch(&self, offsets: &[usize], indices: &[Tensor], ways: &[Attention]) -> Result<Batch> {
        let tokens = offsets.last().copied().unwrap_or_default();
        let offsets: Option<Vec<u32>> = offsets.iter().map(|offset| u32::try_from(*offset).ok()).collect();
        let Some(offsets) = offsets else { bail!("a batch of 2^32 tokens") };
        let tiles = self.kernels.tiles(&offsets);
        let slots = self.recorder.as_ref().and_then(|_| recorded_as(tokens, tiles.len() / TILE)).unwrap_or(tokens);
        let order = (0..).take(offsets.len().saturating_sub(1)).collect();
        let parts = [offsets, tiles, order];
        let all = Tensor::new(parts.concat(), &self.target.device)?;
        let [offsets, tiles, order] = parts.map(|part| part.len());
        let order = all.narrow(0, offsets + tiles, order)?;
        let (tiles, offsets) = (all.narrow(0, offsets, tiles)?, all.narrow(0, 0, offsets)?);
        let turns = ways.iter().any(|way| way.angles.is_some());
        let (mut packed, mut positions) = (Vec::with_capacity(indices.len()), None);
        for ids in indices {
            if slots == tokens && (!turns || positions.is_some()) {
                packed.push(ids.clone());
                continue;
            }
            let (ids, at) = self.kernels.pack(ids, &offsets, &order, slots)?;
            packed.push(ids);
            positions = positions.or(Some(at).filter(|_| turns));
        }
        Ok(Batch { tokens, offsets, tiles, indices: packed, positions, ways: ways.into() })
    }

    fn project(&self, linear: &Linear, rows: &Tensor, then: Then) -> Result<Tensor> {
        let product = rows.to_dtype(self.target.dtype)?.matmul(&linear.weight)?;
        let bias = linear.bias.as_ref();
        match then {
            Then::Nothing if bias.is_none() => {}
            Then::Nothing => self.kernels.activate(&product, bias, None)?,
            Then::Activate(activation) => self.kernels.activate(&product, bias, Some(activation))?,
            Then::Gate(activation) => return self.kernels.gate(&product, bias, activation),
        }
        Ok(product)
    }

    fn attend(&self, at: usize, batch: &Batch, qkv: &Tensor) -> Result<Tensor> {
        let Some(way) = batch.ways.get(at) else { bail!("expected a way of attending, got number {at}") };
        let AttentionShape { heads, width, reach, .. } = way.shape;
        let heads = Heads { count: heads, width };
        if let Some(angles) = &way.angles {
            let Some(positions) = &batch.positions else { bail!("rows without positions") };
            self.kernels.rotate(qkv, heads, positions, angles)?;
        }
        self.kernels.attend(qkv, heads, &batch.tiles, reach)
    }

    fn embed(&self, norm: &LayerNorm, tables: &[Tensor], batch: &Batch) -> Result<Tensor> {
        let tables: Vec<_> = tables.iter().zip(&batch.indices).collect();
        self.kernels.embed(&tables, norm)
    }

    fn normalise(&self, norm: &LayerNorm, rows: &Tensor) -> Result<Tensor> {
        self.kernels.norm(rows, None, norm)
    }

    fn add_norm(&self, norm: &LayerNorm, rows: &Tensor, update: &Tensor) -> Result<Tensor> {
        self.kernels.norm(rows, Some(update), norm)
    }

    fn add_norm_with_sum(&self, norm: &LayerNorm, rows: &Tensor, update: &Tensor) -> Result<(Tensor, Tensor)> {
        self.kernels.norm_with_sum(rows, update, norm)
    }

    fn pool(&self, pooling: Pooling, batch: &Batch, rows: &Tensor) -> Result<Tensor> {
        self.kernels.pool(rows, &batch.offsets, pooling)
    }

    fn repeat(&self, batch: &Batch, rows: Tensor, compute: &Compute<'_, Batch>) -> Result<Tensor> {
        let tiles = batch.tiles.dim(0)? / TILE;
        let (Some(recorder), Some(tokens)) = (&self.recorder, recorded_as(rows.dim(0)?, tiles)) else {
            return compute(batch, rows);
        };
        let mut lengths = vec![tokens, tokens / TOKENS_A_TILE * TILE];
        let mut inputs = vec![rows, batch.tiles.clone()];
        if let Some(positions) = &batch.positions {
            lengths.push(tokens);
            inputs.push(positions.clone());
        }
        recorder.run(&Size { lengths, rows: batch.tokens }, &inputs, &|inputs| {
            let [rows, tiles, positions @ ..] = inputs else { bail!("expected rows and tiles") };
            let filled = Batch {
                tokens: batch.tokens,
                offsets: batch.offsets.clone(),
                tiles: tiles.clone(),
                indices: Vec::new(),
                positions: positions.first().cloned(),
                ways: Arc::clone(&batch.ways),
            };
            compute(&filled, rows.clone())
        })
    }
}

/// Up to how many tokens a batch is filled to be recorded; `None` if it is not.
fn recorded_as(tokens: usize, tiles: usize) -> Option<usize> {
    let fits = |most: &usize| tokens <= *most && tiles <= *most / TOKENS_A_TILE;
    RECORDED.into_iter().find(fits).filter(|most| tokens > 0 && *most <= 4 * tokens.max(RECORDED[0]))
}

#[cfg(test)]
mod tests {
    use super::recorded_as;

    #[test]
    fn batches_are_filled_up_to_the_next_size_or_left_as_they_are() {
        assert_eq!(recorded_as(0, 0), None);
        assert_eq!(recorded_as(1, 1), Some(32));
        assert_eq!(recorded_as(33, 1), Some(64));
        assert_eq!(recorded_as(4096, 64), Some(4096));
        assert_eq!(recorded_as(4097, 65), None);
        assert_eq!(recorded_as(32, 32), None, "rows of one token would be filled up to eight times as many");
    }
}
