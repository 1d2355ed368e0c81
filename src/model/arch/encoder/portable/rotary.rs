//! Rotary positions: sines and cosines of all positions at load, those of a batch's tokens once a batch.

use candle_core::{Device, Result, Tensor, bail};
use candle_nn::rotary_emb::rope_thd;

use super::super::operators::Rotary;

/// Cosines and sines by position, `[positions, width / 2]`.
pub(super) struct Turns {
    cos: Tensor,
    sin: Tensor,
}

impl Turns {
    /// Angles in `f64`, as their product with a large position would lose digits in `f32`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "small numbers; f32 is the result"
    )]
    pub(super) fn new(rotary: Rotary, width: usize, device: &Device) -> Result<Self> {
        let half = width / 2;
        let frequency = |pair: usize| rotary.theta.powf(-2.0 * pair as f64 / width as f64);
        let frequencies: Vec<f64> = (0..half).map(frequency).collect();
        let angles = (0..rotary.positions).flat_map(|position| frequencies.iter().map(move |of| position as f64 * of));
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        let shape = (rotary.positions, half);
        Ok(Self { cos: Tensor::from_vec(cos, shape, device)?, sin: Tensor::from_vec(sin, shape, device)? })
    }

    /// Cosines and sines of a batch's tokens, `[tokens, width / 2]`.
    pub(super) fn of(&self, offsets: &[usize], device: &Device) -> Result<(Tensor, Tensor)> {
        let mut positions = Vec::with_capacity(offsets.last().copied().unwrap_or_default());
        for (start, end) in offsets.iter().zip(offsets.iter().skip(1)) {
            let Ok(length) = u32::try_from(end - start) else { bail!("a row of 2^32 tokens") };
            positions.extend(0..length);
        }
        let positions = Tensor::new(positions, device)?;
        Ok((self.cos.index_select(&positions, 0)?, self.sin.index_select(&positions, 0)?))
    }
}

/// Turns `[tokens, heads, width]`.
pub(super) fn turn(rows: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Result<Tensor> {
    rope_thd(&rows.contiguous()?.unsqueeze(0)?, cos, sin)?.squeeze(0)
}
