//! Layer norm.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sconce_kernels::norm::{Norm, norm};

use crate::common::buffer::Buffer;
use crate::common::data::{Flavour, Number, Source, expect_all, flavours, shifts};
use crate::common::{Rig, for_cases};
use crate::for_types;

#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    width: usize,
    flavour: Flavour,
    shift: usize,
    bias_shift: usize,
    has_update: bool,
    has_bias: bool,
    wants_sum: bool,
    seed: u64,
}

prop_compose! {
    fn cases()(
        rows in prop_oneof![Just(0_usize), Just(1), 2..9_usize],
        width in prop_oneof![Just(1_usize), 2..40_usize, Just(384), Just(768), Just(1024), Just(1032), Just(3001)],
        flavour in flavours(),
        shift in shifts(),
        bias_shift in shifts(),
        choices in any::<[bool; 3]>(),
        seed in any::<u64>(),
    ) -> Case {
        let [has_update, has_bias, wants_sum] = choices;
        Case { rows, width, flavour, shift, bias_shift, has_update, has_bias, wants_sum, seed }
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
    let (all, mut source) = (case.rows * case.width, Source(case.seed));
    let rows: Vec<T> = source.numbers(all, case.flavour, 1.0);
    let update: Option<Vec<T>> = case.has_update.then(|| source.numbers(all, case.flavour, 0.5));
    let weight: Vec<f32> = source.numbers(case.width, Flavour::Usual, 1.0);
    let bias: Option<Vec<f32>> = case.has_bias.then(|| source.numbers(case.width, Flavour::Usual, 1.0));
    let eps = 1e-12;

    let row_buffer = Buffer::of(rig, &rows, case.shift);
    let update_buffer = update.as_ref().map(|update| Buffer::of(rig, update, case.shift));
    let (weight_buffer, bias_buffer) =
        (Buffer::of(rig, &weight, case.bias_shift), bias.as_ref().map(|bias| Buffer::of(rig, bias, case.bias_shift)));
    let mut sum = Buffer::<R, T>::empty(rig, all, case.shift);
    let mut out = Buffer::<R, T>::empty(rig, all, case.shift);
    let call = Norm {
        rows: row_buffer.view(),
        update: update_buffer.as_ref().map(Buffer::view),
        weight: weight_buffer.view(),
        bias: bias_buffer.as_ref().map(Buffer::view),
        eps,
        sum: case.wants_sum.then(|| sum.view_mut()),
        out: out.view_mut(),
    };
    call.launch(rig.driver()).expect("a sound call");

    let twin = norm(&rows, update.as_deref(), &weight, bias.as_deref(), eps);
    // What f32 loses of a mean is as large as the row's largest number, and is scaled as the row is.
    let lost: Vec<f64> = twin.sum.chunks(case.width).map(|row| error_of(row, eps)).collect();
    let error = |at: usize| lost[at / case.width] * f64::from(weight[at % case.width].abs()) + 1e-7;
    expect_all("norm", &out.read(), &twin.out, error)?;
    if case.wants_sum {
        expect_all("sum", &sum.read(), &twin.sum, |at| twin.sum[at].abs() * 1e-7)?;
    }
    Ok(())
}

/// What sums in f32 may lose of a row's norm.
#[expect(clippy::cast_precision_loss, reason = "widths are small")]
pub(crate) fn error_of(row: &[f64], eps: f32) -> f64 {
    let width = row.len() as f64;
    let mean = row.iter().sum::<f64>() / width;
    let variance = row.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / width;
    let largest = row.iter().fold(0.0, |largest: f64, number| largest.max(number.abs()));
    let scale = 1.0 / (variance + f64::from(eps)).sqrt();
    // The last term: errors of the mean are a part of the variance, too, where a row is nearly constant.
    let lost = largest * 1e-6;
    let error = scale * lost + scale.powi(3) * lost.powi(2) * largest;
    if error.is_finite() { error } else { 0.0 }
}
