//! The operators in candle's own operations, for any device that candle knows.

mod layout;
mod rotary;

use candle_core::{D, Device, Result, Tensor, bail};
use candle_nn::ops::{layer_norm, sigmoid, silu, softmax_last_dim};

use self::layout::{Group, Tile, groups, mask, tiles};
use self::rotary::{turn, turns_of};
use super::angles::angles;
use super::operators::{Activation, AttentionShape, Operators, Pooling, Then};
use crate::model::kernels::Angles;

/// Candle's operations on one device.
pub(in crate::model) struct Portable {
    device: Device,
}

impl Portable {
    pub(in crate::model) fn new(device: &Device) -> Self {
        Self { device: device.clone() }
    }

    fn put(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.to_device(&self.device)?.contiguous()
    }
}

/// A weight `[in, out]`, which is a view of one `[out, in]`, and a bias.
pub(in crate::model) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

/// Weight, bias and epsilon of a layer norm.
pub(in crate::model) struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

/// A way of attending.
pub(in crate::model) struct Attention {
    shape: AttentionShape,
    angles: Option<Angles>,
}

/// How a batch is cut, once for all layers.
pub(in crate::model) struct Batch {
    offsets: Vec<usize>,
    indices: Vec<Tensor>,
    groups: Vec<Group>,
    ways: Vec<Way>,
}

/// What a way of attending needs of a batch: the tiles, with masks where not all of a tile is seen, and the turns of each token.
struct Way {
    shape: AttentionShape,
    tiles: Vec<(Tile, Option<Tensor>)>,
    turns: Option<(Tensor, Tensor)>,
}

impl Operators for Portable {
    type Linear = Linear;
    type Norm = Norm;
    type Attention = Attention;
    type Batch = Batch;

    fn table(&self, table: Tensor) -> Result<Tensor> {
        self.put(&table)
    }

    fn linear(&self, weight: Tensor, bias: Option<Tensor>) -> Result<Linear> {
        let bias = bias.map(|bias| self.put(&bias)).transpose()?;
        Ok(Linear { weight: self.put(&weight)?.t()?, bias })
    }

    fn norm(&self, weight: Tensor, bias: Option<Tensor>, eps: f64) -> Result<Norm> {
        let weight = self.put(&weight)?;
        let bias = bias.map_or_else(|| weight.zeros_like(), |bias| self.put(&bias))?;
        #[expect(clippy::cast_possible_truncation, reason = "a small number, near enough in f32")]
        Ok(Norm { weight, bias, eps: eps as f32 })
    }

    fn attention(&self, shape: &AttentionShape) -> Result<Attention> {
        let angles = shape.rotary.map(|rotary| angles(rotary, shape.width, &self.device)).transpose()?;
        Ok(Attention { shape: *shape, angles })
    }

    fn batch(&self, offsets: &[usize], indices: &[Tensor], ways: &[Attention]) -> Result<Batch> {
        let groups = groups(offsets);
        let ways = ways.iter().map(|way| self.lay_out(way, offsets, &groups)).collect::<Result<_>>()?;
        Ok(Batch { offsets: offsets.to_vec(), indices: indices.to_vec(), groups, ways })
    }

    fn project(&self, linear: &Linear, rows: &Tensor, then: Then) -> Result<Tensor> {
        let mut product = rows.matmul(&linear.weight)?;
        if let Some(bias) = &linear.bias {
            product = product.broadcast_add(bias)?;
        }
        match then {
            Then::Nothing => Ok(product),
            Then::Activate(activation) => activate(&product, activation),
            Then::Gate(activation) => {
                let half = product.dim(D::Minus1)? / 2;
                let input = activate(&product.narrow(D::Minus1, 0, half)?.contiguous()?, activation)?;
                input.mul(&product.narrow(D::Minus1, half, half)?)
            }
        }
    }

    fn attend(&self, at: usize, batch: &Batch, qkv: &Tensor) -> Result<Tensor> {
        let Some(laid) = batch.ways.get(at) else { bail!("expected a way of attending, got number {at}") };
        let AttentionShape { heads, width, .. } = laid.shape;
        let tokens = qkv.dim(0)?;
        let parts = qkv.reshape((tokens, 3, heads, width))?;
        let part = |at| parts.narrow(1, at, 1)?.squeeze(1);
        let (mut queries, mut keys, values) = (part(0)?, part(1)?, part(2)?);
        if let Some(turns) = &laid.turns {
            (queries, keys) = (turn(&queries, turns)?, turn(&keys, turns)?);
        }
        let seen = laid.tiles.iter().map(|(tile, mask)| {
            let of = |tensor: &Tensor, range: &std::ops::Range<usize>| {
                tensor.narrow(0, range.start, range.len())?.transpose(0, 1)
            };
            let keys = of(&keys, &tile.keys)?.transpose(1, 2)?;
            let mut scores = of(&queries, &tile.queries)?.matmul(&keys)?;
            if let Some(mask) = mask {
                scores = scores.broadcast_add(mask)?;
            }
            let seen = softmax_last_dim(&scores)?.matmul(&of(&values, &tile.keys)?)?;
            seen.transpose(0, 1)?.reshape((tile.queries.len(), heads * width))
        });
        join(seen.collect::<Result<_>>()?)
    }

