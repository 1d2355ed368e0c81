//! Attention.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sconce_kernels::attend::{Attend, Heads, attend, tiles};

use crate::common::buffer::Buffer;
use crate::common::data::{Flavour, Number, Source, expect_all, is_half, magnitude, offsets, shifts};
use crate::common::{Rig, for_cases};
use crate::for_types;

#[derive(Clone, Debug)]
struct Case {
    lengths: Vec<usize>,
    heads: Heads,
    reach: Option<usize>,
    shift: usize,
    seed: u64,
}

prop_compose! {
    fn cases()(
        lengths in prop::collection::vec(prop::sample::select(vec![0_usize, 1, 2, 15, 16, 17, 63, 64, 65, 131]), 1..4),
        count in 1..3_usize,
        width in prop_oneof![Just(1_usize), Just(5), Just(16), Just(20), Just(32), Just(64), Just(72), Just(100), Just(128)],
        reach in prop_oneof![Just(None), Just(Some(0)), Just(Some(3)), Just(Some(70)), Just(Some(usize::MAX))],
        shift in shifts(),
        seed in any::<u64>(),
    ) -> Case {
        Case { lengths, heads: Heads { count, width }, reach, shift, seed }
    }
}

/// Runs it.
pub(crate) fn check(rig: &impl Rig) {
    for_types!(check_type(rig));
}

fn check_type<T: Number, R: Rig>(rig: &R) {
    for_cases(24, &cases(), |case| check_case::<T, R>(rig, &case));
    check_long_row::<T, R>(rig);
    check_neighbours::<T, R>(rig);
    check_wrong_tiles::<T, R>(rig);
}

/// Queries scaled as they come, so that scores are about 1, keys and values about 1.
fn qkv_of<T: Number>(source: &mut Source, tokens: usize, heads: Heads, flavour: Flavour) -> Vec<T> {
    let row = heads.count * heads.width;
    #[expect(clippy::cast_precision_loss, reason = "a head is narrow")]
    let scale = 1.0 / (heads.width as f64).sqrt();
    let mut qkv: Vec<T> = source.numbers(tokens * 3 * row, flavour, 1.0);
    for token in qkv.chunks_exact_mut(3 * row) {
        token[..row].iter_mut().for_each(|number| *number = T::from_f64(number.to_f64() * scale * 2.0));
    }
    qkv
}

fn launch<T: Number, R: Rig>(rig: &R, qkv: &[T], tiles: &[u32], case: &Case) -> Vec<T> {
    let (qkv_buffer, tile_buffer) = (Buffer::of(rig, qkv, case.shift), Buffer::of(rig, tiles, 0));
    let mut out = Buffer::empty(rig, qkv.len() / 3, case.shift);
    let call = Attend {
        qkv: qkv_buffer.view(),
        heads: case.heads,
        tiles: tile_buffer.view(),
        reach: case.reach,
        out: out.view_mut(),
    };
    call.launch(rig.driver()).expect("a sound call");
    out.read()
}

/// Shares are rounded before the second product where tensor cores make it.
fn error_of<T: Number>(qkv: &[T]) -> f64 {
    magnitude(qkv) * if is_half(T::TYPE) { 2.0 * T::ROUNDING } else { 5e-6 }
}

fn check_case<T: Number, R: Rig>(rig: &R, case: &Case) -> Result<(), TestCaseError> {
    let bounds = offsets(&case.lengths);
    let tokens = case.lengths.iter().sum();
    let qkv: Vec<T> = qkv_of(&mut Source(case.seed), tokens, case.heads, Flavour::Usual);
    let got = launch(rig, &qkv, &tiles(&bounds), case);
    let twin = attend(&qkv, case.heads, &bounds, case.reach);
    let error = error_of(&qkv);
    expect_all("attend", &got, &twin, |_| error)
}

/// A row of several tiles of queries and of keys; scores from which the largest is far, and late.
fn check_long_row<T: Number, R: Rig>(rig: &R) {
    for reach in [None, Some(64)] {
        let case = Case { lengths: vec![200], heads: Heads { count: 1, width: 32 }, reach, shift: 0, seed: 5 };
        let mut qkv: Vec<T> = qkv_of(&mut Source(case.seed), 200, case.heads, Flavour::Usual);
        for (at, token) in qkv.chunks_exact_mut(96).enumerate() {
            let grown = 1.0 + f64::from(u32::try_from(at).expect("small")) / 20.0;
            token[32..64].iter_mut().for_each(|key| *key = T::from_f64(key.to_f64() * grown));
        }
        let got = launch(rig, &qkv, &tiles(&[0, 200]), &case);
        let twin = attend(&qkv, case.heads, &[0, 200], reach);
        let values: Vec<T> = qkv.chunks_exact(96).flat_map(|token| &token[64..]).copied().collect();
        let error = 4.0 * error_of(&values);
        expect_all("attend", &got, &twin, |_| error).expect("a long row");
    }
}

/// A NaN or an infinity stays in its row: rows beside it answer to the bit what they answer without it.
fn check_neighbours<T: Number, R: Rig>(rig: &R) {
    let lengths = vec![3, 70, 2];
    let (bounds, heads) = (offsets(&lengths), Heads { count: 2, width: 16 });
    let case = Case { lengths, heads, reach: None, shift: 0, seed: 9 };
    let sound: Vec<T> = qkv_of(&mut Source(case.seed), 75, heads, Flavour::Usual);
    let wanted = launch(rig, &sound, &tiles(&bounds), &case);
    for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut qkv = sound.clone();
        let token = 3 * 3 * 32;
        qkv[token..token + 96].fill(T::from_f64(poison));
        let got = launch(rig, &qkv, &tiles(&bounds), &case);
        let (first, rest) = (3 * 32, 73 * 32);
        let is_same = |range: std::ops::Range<usize>| {
            got[range.clone()].iter().zip(&wanted[range]).all(|(got, wanted)| got.bits() == wanted.bits())
        };
        assert!(is_same(0..first) && is_same(rest..75 * 32), "{poison} reached another row");
        assert!(got[first..rest].iter().all(|number| !number.to_f64().is_finite()), "{poison} was lost");
    }
}

/// Tiles that are not those of the batch: nothing is read or written outside, and an empty one answers nothing.
fn check_wrong_tiles<T: Number, R: Rig>(rig: &R) {
    let case = Case { lengths: vec![5], heads: Heads { count: 1, width: 8 }, reach: None, shift: 0, seed: 2 };
    let qkv: Vec<T> = qkv_of(&mut Source(case.seed), 5, case.heads, Flavour::Usual);
    for wrong in [[0, 0, 0], [7, 9, 8], [3, 2, 3], [5, 5, 5], [4, u32::MAX, u32::MAX], [3, 5, 2]] {
        let got = launch(rig, &qkv, &wrong, &case);
        assert!(got.iter().all(|number| number.bits() == T::POISON.bits()), "{wrong:?} answered");
    }
    // Its end is cut to that of the tokens.
    let got = launch(rig, &qkv, &[0, u32::MAX, 0], &case);
    expect_all("attend", &got, &attend(&qkv, case.heads, &[0, 5], None), |_| error_of(&qkv)).expect("five tokens");
}
