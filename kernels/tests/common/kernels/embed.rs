//! Sums of rows of tables, normalised.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sconce_kernels::embed::{Embed, Table, embed};

use super::norm::error_of;
use crate::common::buffer::Buffer;
use crate::common::data::{Flavour, Number, Source, expect_all, shifts};
use crate::common::{Rig, for_cases};
use crate::for_types;

#[derive(Clone, Debug)]
struct Case {
    tokens: usize,
    width: usize,
    tables: usize,
    shift: usize,
    /// Are there indices that the tables do not have?
    is_hostile: bool,
    seed: u64,
}

prop_compose! {
    fn cases()(
        tokens in 0..12_usize,
        width in prop_oneof![Just(1_usize), 2..40_usize, Just(384), Just(1025)],
        tables in 1..4_usize,
        shift in shifts(),
        is_hostile in any::<bool>(),
        seed in any::<u64>(),
    ) -> Case {
        Case { tokens, width, tables, shift, is_hostile, seed }
    }
}

/// Runs it.
pub(crate) fn check(rig: &impl Rig) {
    for_types!(check_type(rig));
}

fn check_type<T: Number, R: Rig>(rig: &R) {
    for_cases(24, &cases(), |case| check_case::<T, R>(rig, &case));
}

fn check_case<T: Number, R: Rig>(rig: &R, case: &Case) -> Result<(), TestCaseError> {
    const SIZES: [u32; 3] = [50, 1, 20];
    let mut source = Source(case.seed);
    let weight: Vec<f32> = source.numbers(case.width, Flavour::Usual, 1.0);
    let bias: Vec<f32> = source.numbers(case.width, Flavour::Usual, 1.0);
    let tables: Vec<(Vec<T>, Vec<u32>)> = (0..case.tables)
        .map(|at| {
            let entries = source.numbers(SIZES[at] as usize * case.width, Flavour::Usual, 1.0);
            (entries, (0..case.tokens).map(|_| index(&mut source, SIZES[at], case.is_hostile)).collect())
        })
        .collect();

    let buffers: Vec<_> = tables
        .iter()
        .map(|(entries, indices)| (Buffer::of(rig, entries, case.shift), Buffer::of(rig, indices, case.shift)))
        .collect();
    let table = |at: usize| {
        let (entries, indices) = buffers.get(at)?;
        Some(Table { entries: entries.view(), indices: indices.view() })
    };
    let (weight_buffer, bias_buffer) = (Buffer::of(rig, &weight, 0), Buffer::of(rig, &bias, 0));
    let mut out = Buffer::<R, T>::empty(rig, case.tokens * case.width, 0);
    let call = Embed {
        words: table(0).expect("a table"),
        more: [table(1), table(2)],
        weight: weight_buffer.view(),
        bias: Some(bias_buffer.view()),
        eps: 1e-5,
        out: out.view_mut(),
    };
    call.launch(rig.driver()).expect("a sound call");

    let of: Vec<(&[T], &[u32])> = tables.iter().map(|(entries, indices)| (&entries[..], &indices[..])).collect();
    let twin = embed(&of, &weight, Some(&bias), 1e-5);
    // Sums of up to three numbers about 1, of which f32 loses what it does of numbers up to 9.
    let row = vec![9.0; 1];
    let lost = error_of(&row, 1e-2);
    expect_all("embed", &out.read(), &twin, |at| lost * f64::from(weight[at % case.width].abs()).max(1.0))
}

fn index(source: &mut Source, size: u32, is_hostile: bool) -> u32 {
    match source.below(if is_hostile { 10 } else { 8 }) {
        8 => size,
        9 => u32::MAX,
        _ => source.below(size),
    }
}