    fn embed(&self, norm: &Norm, tables: &[Tensor], batch: &Batch) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (table, indices) in tables.iter().zip(&batch.indices) {
            let found = table.index_select(indices, 0)?;
            sum = Some(match sum {
                Some(sum) => sum.add(&found)?,
                None => found,
            });
        }
        let Some(sum) = sum else { bail!("no tables") };
        self.normalise(norm, &sum)
    }

    fn normalise(&self, norm: &Norm, rows: &Tensor) -> Result<Tensor> {
        layer_norm(rows, &norm.weight, &norm.bias, norm.eps)
    }

    fn add_norm(&self, norm: &Norm, rows: &Tensor, update: &Tensor) -> Result<Tensor> {
        self.normalise(norm, &rows.add(update)?)
    }

    fn add_norm_with_sum(&self, norm: &Norm, rows: &Tensor, update: &Tensor) -> Result<(Tensor, Tensor)> {
        let sum = rows.add(update)?;
        let normed = self.normalise(norm, &sum)?;
        Ok((sum, normed))
    }

    fn pool(&self, pooling: Pooling, batch: &Batch, rows: &Tensor) -> Result<Tensor> {
        let bounds = || batch.offsets.iter().zip(batch.offsets.iter().skip(1)).map(|(start, end)| (*start, *end));
        match pooling {
            Pooling::First => self.select(rows, bounds().map(|(start, _)| start)),
            Pooling::Last => self.select(rows, bounds().map(|(_, end)| end.saturating_sub(1))),
            Pooling::Max => {
                let largest = bounds().map(|(start, end)| rows.narrow(0, start, end - start)?.max_keepdim(0));
                join(largest.collect::<Result<_>>()?)
            }
            Pooling::Mean | Pooling::MeanSqrtLength | Pooling::WeightedMean => {
                let sums = batch.groups.iter().map(|group| {
                    let shape = (group.rows.len(), group.tokens.len());
                    let weights = Tensor::from_vec(group.weights(&batch.offsets, pooling), shape, &self.device)?;
                    weights.matmul(&rows.narrow(0, group.tokens.start, group.tokens.len())?)
                });
                join(sums.collect::<Result<_>>()?)
            }
        }
    }
}

impl Portable {
    fn lay_out(&self, way: &Attention, offsets: &[usize], groups: &[Group]) -> Result<Way> {
        let masked = |tile: Tile| {
            let (rows, columns) = (tile.queries.len(), tile.keys.len());
            let mask = mask(&tile, offsets, way.shape.reach);
            let mask = mask.map(|mask| Tensor::from_vec(mask, (1, rows, columns), &self.device)).transpose()?;
            Ok((tile, mask))
        };
        let tiles = tiles(groups, way.shape.reach).into_iter().map(masked).collect::<Result<_>>()?;
        let turns = way.angles.as_ref().map(|angles| turns_of(angles, offsets, &self.device)).transpose()?;
        Ok(Way { shape: way.shape, tiles, turns })
    }

    fn select(&self, rows: &Tensor, tokens: impl Iterator<Item = usize>) -> Result<Tensor> {
        let indices: Option<Vec<u32>> = tokens.map(|token| u32::try_from(token).ok()).collect();
        let Some(indices) = indices else { bail!("a batch of 2^32 tokens") };
        rows.index_select(&Tensor::new(indices, &self.device)?, 0)
    }
}

/// Puts parts one below the other.
fn join(parts: Vec<Tensor>) -> Result<Tensor> {
    match <[Tensor; 1]>::try_from(parts) {
        Ok([part]) => Ok(part),
        Err(parts) => Tensor::cat(&parts, 0),
    }
}

/// A function of each number.
pub(in crate::model) fn activate(rows: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Gelu => rows.gelu_erf(),
        Activation::GeluTanh => rows.gelu(),
        Activation::Relu => rows.relu(),
        Activation::Silu => silu(rows),
        Activation::Tanh => rows.tanh(),
        Activation::Sigmoid => sigmoid(rows),
    }
}
