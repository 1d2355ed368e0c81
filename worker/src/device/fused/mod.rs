//! The kernels as encoders call them: candle's tensors in, candle's tensors out.

#[cfg(test)]
mod host;
mod scores;
mod side;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::op::BackpropOp;
use candle_core::{DType, Error, Result, Tensor, bail};
use sconce::model::kernels as model;
use sconce::model::kernels::{Angles, Kernels, LayerNorm, Recorder};
use sconce_kernels::{Element, activate, attend, embed, norm, pack, pool, rotate};

pub(crate) use self::scores::Scorer;
use self::side::Reading;
pub(crate) use self::side::{Number, Side};

/// Makes what records a model's work.
pub(crate) type MakeRecorder = Box<dyn Fn() -> Option<Box<dyn Recorder>> + Send + Sync>;

/// The kernels of one side.
pub(crate) struct Fused<S: Side> {
    side: Arc<S>,
    recorder: MakeRecorder,
}

/// Calls a generic method with the type of a tensor's numbers.
macro_rules! by_type {
    ($tensor:expr, $number:ident => $call:expr) => {
        match $tensor.dtype() {
            DType::F32 => {
                type $number = f32;
                $call
            }
            DType::F16 => {
                type $number = half::f16;
                $call
            }
            DType::BF16 => {
                type $number = half::bf16;
                $call
            }
            other => bail!("kernels do not compute in {other:?}"),
        }
    };
}

impl<S: Side> Fused<S> {
    pub(crate) fn new(side: Arc<S>, recorder: MakeRecorder) -> Self {
        Self { side, recorder }
    }

    fn pack_in(&self, ids: &Tensor, offsets: &Tensor, order: &Tensor, slots: usize) -> Result<(Tensor, Tensor)> {
        let side = &*self.side;
        let (mut out, mut positions) = (self.room::<u32>(&[slots])?, self.room::<u32>(&[slots])?);
        let mut row_numbers = self.room::<u32>(&[slots])?;
        let (ids, offsets, order) = (Reading::of(ids)?, Reading::of(offsets)?, Reading::of(order)?);
        let call = pack::Pack {
            ids: ids.view(side)?,
            offsets: offsets.view(side)?,
            order: order.view(side)?,
            starts: offsets.view(side)?,
            padding: 0,
            first_position: 0,
            out: side.view_room(&mut out)?,
            positions: side.view_room(&mut positions)?,
            row_numbers: side.view_room(&mut row_numbers)?,
        };
        call.launch(side.driver()).map_err(Error::wrap)?;
        Ok((self.tensor(out, &[slots]), self.tensor(positions, &[slots])))
    }

    fn tensor<T: Number>(&self, memory: S::Memory<T>, dims: &[usize]) -> Tensor {
        Tensor::from_storage(self.side.storage(memory), dims, BackpropOp::none(), false)
    }

    fn room<T: Number>(&self, dims: &[usize]) -> Result<S::Memory<T>> {
        self.side.room(dims.iter().product())
    }

    fn embed_as<T: Number + Element>(&self, tables: &[(&Tensor, &Tensor)], norm: &LayerNorm) -> Result<Tensor> {
        let side = &*self.side;
        let tokens = tables.first().map_or(0, |(_, indices)| indices.elem_count());
        let dims = [tokens, norm.weight.elem_count()];
        let mut out = self.room::<T>(&dims)?;
        let (weight, bias) = (Reading::of(&norm.weight)?, norm.bias.as_ref().map(Reading::of).transpose()?);
        let opened = tables.iter().map(|(table, indices)| Ok((Reading::of(table)?, Reading::of(indices)?)));
        let opened: Vec<(Reading<'_>, Reading<'_>)> = opened.collect::<Result<_>>()?;
        let table = |at: usize| {
            let opened = opened.get(at).map(|(table, indices)| {
                Ok::<_, Error>(embed::Table { entries: table.view::<T, S>(side)?, indices: indices.view(side)? })
            });
            opened.transpose()
        };
        let Some(words) = table(0)? else { bail!("no tables") };
        let call = embed::Embed {
            words,
            more: [table(1)?, table(2)?],
            weight: weight.view(side)?,
            bias: bias.as_ref().map(|bias| bias.view(side)).transpose()?,
            eps: norm.eps,
            out: side.view_room(&mut out)?,
        };
        call.launch(side.driver()).map_err(Error::wrap)?;
        Ok(self.tensor(out, &dims))
    }

