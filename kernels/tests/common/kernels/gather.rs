//! Rows by their indices.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sconce_kernels::gather::{Gather, gather};

use crate::common::buffer::{Buffer, Poison};
use crate::common::data::{Flavour, Number, Source, shifts};
use crate::common::{Rig, for_cases};
use crate::for_types;

#[derive(Clone, Debug)]
struct Case {
    entries: u32,
    rows: usize,
    width: usize,
    shift: usize,
    seed: u64,
}

prop_compose! {
    fn cases()(
        entries in 0..20_u32,
        rows in 0..12_usize,
        width in prop_oneof![Just(1_usize), 2..40_usize, Just(384), Just(1025)],
        shift in shifts(),
        seed in any::<u64>(),
    ) -> Case {
        Case { entries, rows, width, shift, seed }
    }
}

/// Runs it.
pub(crate) fn check(rig: &impl Rig) {
    for_types!(check_type(rig));
}

fn check_type<T: Number, R: Rig>(rig: &R) {
    for_cases(32, &cases(), |case| check_case::<T, R>(rig, &case));
}

fn check_case<T: Number, R: Rig>(rig: &R, case: &Case) -> Result<(), TestCaseError> {
    let mut source = Source(case.seed);
    let table: Vec<T> = source.numbers(case.entries as usize * case.width, Flavour::Hostile, 1.0);
    // One in a few is an index that the table does not have.
    let indices: Vec<u32> = (0..case.rows).map(|_| source.below(case.entries + 3)).collect();
    let (table_buffer, index_buffer) = (Buffer::of(rig, &table, case.shift), Buffer::of(rig, &indices, 0));
    let mut out = Buffer::empty(rig, case.rows * case.width, case.shift);
    let call =
        Gather { table: table_buffer.view(), indices: index_buffer.view(), width: case.width, out: out.view_mut() };
    call.launch(rig.driver()).expect("a sound call");
    let bits = |numbers: Vec<T>| numbers.into_iter().map(Poison::bits).collect::<Vec<_>>();
    prop_assert_eq!(bits(out.read()), bits(gather(&table, &indices, case.width)));
    Ok(())
}
