//! Ragged rows of ids laid out in slots: packed, or each at the start of a bucket (`cuda/pack.cu`).

use crate::driver::{Driver, Launch, View, ViewMut, blocks};
use crate::error::{Error, count, expect_length};

const THREADS: u32 = 256;

/// A call. Row `i` of the layout is row `order[i]` of `ids`; it begins at slot `starts[i]`, and what it leaves free before
/// `starts[i + 1]` is padding, as are the slots after the last row. So `starts` tell packed rows from bucketed ones.
pub struct Pack<'a, D: Driver> {
    /// Of all rows, one after the other.
    pub ids: View<'a, u32, D>,
    /// `[rows + 1]`: where rows of `ids` begin.
    pub offsets: View<'a, u32, D>,
    /// `[rows]`.
    pub order: View<'a, u32, D>,
    /// `[rows + 1]`.
    pub starts: View<'a, u32, D>,
    /// What padding is filled with.
    pub padding: u32,
    /// Position of a row's first id.
    pub first_position: u32,
    /// `[slots]`.
    pub out: ViewMut<'a, u32, D>,
    /// `[slots]`: `first_position`, and on; 0 for padding.
    pub positions: ViewMut<'a, u32, D>,
    /// `[slots]`: rows of the layout; their count for padding.
    pub row_numbers: ViewMut<'a, u32, D>,
}

impl<D: Driver> Pack<'_, D> {
    /// Launches it. Errors: a length is not that of the shape.
    pub fn launch(self, driver: &D) -> Result<(), Error> {
        let (rows, slots) = (self.order.length(), self.out.length());
        expect_length("offsets", self.offsets.length(), rows + 1)?;
        expect_length("starts", self.starts.length(), rows + 1)?;
        expect_length("positions", self.positions.length(), slots)?;
        expect_length("row numbers", self.row_numbers.length(), slots)?;
        let (rows, slots) = (count("order", rows)?, count("out", slots)?);
        if slots == 0 {
            return Ok(());
        }
        let launch = Launch::new("pack", blocks(slots, THREADS), THREADS)
            .input(&self.ids)
            .input(&self.offsets)
            .input(&self.order)
            .input(&self.starts)
            .number(count("ids", self.ids.length())?)
            .number(rows)
            .number(slots)
            .number(self.padding)
            .number(self.first_position)
            .output(&self.out)
            .output(&self.positions)
            .output(&self.row_numbers);
        driver.launch(&launch)
    }
}

/// Results of the twin, `[slots]` each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The ids.
    pub out: Vec<u32>,
    /// Their positions.
    pub positions: Vec<u32>,
    /// Their rows.
    pub row_numbers: Vec<u32>,
}

/// Rows as the twin takes them; the fields of [`Pack`].
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "those of `Pack`")]
pub struct Ragged<'a> {
    pub ids: &'a [u32],
    pub offsets: &'a [u32],
    pub order: &'a [u32],
    pub starts: &'a [u32],
}

/// What the kernel computes. A row that `ids` do not have, or whose offsets fall, is padding altogether.
///
/// `starts` must rise: else which row has a slot is not said, though each slot is filled, from within `ids`.
pub fn pack(rows: Ragged<'_>, padding: u32, first_position: u32, slots: usize) -> Packed {
    let count = u32::try_from(rows.order.len()).unwrap_or(u32::MAX);
    let mut packed = Packed { out: vec![padding; slots], positions: vec![0; slots], row_numbers: vec![count; slots] };
    for ((number, source), bounds) in (0..).zip(rows.order).zip(rows.starts.windows(2)) {
        let row = row_of(rows, *source as usize).unwrap_or_default();
        let free = bounds.iter().map(|bound| *bound as usize).collect::<Vec<_>>();
        for ((slot, id), position) in (free[0]..free[1].min(slots)).zip(row).zip(first_position..) {
            packed.out[slot] = *id;
            packed.positions[slot] = position;
            packed.row_numbers[slot] = number;
        }
    }
    packed
}

/// The ids of a row.
fn row_of(rows: Ragged<'_>, source: usize) -> Option<&[u32]> {
    let bounds = rows.offsets.get(source..source + 2)?;
    rows.ids.get(bounds[0] as usize..bounds[1] as usize)
}
