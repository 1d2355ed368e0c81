//! Rotary positions of queries and keys, in place (`cuda/rotate.cu`).

use crate::attend::Heads;
use crate::driver::{Driver, Launch, View, ViewMut, names};
use crate::element::{Element, widen};
use crate::error::{Error, count, expect_length, rows_of};

const THREADS: u32 = 256;
/// Enough to fill a GPU; each goes on with what is left.
const BLOCKS_MAX: u32 = 4096;

/// A call: of each query and key, the pairs of numbers `i` and `i + width / 2` are turned by the angle of their token's position.
pub struct Rotate<'r, 'a, T, D: Driver> {
    /// `[tokens, 3, heads, width]`: queries, keys, values; these stay.
    pub qkv: ViewMut<'r, T, D>,
    /// Of which the width must be even.
    pub heads: Heads,
    /// `[tokens]`. One that the tables do not have makes its token NaN.
    pub positions: View<'a, u32, D>,
    /// Cosines of the angles, `[positions, width / 2]`.
    pub cosines: View<'a, f32, D>,
    /// Sines of the angles, `[positions, width / 2]`.
    pub sines: View<'a, f32, D>,
}

impl<T: Element, D: Driver> Rotate<'_, '_, T, D> {
    /// Launches it. Errors: a length is not that of the shape, the width is odd, or there are no angles.
    pub fn launch(self, driver: &D) -> Result<(), Error> {
        let Heads { count: heads, width } = self.heads;
        if width == 0 || !width.is_multiple_of(2) {
            return Err(Error::Size { what: "width of a head", expected: "even", got: width });
        }
        let numbers = heads.saturating_mul(width);
        rows_of("qkv", self.qkv.length(), numbers.saturating_mul(3))?;
        expect_length("positions", self.positions.length(), self.qkv.length() / 3 / numbers)?;
        let angles = rows_of("cosines", self.cosines.length(), width / 2)?;
        expect_length("sines", self.sines.length(), self.cosines.length())?;
        if angles == 0 {
            return Err(Error::Size { what: "positions", expected: "1 at least", got: 0 });
        }
        let pairs = count("pairs", self.qkv.length() / 3)?;
        if pairs == 0 {
            return Ok(());
        }
        let grid = [pairs.div_ceil(THREADS).min(BLOCKS_MAX), 1];
        let launch = Launch::new(names!("rotate")(T::TYPE), grid, THREADS)
            .output(&self.qkv)
            .input(&self.positions)
            .input(&self.cosines)
            .input(&self.sines)
            .number(angles)
            .number(pairs)
            .number(count("heads", heads)?)
            .number(count("width of a head", width / 2)?);
        driver.launch(&launch)
    }
}

/// What the kernel computes, `[tokens, 3, heads, width]`: `x cos - y sin` and `x sin + y cos` of each pair, as the half-split form of
/// Su et al. 2021 has it.
pub fn rotate<T: Element>(qkv: &[T], heads: Heads, positions: &[u32], cosines: &[f32], sines: &[f32]) -> Vec<f64> {
    let mut out = widen(qkv);
    let half = heads.width / 2;
    for (token, position) in out.chunks_exact_mut((heads.count * heads.width * 3).max(1)).zip(positions) {
        let turned = token.len() / 3 * 2;
        for head in token[..turned].chunks_exact_mut(heads.width.max(1)) {
            for at in 0..half {
                let angle = *position as usize * half + at;
                let of = |table: &[f32]| table.get(angle).map_or(f64::NAN, |number| f64::from(*number));
                let (x, y) = (head[at], head[at + half]);
                head[at] = x * of(cosines) - y * of(sines);
                head[at + half] = x * of(sines) + y * of(cosines);
            }
        }
    }
    out
}
