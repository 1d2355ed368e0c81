//! Rotary positions: the angles of all positions, made at load.

use candle_core::{Device, Result, Tensor};

use super::operators::Rotary;
use crate::model::kernels::Angles;

/// Cosines and sines of all positions, for heads of this width.
///
/// Angles are made in `f64`, as their product with a large position would lose digits in `f32`.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small numbers; f32 is the result")]
pub(super) fn angles(rotary: Rotary, width: usize, device: &Device) -> Result<Angles> {
    let half = width / 2;
    let frequency = |pair: usize| rotary.theta.powf(-2.0 * pair as f64 / width as f64);
    let frequencies: Vec<f64> = (0..half).map(frequency).collect();
    let angles = (0..rotary.positions).flat_map(|position| frequencies.iter().map(move |of| position as f64 * of));
    let (cos, sin): (Vec<f32>, Vec<f32>) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
    let put = |numbers| Tensor::from_vec(numbers, (rotary.positions, half), device);
    Ok(Angles { cosines: put(cos)?, sines: put(sin)? })
}
