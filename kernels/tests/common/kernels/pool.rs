//! One vector for each row.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sconce_kernels::pool::{Pool, Pooling, WIDTH_MAX, pool};

use crate::common::buffer::Buffer;
use crate::common::data::{Flavour, Number, Source, expect_all, flavours, magnitude, offsets, shifts};
use crate::common::{Rig, for_cases};
use crate::for_types;

const ALL: [Pooling; 6] =
    [Pooling::First, Pooling::Last, Pooling::Max, Pooling::Mean, Pooling::MeanSqrtLength, Pooling::WeightedMean];

#[derive(Clone, Debug)]
struct Case {
    lengths: Vec<usize>,
    width: usize,
    pooling: Pooling,
    normalises: bool,
    flavour: Flavour,
    shift: usize,
    seed: u64,
}

prop_compose! {
    fn cases()(
        lengths in prop::collection::vec(prop_oneof![Just(0_usize), Just(1), 2..20_usize, Just(131)], 0..5),
        width in prop_oneof![Just(1_usize), 2..40_usize, Just(384), Just(301), Just(WIDTH_MAX)],
        pooling in prop::sample::select(ALL.to_vec()),
        normalises in any::<bool>(),
        flavour in flavours(),
        shift in shifts(),
        seed in any::<u64>(),
    ) -> Case {
        // A wide row of many tokens would only take long.
        let lengths = if width == WIDTH_MAX { lengths.into_iter().take(2).map(|length| length.min(5)).collect() } else { lengths };
        Case { lengths, width, pooling, normalises, flavour, shift, seed }
    }
}

/// Runs it.
pub(crate) fn check(rig: &impl Rig) {
    for_types!(check_type(rig));
    check_offsets_beyond(rig);
    check_zeros(rig);
}

fn check_type<T: Number, R: Rig>(rig: &R) {
    for_cases(32, &cases(), |case| check_case::<T, R>(rig, &case));
}

fn launch<T: Number, R: Rig>(rig: &R, numbers: &[T], bounds: &[u32], case: &Case) -> Vec<T> {
    let (rows, offsets) = (Buffer::of(rig, numbers, case.shift), Buffer::of(rig, bounds, 0));
    let mut out = Buffer::empty(rig, (bounds.len() - 1) * case.width, case.shift);
    let call = Pool {
        rows: rows.view(),
        offsets: offsets.view(),
        width: case.width,
        pooling: case.pooling,
        normalises: case.normalises,
        out: out.view_mut(),
    };
    call.launch(rig.driver()).expect("a sound call");
    out.read()
}

fn check_case<T: Number, R: Rig>(rig: &R, case: &Case) -> Result<(), TestCaseError> {
    let mut source = Source(case.seed);
    let bounds = offsets(&case.lengths);
    let numbers: Vec<T> = source.numbers(case.lengths.iter().sum::<usize>() * case.width, case.flavour, 1.0);
    let got = launch(rig, &numbers, &bounds, case);
    let twin = pool(&numbers, &bounds, case.width, case.pooling, case.normalises);
    let plain = pool(&numbers, &bounds, case.width, case.pooling, false);
    // Sums of up to 131 numbers in f32; a vector's length may be far below that of its largest term.
    let lost = magnitude(&numbers) * 131.0 * 1e-7;
    let errors: Vec<f64> = plain.chunks(case.width).map(|vector| lost * scale_of(vector, case.normalises)).collect();
    let error = |at: usize| if case.pooling == Pooling::First { 1e-7 } else { errors[at / case.width] };
    expect_all("pool", &got, &twin, error)
}

/// What a pooled vector is multiplied with; 0 where that is NaN.
fn scale_of(vector: &[f64], normalises: bool) -> f64 {
    let length = vector.iter().map(|number| number * number).sum::<f64>().sqrt();
    let scale = if normalises { 1.0 / length.max(1e-12) } else { 1.0 };
    if scale.is_finite() { scale } else { 0.0 }
}

/// A vector of some width that is not normalised, of tokens about 1.
fn plain_case(width: usize, pooling: Pooling, normalises: bool) -> Case {
    Case { lengths: Vec::new(), width, pooling, normalises, flavour: Flavour::Usual, shift: 0, seed: 0 }
}

/// Offsets that are not those of the tokens leave out what is not there.
fn check_offsets_beyond(rig: &impl Rig) {
    let numbers: Vec<f32> = Source(1).numbers(6 * 3, Flavour::Usual, 1.0);
    let bounds = [4, 9, u32::MAX, 0, 7];
    for pooling in ALL {
        let case = plain_case(3, pooling, false);
        let got = launch(rig, &numbers, &bounds, &case);
        let twin = pool(&numbers, &bounds, 3, pooling, false);
        expect_all("pool", &got, &twin, |_| 1e-6).expect("what is there, and zeros");
    }
}

/// A vector of zeros, or of next to nothing, has no direction, and is not made NaN.
fn check_zeros(rig: &impl Rig) {
    for number in [0.0_f32, 1e-42, 1e-13] {
        let case = plain_case(5, Pooling::Mean, true);
        let got = launch(rig, &[number; 10], &[0, 2], &case);
        let twin = pool(&[number; 10], &[0, 2], 5, Pooling::Mean, true);
        expect_all("pool", &got, &twin, |_| 1e-6).expect("small numbers");
    }
    // Squares that no f32 holds.
    let got = launch(rig, &[3e30_f32, 4e30], &[0, 1], &plain_case(2, Pooling::Mean, true));
    assert!((got[0] - 0.6).abs() < 1e-6 && (got[1] - 0.8).abs() < 1e-6, "{got:?}");
}