    fn activate_as<T: Number + Element>(
        &self,
        rows: &Tensor,
        bias: Option<&Tensor>,
        activation: activate::Activation,
    ) -> Result<()> {
        let side = &*self.side;
        let bias = bias.map(Reading::of).transpose()?;
        let width = rows.dim(rows.rank() - 1)?;
        let bias = bias.as_ref().map(|bias| bias.view(side)).transpose()?;
        side.change::<T>(rows, |rows| {
            activate::Activate { rows, bias, width, activation }.launch(side.driver()).map_err(Error::wrap)
        })
    }

    fn gate_as<T: Number + Element>(
        &self,
        rows: &Tensor,
        bias: Option<&Tensor>,
        activation: activate::Activation,
    ) -> Result<Tensor> {
        let side = &*self.side;
        let (count, widths) = rows.dims2()?;
        let (rows, bias) = (Reading::of(rows)?, bias.map(Reading::of).transpose()?);
        let width = widths / 2;
        let mut out = self.room::<T>(&[count, width])?;
        let bias = bias.as_ref().map(|bias| bias.view(side)).transpose()?;
        let (rows, written) = (rows.view(side)?, side.view_room(&mut out)?);
        let call = activate::Gate { rows, bias, width, activation, out: written };
        call.launch(side.driver()).map_err(Error::wrap)?;
        Ok(self.tensor(out, &[count, width]))
    }

    fn rotate_as<T: Number + Element>(
        &self,
        qkv: &Tensor,
        heads: model::Heads,
        positions: &Tensor,
        angles: &Angles,
    ) -> Result<()> {
        let side = &*self.side;
        let [positions, cosines, sines] = [positions, &angles.cosines, &angles.sines].map(Reading::of);
        let (positions, cosines, sines) = (positions?, cosines?, sines?);
        let (positions, cosines, sines) = (positions.view(side)?, cosines.view(side)?, sines.view(side)?);
        side.change::<T>(qkv, |qkv| {
            let call = rotate::Rotate { qkv, heads: split(heads), positions, cosines, sines };
            call.launch(side.driver()).map_err(Error::wrap)
        })
    }

    fn attend_as<T: Number + Element>(
        &self,
        qkv: &Tensor,
        heads: model::Heads,
        tiles: &Tensor,
        reach: Option<usize>,
    ) -> Result<Tensor> {
        let side = &*self.side;
        let tokens = qkv.dim(0)?;
        let (qkv, tiles) = (Reading::of(qkv)?, Reading::of(tiles)?);
        let dims = [tokens, heads.count * heads.width];
        let mut out = self.room::<T>(&dims)?;
        let (qkv, tiles, written) = (qkv.view(side)?, tiles.view(side)?, side.view_room(&mut out)?);
        let call = attend::Attend { qkv, heads: split(heads), tiles, reach, out: written };
        call.launch(side.driver()).map_err(Error::wrap)?;
        Ok(self.tensor(out, &dims))
    }

    fn norm_as<T: Number + Element>(
        &self,
        rows: &Tensor,
        update: Option<&Tensor>,
        norm: &LayerNorm,
        sum: Option<&mut S::Memory<T>>,
    ) -> Result<Tensor> {
        let side = &*self.side;
        let dims = rows.dims();
        let mut out = self.room::<T>(dims)?;
        let (rows, update) = (Reading::of(rows)?, update.map(Reading::of).transpose()?);
        let (weight, bias) = (Reading::of(&norm.weight)?, norm.bias.as_ref().map(Reading::of).transpose()?);
        let call = norm::Norm {
            rows: rows.view(side)?,
            update: update.as_ref().map(|update| update.view(side)).transpose()?,
            weight: weight.view(side)?,
            bias: bias.as_ref().map(|bias| bias.view(side)).transpose()?,
            eps: norm.eps,
            sum: sum.map(|sum| side.view_room(sum)).transpose()?,
            out: side.view_room(&mut out)?,
        };
        call.launch(side.driver()).map_err(Error::wrap)?;
        Ok(self.tensor(out, dims))
    }

    fn norm_with_sum_as<T: Number + Element>(
        &self,
        rows: &Tensor,
        update: &Tensor,
        norm: &LayerNorm,
    ) -> Result<(Tensor, Tensor)> {
        let mut sum = self.room::<T>(rows.dims())?;
        let out = self.norm_as::<T>(rows, Some(update), norm, Some(&mut sum))?;
        Ok((self.tensor(sum, rows.dims()), out))
    }

