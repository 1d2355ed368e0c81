//! Rows of a table, by their indices (`cuda/gather.cu`).

use crate::driver::{Driver, Launch, View, ViewMut, blocks};
use crate::element::{Element, Type};
use crate::error::{Error, count, expect_length, rows_of};

/// Rows of a block, a warp each.
const ROWS: u32 = 4;
const THREADS: u32 = 128;

/// A call: `out[i] = table[indices[i]]`.
pub struct Gather<'a, T, D: Driver> {
    /// `[entries, width]`.
    pub table: View<'a, T, D>,
    /// `[rows]`. One that the table does not have gives zeros.
    pub indices: View<'a, u32, D>,
    /// Numbers of an entry.
    pub width: usize,
    /// `[rows, width]`.
    pub out: ViewMut<'a, T, D>,
}

impl<T: Element, D: Driver> Gather<'_, T, D> {
    /// Launches it. Errors: a length is not that of the shape.
    pub fn launch(self, driver: &D) -> Result<(), Error> {
        let entries = rows_of("table", self.table.length(), self.width)?;
        let rows = rows_of("out", self.out.length(), self.width)?;
        expect_length("indices", self.indices.length(), self.out.length() / self.width)?;
        if rows == 0 {
            return Ok(());
        }
        let kernel = match T::TYPE {
            Type::F32 => "gather_32",
            Type::F16 | Type::Bf16 => "gather_16",
        };
        let launch = Launch::new(kernel, blocks(rows, ROWS), THREADS)
            .input(&self.table)
            .input(&self.indices)
            .number(entries)
            .number(rows)
            .number(count("width", self.width)?)
            .output(&self.out);
        driver.launch(&launch)
    }
}

/// What the kernel computes, to the bit.
pub fn gather<T: Element>(table: &[T], indices: &[u32], width: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(indices.len() * width);
    for index in indices {
        match table.chunks_exact(width.max(1)).nth(*index as usize) {
            Some(entry) => out.extend_from_slice(entry),
            None => out.resize(out.len() + width, T::from_f64(0.0)),
        }
    }
    out
}
