//! Softmax with confidence.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sconce_kernels::score::{Bins, NONE, Score, bin, score};

use crate::common::buffer::Buffer;
use crate::common::data::{Flavour, Number, Source, expect_near, flavours, shifts};
use crate::common::{Rig, for_cases};
use crate::for_types;

/// Those of the server's histogram.
const BOUNDS: [f64; 16] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0];

#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    columns: usize,
    sharpness: f32,
    flavour: Flavour,
    wants_probabilities: bool,
    wants_bins: bool,
    shift: usize,
    seed: u64,
}

prop_compose! {
    fn cases()(
        rows in prop_oneof![Just(0_usize), Just(1), 2..7_usize],
        columns in prop_oneof![Just(1_usize), Just(2), 3..70_usize, Just(513), Just(30_522)],
        sharpness in prop_oneof![Just(1.0_f32), 0.1..5.0_f32],
        flavour in flavours(),
        wants_probabilities in any::<bool>(),
        wants_bins in any::<bool>(),
        shift in shifts(),
        seed in any::<u64>(),
    ) -> Case {
        let rows = if columns > 1000 { rows.min(1) } else { rows };
        Case { rows, columns, sharpness, flavour, wants_probabilities, wants_bins, shift, seed }
    }
}

/// Runs it.
pub(crate) fn check(rig: &impl Rig) {
    for_types!(check_type(rig));
    check_special_rows(rig);
    check_extreme_sharpness(rig);
}

fn check_type<T: Number, R: Rig>(rig: &R) {
    for_cases(40, &cases(), |case| {
        let logits: Vec<T> = Source(case.seed).numbers(case.rows * case.columns, case.flavour, 2.0);
        check_logits(rig, &logits, &case)
    });
}

fn check_logits<T: Number, R: Rig>(rig: &R, logits: &[T], case: &Case) -> Result<(), TestCaseError> {
    let rows = logits.len() / case.columns;
    let (buffer, bounds) = (Buffer::of(rig, logits, case.shift), Buffer::of(rig, &BOUNDS, 0));
    let [mut classes, mut bins] = [(); 2].map(|()| Buffer::<R, u32>::empty(rig, rows, 0));
    let mut measures = Buffer::<R, f32>::empty(rig, rows * 3, 0);
    let mut probabilities = Buffer::<R, f32>::empty(rig, logits.len(), 0);
    let call = Score {
        logits: buffer.view(),
        columns: case.columns,
        sharpness: case.sharpness,
        classes: classes.view_mut(),
        measures: measures.view_mut(),
        probabilities: case.wants_probabilities.then(|| probabilities.view_mut()),
        bins: case.wants_bins.then(|| Bins { bounds: bounds.view(), out: bins.view_mut() }),
    };
    call.launch(rig.driver()).expect("a sound call");

    let (classes, bins) = (classes.read(), bins.read());
    let (measures, probabilities) = (measures.read(), probabilities.read());
    for (at, row) in logits.chunks_exact(case.columns).enumerate() {
        let probabilities = &probabilities[at * case.columns..][..case.columns];
        let got = ((classes[at], case.wants_bins.then_some(bins[at])), &measures[at * 3..][..3]);
        check_row(row, case, got, case.wants_probabilities.then_some(probabilities))?;
    }
    Ok(())
}

fn check_row<T: Number>(
    row: &[T],
    case: &Case,
    ((class, in_bin), measures): ((u32, Option<u32>), &[f32]),
    probabilities: Option<&[f32]>,
) -> Result<(), TestCaseError> {
    let Some(twin) = score(row, case.sharpness) else {
        prop_assert_eq!((class, in_bin.unwrap_or(NONE)), (NONE, NONE));
        prop_assert!(measures.iter().chain(probabilities.unwrap_or_default()).all(|number| number.is_nan()));
        return Ok(());
    };
    prop_assert_eq!(class, twin.class);
    // The bin is that of the confidence as it is told, whatever that lost.
    let wanted = bin(f64::from(measures[0]), &BOUNDS);
    prop_assert_eq!(in_bin.map_or(wanted, |bin| bin as usize), wanted);
    // What f32 loses of a difference of logits is a part of it, and sharpened as it is.
    let error = 1e-5 * f64::from(case.sharpness).max(1.0);
    for (name, got, twin) in [
        ("confidence", measures[0], twin.confidence),
        ("margin", measures[1], twin.margin),
        ("entropy", measures[2], twin.entropy),
    ] {
        prop_assert!((0.0..=1.0).contains(&got), "{} {}", name, got);
        expect_near(name, got, twin, error)?;
    }
    for (got, twin) in probabilities.unwrap_or_default().iter().zip(&twin.probabilities) {
        expect_near("probability", *got, *twin, error)?;
    }
    Ok(())
}

fn check_rows<T: Number, R: Rig>(rig: &R, row: &[f64], sharpness: f32) {
    let logits: Vec<T> = row.iter().map(|number| T::from_f64(*number)).collect();
    let (columns, flavour) = (row.len(), Flavour::Hostile);
    let case =
        Case { rows: 1, columns, sharpness, flavour, wants_probabilities: true, wants_bins: true, shift: 0, seed: 0 };
    let checked = check_logits(rig, &logits, &case);
    assert!(checked.is_ok(), "{row:?} x {sharpness}: {checked:?}");
}

/// Ties, classes that are ruled out, and rows that are no scores.
fn check_special_rows<R: Rig>(rig: &R) {
    const INFINITY: f64 = f64::INFINITY;
    let rows: [&[f64]; 16] = [
        &[0.0],
        &[-0.0],
        &[INFINITY],
        &[-INFINITY],
        &[f64::NAN],
        &[60000.0],
        &[1.0, 1.0],
        &[-2.0, 3.0, 3.0, 1.0],
        &[-INFINITY, 1.0],
        &[1.0, -INFINITY, -INFINITY],
        &[-INFINITY, -INFINITY],
        &[INFINITY, 1.0, INFINITY],
        &[1.0, f64::NAN, 2.0],
        &[60000.0, -60000.0, 59999.0],
        &[5e-8, -5e-8, 0.0],
        &[0.0; 40],
    ];
    for row in rows {
        check_rows::<f32, R>(rig, row, 1.0);
        check_rows::<half::f16, R>(rig, row, 1.0);
        check_rows::<half::bf16, R>(rig, row, 1.0);
    }
    // Where the class is, among those of many lanes and warps.
    for at in [0, 31, 32, 511, 600, 1023] {
        let mut row = vec![0.0; 1024];
        row[at] = 9.0;
        check_rows::<f32, R>(rig, &row, 1.0);
        row[at] = f64::NAN;
        check_rows::<f32, R>(rig, &row, 1.0);
    }
}

/// Differences and products that are beyond f32 by themselves.
fn check_extreme_sharpness<R: Rig>(rig: &R) {
    for sharpness in [1e-30, 1e-3, 1.0, 1e3, 1e30] {
        for row in [&[3e38_f32, -3e38, 1e38][..], &[1e-40, 0.0], &[1.0, 1.0 + 1e-6, 0.5], &[-3e38, -3e38], &[2e38]] {
            let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
            check_rows::<f32, R>(rig, &row, sharpness);
        }
    }
}
