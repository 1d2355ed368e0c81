//! From ids to vectors: sums of rows of up to three tables, normalised (`cuda/embed.cu`).

use crate::driver::{Driver, Launch, View, ViewMut, blocks, names};
use crate::element::Element;
use crate::error::{Error, count, expect_length, rows_of};
use crate::norm::normalise;

/// Tokens of a block, a warp each.
const TOKENS: u32 = 4;
const THREADS: u32 = 128;

/// A table `[entries, width]`, and which of its entries each token has, `[tokens]`.
pub struct Table<'a, T, D: Driver> {
    /// `[entries, width]`.
    pub entries: View<'a, T, D>,
    /// `[tokens]`. One that the table does not have makes its token NaN.
    pub indices: View<'a, u32, D>,
}

/// A call: `out = norm(words[..] + types[..] + positions[..])`. The width is that of `weight`.
pub struct Embed<'a, T, D: Driver> {
    /// The first table.
    pub words: Table<'a, T, D>,
    /// The others: types, positions, as many as there are.
    pub more: [Option<Table<'a, T, D>>; 2],
    /// `[width]`.
    pub weight: View<'a, f32, D>,
    /// `[width]`; none is zeros.
    pub bias: Option<View<'a, f32, D>>,
    /// Added to the variance.
    pub eps: f32,
    /// `[tokens, width]`.
    pub out: ViewMut<'a, T, D>,
}

impl<T: Element, D: Driver> Embed<'_, T, D> {
    /// Launches it. Errors: a length is not that of the shape.
    pub fn launch(self, driver: &D) -> Result<(), Error> {
        let width = self.weight.length();
        expect_length("bias", self.bias.as_ref().map_or(width, View::length), width)?;
        let tokens = rows_of("out", self.out.length(), width)?;
        if tokens == 0 {
            return Ok(());
        }
        let mut launch = Launch::new(names!("embed")(T::TYPE), blocks(tokens, TOKENS), THREADS);
        let [types, positions] = &self.more;
        for table in [Some(&self.words), types.as_ref(), positions.as_ref()] {
            let mut entries = 0;
            if let Some(table) = table {
                expect_length("indices", table.indices.length(), self.out.length() / width)?;
                entries = rows_of("table", table.entries.length(), width)?;
            }
            launch = launch
                .optional_input(table.map(|table| &table.entries))
                .optional_input(table.map(|table| &table.indices))
                .number(entries);
        }
        let launch = launch
            .input(&self.weight)
            .optional_input(self.bias.as_ref())
            .real(self.eps)
            .number(tokens)
            .number(count("weight", width)?)
            .output(&self.out);
        driver.launch(&launch)
    }
}

/// What the kernel computes, `[tokens, width]`: of each token the sum of its entries of `tables`, which are `(entries, indices)`,
/// normalised as by [`crate::norm::norm`]. A token with an index that a table does not have is NaN.
pub fn embed<T: Element>(tables: &[(&[T], &[u32])], weight: &[f32], bias: Option<&[f32]>, eps: f32) -> Vec<f64> {
    let tokens = tables.first().map_or(0, |(_, indices)| indices.len());
    let mut out = Vec::with_capacity(tokens * weight.len());
    for token in 0..tokens {
        let mut sum = vec![0.0; weight.len()];
        for (entries, indices) in tables {
            let entry = indices.get(token).and_then(|index| entries.chunks(weight.len().max(1)).nth(*index as usize));
            for (at, number) in sum.iter_mut().enumerate() {
                *number += entry.and_then(|entry| entry.get(at)).map_or(f64::NAN, |number| number.to_f64());
            }
        }
        out.extend(normalise(&sum, weight, bias, eps));
    }
    out
}
