//! Attention within rows of any lengths (`cuda/attend.cu`).

use crate::driver::{Driver, Launch, View, ViewMut, shared_bytes};
use crate::element::{Element, Type, widen};
use crate::error::{Error, count, expect_length, rows_of};

const THREADS: u32 = 128;
/// Queries that a block answers.
const QUERIES: usize = 64;
/// Numbers of a tile's entry.
const TILE: usize = 3;
/// Heads at most: a GPU's limit for the second dimension of a grid.
const HEADS_MAX: usize = 65535;
/// Stands for a reach without limit.
const WHOLE: u32 = u32::MAX;

/// Every kernel: by type and by the width of a head, rounded up.
pub const KERNELS: &[&str] = &[
    "attend_f32_16",
    "attend_f32_32",
    "attend_f32_64",
    "attend_f32_96",
    "attend_f32_128",
    "attend_f16_16",
    "attend_f16_32",
    "attend_f16_64",
    "attend_f16_96",
    "attend_f16_128",
    "attend_bf16_16",
    "attend_bf16_32",
    "attend_bf16_64",
    "attend_bf16_96",
    "attend_bf16_128",
];
/// Widths of heads that there are kernels for; others are rounded up.
const WIDTHS: [usize; 5] = [16, 32, 64, 96, 128];

/// Parts that attend on their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// How many.
    pub count: usize,
    /// Numbers of each, at most 128.
    pub width: usize,
}

/// How a batch is cut into blocks of queries of one row, for all layers: `[tiles, 3]`, where the row begins and ends, and the first
/// query. `offsets`, `[rows + 1]`, tell where rows begin.
///
/// A graph that was captured for more tiles can be given zeros for the rest: an empty tile answers nothing.
pub fn tiles(offsets: &[u32]) -> Vec<u32> {
    let mut tiles = Vec::new();
    for bounds in offsets.windows(2) {
        for query in (bounds[0]..bounds[1]).step_by(QUERIES) {
            tiles.extend([bounds[0], bounds[1], query]);
        }
    }
    tiles
}

/// A call. Queries come scaled, and turned if they are to be.
pub struct Attend<'a, T, D: Driver> {
    /// `[tokens, 3, heads, width]`: queries, keys, values.
    pub qkv: View<'a, T, D>,
    /// How they are parted.
    pub heads: Heads,
    /// `[tiles, 3]`, as [`tiles`] makes them.
    pub tiles: View<'a, u32, D>,
    /// How far a token sees to either side; none is the whole row.
    pub reach: Option<usize>,
    /// `[tokens, heads, width]`.
    pub out: ViewMut<'a, T, D>,
}

impl<T: Element, D: Driver> Attend<'_, T, D> {
    /// Launches it. Errors: a length is not that of the shape, heads are too wide or too many.
    pub fn launch(self, driver: &D) -> Result<(), Error> {
        let Heads { count: heads, width } = self.heads;
        let Some(place) = WIDTHS.iter().position(|rounded| width <= *rounded) else {
            return Err(Error::Size { what: "width of a head", expected: "at most 128", got: width });
        };
        if heads > HEADS_MAX {
            return Err(Error::Size { what: "heads", expected: "at most 65535", got: heads });
        }
        let tokens = rows_of("out", self.out.length(), heads * width)?;
        expect_length("qkv", self.qkv.length(), self.out.length().saturating_mul(3))?;
        count("qkv", self.qkv.length())?;
        let tiles = rows_of("tiles", self.tiles.length(), TILE)?;
        if tiles == 0 {
            return Ok(());
        }
        let rounded = WIDTHS[place];
        let launch = Launch::new(kernel(T::TYPE, place), [tiles, count("heads", heads)?], THREADS)
            .shared(shared_bytes(if T::TYPE == Type::F32 { exact_bytes(rounded) } else { tile_bytes(rounded) })?)
            .input(&self.qkv)
            .input(&self.tiles)
            .number(tokens)
            .number(count("heads", heads)?)
            .number(count("width of a head", width)?)
            .number(self.reach.and_then(|reach| u32::try_from(reach).ok()).unwrap_or(WHOLE))
            .output(&self.out);
        driver.launch(&launch)
    }
}

