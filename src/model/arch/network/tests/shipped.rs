//! The shipped models against the answers of the framework that trained them.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use super::{candle, load_files, run};
use crate::config::ScoreKind;
use crate::model::Files;

/// Largest difference of a row over its largest number.
const BOUND: f32 = 1e-4;

struct HeldOut {
    inputs: Vec<Vec<f32>>,
    reference: Vec<Vec<f32>>,
}

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(model)
}

fn rows(file: &SafeTensors<'_>, name: &str) -> Vec<Vec<f32>> {
    let view = file.tensor(name).expect("a tensor");
    let numbers: Vec<f32> = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let width = view.shape()[1..].iter().product();
    numbers.chunks(width).map(<[f32]>::to_vec).collect()
}

fn held_out(model: &str) -> HeldOut {
    let bytes = std::fs::read(folder(model).join("held_out.safetensors")).expect("held-out rows");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    HeldOut { inputs: rows(&file, "inputs"), reference: rows(&file, "reference") }
}

fn distance(ours: &[f32], theirs: &[f32]) -> f32 {
    let most = ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max);
    most / theirs.iter().map(|value| value.abs()).fold(0.0, f32::max)
}

fn argmax(row: &[f32]) -> usize {
    let largest = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
    (0..row.len()).fold(0, largest)
}

fn check(model: &str, dims: &[usize], kind: ScoreKind, classes: usize) {
    let held_out = held_out(model);
    let loaded = load_files(&Files::folder(folder(model).join("1"))).expect("a model");
    let scoring = loaded.about.scoring.as_ref().expect("scoring");
    assert_eq!((scoring.kind, scoring.classes()), (kind, classes));
    let row: Vec<_> = dims.iter().copied().map(Some).collect();
    assert_eq!(loaded.about.signature.inputs[0].row, row);
    let network = candle(loaded);
    assert!(held_out.inputs.len() >= 80);
    let ours = run(network.as_ref(), dims, &held_out.inputs);
    for (ours, theirs) in ours.iter().zip(&held_out.reference) {
        assert!(distance(ours, theirs) <= BOUND, "{ours:?} is not {theirs:?}");
        assert_eq!(argmax(ours), argmax(theirs));
    }
    a_row_in_company_equals_the_row_alone(&held_out, |rows| run(network.as_ref(), dims, rows));
    two_swapped_inputs_fail(&held_out, |rows| run(network.as_ref(), dims, rows));
}

fn a_row_in_company_equals_the_row_alone(held_out: &HeldOut, run: impl Fn(&[Vec<f32>]) -> Vec<Vec<f32>>) {
    let alone: Vec<_> = held_out.inputs.iter().map(|row| run(std::slice::from_ref(row)).concat()).collect();
    for count in 1..=65 {
        for (together, alone) in run(&held_out.inputs[..count]).iter().zip(&alone) {
            for (together, alone) in together.iter().zip(alone) {
                assert!((together - alone).abs() <= 1e-5 * alone.abs().max(1.0), "{together} {alone}");
            }
        }
    }
}

/// The bound tells answers apart: with two features exchanged in every row, rows fail it.
fn two_swapped_inputs_fail(held_out: &HeldOut, run: impl Fn(&[Vec<f32>]) -> Vec<Vec<f32>>) {
    let mut swapped = held_out.inputs.clone();
    for row in &mut swapped {
        let (first, second) = (row.len() / 3, row.len() / 2);
        row.swap(first, second);
    }
    let far =
        run(&swapped).iter().zip(&held_out.reference).filter(|(ours, theirs)| distance(ours, theirs) > BOUND).count();
    assert!(far > held_out.inputs.len() / 2, "only {far} rows fail");
}

#[test]
fn breast_cancer_answers_as_trained() {
    check("breast_cancer", &[30], ScoreKind::Softmax, 2);
}

#[test]
fn digits_answers_as_trained() {
    check("digits", &[1, 8, 8], ScoreKind::Softmax, 10);
}

#[test]
fn diabetes_answers_as_trained() {
    check("diabetes", &[10], ScoreKind::Regression, 0);
}
