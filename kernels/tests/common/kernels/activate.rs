//! Bias and function, and the gated form.

use half::{bf16, f16};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sconce_kernels::activate::{Activate, Activation, Gate, activate, gate};

use crate::common::buffer::Buffer;
use crate::common::data::{Flavour, Number, Source, expect_all, expect_near, flavours, shifts};
use crate::common::{Rig, for_cases};
use crate::for_types;

const ALL: [Activation; 7] = [
    Activation::Identity,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Silu,
    Activation::Tanh,
    Activation::Sigmoid,
];

#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    width: usize,
    activation: Activation,
    flavour: Flavour,
    shift: usize,
    bias_shift: usize,
    has_bias: bool,
    seed: u64,
}

prop_compose! {
    fn cases()(
        rows in prop_oneof![Just(0_usize), Just(1), 2..12_usize],
        width in prop_oneof![Just(1_usize), 2..40_usize, Just(1536), Just(3001)],
        activation in prop::sample::select(ALL.to_vec()),
        flavour in flavours(),
        shift in shifts(),
        bias_shift in shifts(),
        has_bias in any::<bool>(),
        seed in any::<u64>(),
    ) -> Case {
        Case { rows, width, activation, flavour, shift, bias_shift, has_bias, seed }
    }
}

/// Runs it.
pub(crate) fn check(rig: &impl Rig) {
    for_types!(check_type(rig));
    check_every_bit_pattern::<f16>(rig, f16::from_bits);
    check_every_bit_pattern::<bf16>(rig, bf16::from_bits);
    check_rounding::<f16>(rig, f16::from_bits);
    check_rounding::<bf16>(rig, bf16::from_bits);
    check_many_rows(rig);
}

fn check_type<T: Number, R: Rig>(rig: &R) {
    for_cases(48, &cases(), |case| {
        check_in_place::<T, R>(rig, &case)?;
        check_gate::<T, R>(rig, &case)
    });
}

fn check_in_place<T: Number, R: Rig>(rig: &R, case: &Case) -> Result<(), TestCaseError> {
    let mut source = Source(case.seed);
    let numbers: Vec<T> = source.numbers(case.rows * case.width, case.flavour, 2.0);
    let bias: Option<Vec<f32>> = case.has_bias.then(|| source.numbers(case.width, Flavour::Usual, 1.0));
    let bias_buffer = bias.as_ref().map(|bias| Buffer::of(rig, bias, case.bias_shift));
    let mut rows = Buffer::of(rig, &numbers, case.shift);
    let bias_view = bias_buffer.as_ref().map(Buffer::view);
    let call = Activate { rows: rows.view_mut(), bias: bias_view, width: case.width, activation: case.activation };
    call.launch(rig.driver()).expect("a sound call");
    let twin = activate(&numbers, bias.as_deref(), case.width, case.activation);
    expect_all("activate", &rows.read(), &twin, |at| error_of(numbers[at].to_f64()))
}

fn check_gate<T: Number, R: Rig>(rig: &R, case: &Case) -> Result<(), TestCaseError> {
    let mut source = Source(case.seed);
    let numbers: Vec<T> = source.numbers(case.rows * case.width * 2, case.flavour, 2.0);
    let bias: Option<Vec<f32>> = case.has_bias.then(|| source.numbers(case.width * 2, Flavour::Usual, 1.0));
    let bias_buffer = bias.as_ref().map(|bias| Buffer::of(rig, bias, case.bias_shift));
    let rows = Buffer::of(rig, &numbers, case.shift);
    let mut out = Buffer::<R, T>::empty(rig, case.rows * case.width, case.shift);
    let call = Gate {
        rows: rows.view(),
        bias: bias_buffer.as_ref().map(Buffer::view),
        width: case.width,
        activation: case.activation,
        out: out.view_mut(),
    };
    call.launch(rig.driver()).expect("a sound call");
    let twin = gate(&numbers, bias.as_deref(), case.width, case.activation);
    for (at, (got, twin)) in out.read().into_iter().zip(twin).enumerate() {
        let first = at / case.width * case.width * 2 + at % case.width;
        let (number, factor) = (numbers[first].to_f64(), numbers[first + case.width].to_f64());
        if factor.is_infinite() {
            // Times what f32 has no number for, but f64 has, it is NaN.
            prop_assert!(!got.to_f64().is_finite(), "gate {}: got {:?} of {}", at, got, factor);
        } else {
            let lost = if factor.is_nan() { 0.0 } else { error_of(number) * (factor.abs() + 3.0) };
            expect_near(&format!("gate {at}"), got, twin, lost)?;
        }
    }
    Ok(())
}

/// What f32 loses of a function about a number: a part of the number, since the GELUs are a product of it and a difference.
fn error_of(number: f64) -> f64 {
    if number.is_finite() { 1e-6 * (1.0 + number.abs()) } else { 0.0 }
}

/// A number of 16 bits is widened and narrowed without a change.
fn check_every_bit_pattern<T: Number>(rig: &impl Rig, from_bits: fn(u16) -> T) {
    let numbers: Vec<T> = (0..=u16::MAX).map(from_bits).collect();
    let mut rows = Buffer::of(rig, &numbers, 0);
    let call = Activate { rows: rows.view_mut(), bias: None, width: 256, activation: Activation::Identity };
    call.launch(rig.driver()).expect("a sound call");
    for (number, got) in numbers.iter().zip(rows.read()) {
        let is_same = number.bits() == got.bits() || number.to_f64().is_nan() && got.to_f64().is_nan();
        assert!(is_same, "{:#x} became {:#x}", number.bits(), got.bits());
    }
}

/// A product of two numbers of 16 bits is exact in f32 where it does not underflow, so that what is left is the rounding.
fn check_rounding<T: Number>(rig: &impl Rig, from_bits: fn(u16) -> T) {
    let mut source = Source(7);
    let mut numbers = Vec::new();
    for _ in 0..1 << 14 {
        numbers.push(from_bits(u16::try_from(source.below(1 << 16)).expect("16 bits")));
    }
    let rows = Buffer::of(rig, &numbers, 0);
    let mut out = Buffer::empty(rig, numbers.len() / 2, 0);
    let activation = Activation::Identity;
    let call = Gate { rows: rows.view(), bias: None, width: 64, activation, out: out.view_mut() };
    call.launch(rig.driver()).expect("a sound call");
    for (twin, got) in gate(&numbers, None, 64, activation).into_iter().zip(out.read()) {
        let wanted = T::from_f64(twin);
        let is_small = twin != 0.0 && twin.abs() < 2.0_f64.powi(-126);
        let is_same = wanted.bits() == got.bits() || twin.is_nan() && got.to_f64().is_nan();
        assert!(is_same || is_small, "{twin} became {got:?}, not {wanted:?}");
    }
}

/// More numbers than a grid has threads: each goes on with what is left.
fn check_many_rows(rig: &impl Rig) {
    let numbers: Vec<f32> = Source(3).numbers(4096 * 256 + 5, Flavour::Usual, 1.0);
    let mut rows = Buffer::of(rig, &numbers, 1);
    let call = Activate { rows: rows.view_mut(), bias: None, width: numbers.len(), activation: Activation::Relu };
    call.launch(rig.driver()).expect("a sound call");
    assert!(numbers.iter().zip(rows.read()).all(|(number, got)| number.max(0.0).to_bits() == got.to_bits()));
}