    fn pool_as<T: Number + Element>(&self, rows: &Tensor, offsets: &Tensor, pooling: pool::Pooling) -> Result<Tensor> {
        let side = &*self.side;
        let (width, count) = (rows.dim(1)?, offsets.dim(0)?.saturating_sub(1));
        let (rows, offsets) = (Reading::of(rows)?, Reading::of(offsets)?);
        let mut out = self.room::<T>(&[count, width])?;
        let (rows, offsets, written) = (rows.view(side)?, offsets.view(side)?, side.view_room(&mut out)?);
        let call = pool::Pool { rows, offsets, width, pooling, normalises: false, out: written };
        call.launch(side.driver()).map_err(Error::wrap)?;
        Ok(self.tensor(out, &[count, width]))
    }
}

impl<S: Side> Kernels for Fused<S> {
    fn pack(&self, ids: &Tensor, offsets: &Tensor, order: &Tensor, slots: usize) -> Result<(Tensor, Tensor)> {
        self.pack_in(ids, offsets, order, slots)
    }

    fn embed(&self, tables: &[(&Tensor, &Tensor)], norm: &LayerNorm) -> Result<Tensor> {
        let Some((first, _)) = tables.first() else { bail!("no tables") };
        by_type!(first, T => self.embed_as::<T>(tables, norm))
    }

    fn activate(&self, rows: &Tensor, bias: Option<&Tensor>, activation: Option<model::Activation>) -> Result<()> {
        let activation = activation.map_or(activate::Activation::Identity, function);
        by_type!(rows, T => self.activate_as::<T>(rows, bias, activation))
    }

    fn gate(&self, rows: &Tensor, bias: Option<&Tensor>, activation: model::Activation) -> Result<Tensor> {
        by_type!(rows, T => self.gate_as::<T>(rows, bias, function(activation)))
    }

    fn rotate(&self, qkv: &Tensor, heads: model::Heads, positions: &Tensor, angles: &Angles) -> Result<()> {
        by_type!(qkv, T => self.rotate_as::<T>(qkv, heads, positions, angles))
    }

    fn tiles(&self, offsets: &[u32]) -> Vec<u32> {
        attend::tiles(offsets)
    }

    fn attend(&self, qkv: &Tensor, heads: model::Heads, tiles: &Tensor, reach: Option<usize>) -> Result<Tensor> {
        by_type!(qkv, T => self.attend_as::<T>(qkv, heads, tiles, reach))
    }

    fn norm(&self, rows: &Tensor, update: Option<&Tensor>, norm: &LayerNorm) -> Result<Tensor> {
        by_type!(rows, T => self.norm_as::<T>(rows, update, norm, None))
    }

    fn norm_with_sum(&self, rows: &Tensor, update: &Tensor, norm: &LayerNorm) -> Result<(Tensor, Tensor)> {
        by_type!(rows, T => self.norm_with_sum_as::<T>(rows, update, norm))
    }

    fn pool(&self, rows: &Tensor, offsets: &Tensor, pooling: model::Pooling) -> Result<Tensor> {
        let pooling = match pooling {
            model::Pooling::First => pool::Pooling::First,
            model::Pooling::Last => pool::Pooling::Last,
            model::Pooling::Max => pool::Pooling::Max,
            model::Pooling::Mean => pool::Pooling::Mean,
            model::Pooling::MeanSqrtLength => pool::Pooling::MeanSqrtLength,
            model::Pooling::WeightedMean => pool::Pooling::WeightedMean,
        };
        by_type!(rows, T => self.pool_as::<T>(rows, offsets, pooling))
    }

    fn recorder(&self) -> Option<Box<dyn Recorder>> {
        (self.recorder)()
    }
}

fn function(activation: model::Activation) -> activate::Activation {
    match activation {
        model::Activation::Gelu => activate::Activation::Gelu,
        model::Activation::GeluTanh => activate::Activation::GeluTanh,
        model::Activation::Relu => activate::Activation::Relu,
        model::Activation::Silu => activate::Activation::Silu,
        model::Activation::Tanh => activate::Activation::Tanh,
        model::Activation::Sigmoid => activate::Activation::Sigmoid,
    }
}

fn split(heads: model::Heads) -> attend::Heads {
    attend::Heads { count: heads.count, width: heads.width }
}