/// The kernel for the `place`-th of the widths.
fn kernel(of: Type, place: usize) -> &'static str {
    let first = match of {
        Type::F32 => 0,
        Type::F16 => WIDTHS.len(),
        Type::Bf16 => WIDTHS.len() * 2,
    };
    KERNELS[first + place]
}

/// Memory of a block in `f32`: queries, keys or values, and shares, as `cuda/attend_exact.cuh` lays them out.
fn exact_bytes(width: usize) -> usize {
    let keys = if width > 96 { 16 } else { 32 };
    (QUERIES * (width + 1) + keys * (width + 1) + QUERIES * (keys + 1)) * size_of::<f32>()
}

/// Memory of a block by tensor cores: keys and values, as `cuda/attend_tiles.cuh` lays them out.
fn tile_bytes(width: usize) -> usize {
    const KEYS: usize = 64;
    2 * KEYS * (width + 8) * size_of::<u16>()
}

/// What the kernel computes, `[tokens, heads, width]`: of each token `softmax(query · keys) · values`, over the tokens of its own row
/// at most `reach` away.
///
/// `offsets` must be those of the tokens. In `f16` and `bf16` the kernel rounds shares before it multiplies them with values. A NaN
/// or an infinity stays in its row; within it, it may also reach tokens that do not see it.
pub fn attend<T: Element>(qkv: &[T], heads: Heads, offsets: &[u32], reach: Option<usize>) -> Vec<f64> {
    let (numbers, row_width) = (widen(qkv), heads.count * heads.width);
    let mut out = vec![0.0; numbers.len() / 3];
    for bounds in offsets.windows(2) {
        let row = bounds[0] as usize..bounds[1] as usize;
        for query in row.clone() {
            let low = reach.map_or(row.start, |reach| row.start.max(query.saturating_sub(reach)));
            let high = reach.map_or(row.end, |reach| row.end.min(query.saturating_add(reach).saturating_add(1)));
            for head in 0..heads.count {
                let at = |token: usize, part: usize| {
                    let start = (token * 3 + part) * row_width + head * heads.width;
                    &numbers[start..start + heads.width]
                };
                let answer = attend_one(at(query, 0), (low..high).map(|key| (at(key, 1), at(key, 2))));
                out[query * row_width + head * heads.width..][..heads.width].copy_from_slice(&answer);
            }
        }
    }
    out
}

/// The answer to one query, of keys and values.
fn attend_one<'a>(query: &[f64], seen: impl Iterator<Item = (&'a [f64], &'a [f64])> + Clone) -> Vec<f64> {
    let score = |key: &[f64]| query.iter().zip(key).map(|(left, right)| left * right).sum::<f64>();
    let scores: Vec<f64> = seen.clone().map(|(key, _)| score(key)).collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
    let sum: f64 = shares.iter().sum();
    let mut out = vec![0.0; query.len()];
    for (share, (_, value)) in shares.iter().zip(seen) {
        for (number, value) in out.iter_mut().zip(value) {
            *number += share / sum * value;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{QUERIES, tiles};

    #[test]
    fn tiles_hold_each_query_once() {
        assert_eq!(tiles(&[]), []);
        assert_eq!(tiles(&[0, 0]), []);
        assert_eq!(tiles(&[0, 3, 3, 4]), [0, 3, 0, 3, 4, 3]);
        let long = u32::try_from(2 * QUERIES + 1).expect("small");
        assert_eq!(tiles(&[5, 5 + long]), [5, 5 + long, 5, 5, 5 + long, 69, 5, 5 + long, 133]);
    }
}
