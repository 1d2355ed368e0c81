//! Ragged rows in slots.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sconce_kernels::pack::{Pack, Packed, Ragged, pack};

use crate::common::buffer::Buffer;
use crate::common::data::{Source, offsets};
use crate::common::{Rig, for_cases};

#[derive(Clone, Debug)]
struct Case {
    lengths: Vec<usize>,
    /// Slots of each row, or as many as it has.
    bucket: Option<u32>,
    free: usize,
    first_position: u32,
    seed: u64,
}

prop_compose! {
    fn cases()(
        lengths in prop::collection::vec(prop_oneof![Just(0_usize), Just(1), 2..40_usize, Just(300)], 0..9),
        bucket in prop::option::of(1..48_u32),
        free in 0..70_usize,
        first_position in 0..3_u32,
        seed in any::<u64>(),
    ) -> Case {
        Case { lengths, bucket, free, first_position, seed }
    }
}

/// Runs it.
pub(crate) fn check(rig: &impl Rig) {
    for_cases(96, &cases(), |case| check_case(rig, &case));
    for_cases(96, &any::<u64>(), |seed| check_hostile(rig, seed));
}

fn check_case(rig: &impl Rig, case: &Case) -> Result<(), TestCaseError> {
    let mut source = Source(case.seed);
    let begins = offsets(&case.lengths);
    let ids: Vec<u32> = (0..begins[case.lengths.len()]).map(|_| source.below(30_000)).collect();
    let mut order: Vec<u32> = (0..).take(case.lengths.len()).collect();
    order.sort_by_key(|row| case.lengths[*row as usize]);
    let starts: Vec<u32> = match case.bucket {
        Some(bucket) => (0..).map(|row| row * bucket).take(order.len() + 1).collect(),
        None => offsets(&order.iter().map(|row| case.lengths[*row as usize]).collect::<Vec<_>>()),
    };
    let slots = starts[order.len()] as usize + case.free;
    let rows = Ragged { ids: &ids, offsets: &begins, order: &order, starts: &starts };
    let packed = launch(rig, rows, case.first_position, slots);
    prop_assert_eq!(packed, pack(rows, PADDING, case.first_position, slots));
    Ok(())
}

/// Offsets, starts and an order that are anything: nothing is read or written outside, and each slot is filled.
fn check_hostile(rig: &impl Rig, seed: u64) -> Result<(), TestCaseError> {
    let mut source = Source(seed);
    let (rows, slots) = (source.below(6) as usize, source.below(80) as usize);
    let ids: Vec<u32> = (0..source.below(50)).map(|id| id + 7).collect();
    let mut wild = |length: usize, usual: u32| -> Vec<u32> {
        let mut number = || if source.below(4) == 0 { source.below(u32::MAX) } else { source.below(usual) };
        (0..length).map(|_| number()).collect()
    };
    let (begins, order, starts) = (wild(rows + 1, 50), wild(rows, 6), wild(rows + 1, 80));
    let rows = Ragged { ids: &ids, offsets: &begins, order: &order, starts: &starts };
    let packed = launch(rig, rows, 0, slots);
    let count = u32::try_from(order.len()).expect("a few rows");
    for (id, row) in packed.out.iter().zip(&packed.row_numbers) {
        prop_assert!(*row <= count && (*row < count) == (*id != PADDING), "id {} in row {}", id, row);
        prop_assert!(ids.contains(id) || *id == PADDING, "id {}", id);
    }
    Ok(())
}

const PADDING: u32 = 1;

fn launch<R: Rig>(rig: &R, rows: Ragged<'_>, first_position: u32, slots: usize) -> Packed {
    let buffer = |numbers: &[u32]| Buffer::of(rig, numbers, 1);
    let (ids, offsets) = (buffer(rows.ids), buffer(rows.offsets));
    let (order, starts) = (buffer(rows.order), buffer(rows.starts));
    let [mut out, mut positions, mut row_numbers] = [(); 3].map(|()| Buffer::<R, u32>::empty(rig, slots, 1));
    let call = Pack {
        ids: ids.view(),
        offsets: offsets.view(),
        order: order.view(),
        starts: starts.view(),
        padding: PADDING,
        first_position,
        out: out.view_mut(),
        positions: positions.view_mut(),
        row_numbers: row_numbers.view_mut(),
    };
    call.launch(rig.driver()).expect("a sound call");
    Packed { out: out.read(), positions: positions.read(), row_numbers: row_numbers.read() }
}
