//! Rotary positions.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sconce_kernels::attend::Heads;
use sconce_kernels::rotate::{Rotate, rotate};

use crate::common::buffer::Buffer;
use crate::common::data::{Flavour, Number, Source, expect_all, flavours, magnitude};
use crate::common::{Rig, for_cases};
use crate::for_types;

#[derive(Clone, Debug)]
struct Case {
    tokens: usize,
    heads: Heads,
    flavour: Flavour,
    seed: u64,
}

prop_compose! {
    fn cases()(
        tokens in 0..12_usize,
        count in 1..5_usize,
        half in prop_oneof![Just(1_usize), 2..9_usize, Just(32)],
        flavour in flavours(),
        seed in any::<u64>(),
    ) -> Case {
        Case { tokens, heads: Heads { count, width: half * 2 }, flavour, seed }
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
    const POSITIONS: u32 = 9;
    let mut source = Source(case.seed);
    let Heads { count, width } = case.heads;
    let qkv: Vec<T> = source.numbers(case.tokens * 3 * count * width, case.flavour, 1.0);
    // Now and then one that the tables do not have.
    let positions: Vec<u32> = (0..case.tokens).map(|_| source.below(POSITIONS + 1)).collect();
    let angles: Vec<f32> = source.numbers(POSITIONS as usize * width / 2, Flavour::Usual, 2.0);
    let cosines: Vec<f32> = angles.iter().map(|angle| angle.cos()).collect();
    let sines: Vec<f32> = angles.iter().map(|angle| angle.sin()).collect();
    let mut buffer = Buffer::of(rig, &qkv, 1);
    let position_buffer = Buffer::of(rig, &positions, 0);
    let (cosine_buffer, sine_buffer) = (Buffer::of(rig, &cosines, 0), Buffer::of(rig, &sines, 0));
    let call = Rotate {
        qkv: buffer.view_mut(),
        heads: case.heads,
        positions: position_buffer.view(),
        cosines: cosine_buffer.view(),
        sines: sine_buffer.view(),
    };
    call.launch(rig.driver()).expect("a sound call");
    let twin = rotate(&qkv, case.heads, &positions, &cosines, &sines);
    // What f32 loses of two products, which may be far larger than their difference.
    let lost = magnitude(&qkv) * 3e-7;
    expect_all("rotate", &buffer.read(), &twin, |_| lost)
}
