//! Rotary positions in candle's operations: sines and cosines of a batch's tokens once a batch.

use candle_core::{Device, Result, Tensor, bail};
use candle_nn::rotary_emb::rope_thd;

use crate::model::kernels::Angles;

/// Cosines and sines of a batch's tokens, `[tokens, width / 2]`.
pub(super) fn turns_of(angles: &Angles, offsets: &[usize], device: &Device) -> Result<(Tensor, Tensor)> {
    let positions = Tensor::new(positions(offsets)?, device)?;
    Ok((angles.cosines.index_select(&positions, 0)?, angles.sines.index_select(&positions, 0)?))
}

/// Turns `[tokens, heads, width]`.
pub(super) fn turn(rows: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Result<Tensor> {
    rope_thd(&rows.contiguous()?.unsqueeze(0)?, cos, sin)?.squeeze(0)
}

/// The position of each token within its row.
fn positions(offsets: &[usize]) -> Result<Vec<u32>> {
    let mut positions = Vec::with_capacity(offsets.last().copied().unwrap_or_default());
    for (start, end) in offsets.iter().zip(offsets.iter().skip(1)) {
        let Ok(length) = u32::try_from(end - start) else { bail!("a row of 2^32 tokens") };
        positions.extend(0..length);
    }
    Ok(positions)
}
