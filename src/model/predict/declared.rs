//! One row of each output from what is declared, held against the model's signature.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::config::ScoreKind;
use crate::model::Scoring;
use crate::types::{DataType, Shape, Tensor, TensorSpec, flatten};

/// How far probabilities of exclusive classes may be from 1 together, so that thirds can be written with two digits.
const SUM_TOLERANCE: f64 = 0.0101;

/// A row of each output from its declared values. Errors: an output without values, values without an output, or values of
/// another number or type.
pub(super) fn constant(values: &BTreeMap<String, Json>, outputs: &[TensorSpec]) -> Result<Vec<Tensor>, String> {
    let known = || outputs.iter().map(|output| format!("\"{}\"", output.name)).collect::<Vec<_>>().join(", ");
    if let Some(extra) = values.keys().find(|name| outputs.iter().all(|output| output.name != **name)) {
        return Err(format!("expected values for the model's outputs {}, got some for \"{extra}\"", known()));
    }
    let mut row = Vec::with_capacity(outputs.len());
    for output in outputs {
        let Some(values) = values.get(&output.name) else {
            return Err(format!(
                "expected values for the model's outputs {}, got none for \"{}\"",
                known(),
                output.name
            ));
        };
        row.push(row_of(output, values).map_err(|reason| format!("output \"{}\": {reason}", output.name))?);
    }
    Ok(row)
}

/// A row of the scored output in which each class has the probability that it has where nothing is known of the row.
///
/// Where the output has logits, they are such that softmax or sigmoid make those probabilities of them, at a temperature of 1.
/// Errors: there are no classes, or other outputs beside theirs; not one probability for each; they do not sum to 1.
pub(super) fn prior(prior: &[f64], outputs: &[TensorSpec], scoring: Option<&Scoring>) -> Result<Vec<Tensor>, String> {
    let Some((scoring, classes)) =
        scoring.map(|scoring| (scoring, scoring.classes())).filter(|(_, classes)| *classes > 0)
    else {
        return Err("expected a model of classes, got one whose confidence is not computed from classes".to_owned());
    };
    let (Some(output), 1) = (outputs.get(scoring.output), outputs.len()) else {
        let got = outputs.len();
        return Err(format!("expected a model of one output, got {got} outputs; a constant has values for each"));
    };
    if prior.len() != classes {
        let (name, got) = (&output.name, prior.len());
        return Err(format!("expected {classes} probabilities, one for each class of output \"{name}\", got {got}"));
    }
    let sum: f64 = prior.iter().sum();
    if scoring.is_exclusive() && (sum - 1.0).abs() > SUM_TOLERANCE {
        return Err(format!("expected probabilities that sum to 1, got a sum of {sum}"));
    }
    let is_logits = scoring.kind == ScoreKind::Logits;
    if is_logits && prior.contains(&0.0) {
        return Err(format!("expected probabilities above 0, since output \"{}\" has logits, got 0", output.name));
    }
    // A single number stands for two classes, and is about the second.
    let is_single = output.row.last() == Some(&Some(1));
    let values = match prior {
        [first, second] if is_single && is_logits => vec![(second / first).ln()],
        [_, second] if is_single => vec![*second],
        _ if is_logits => prior.iter().map(|probability| probability.ln()).collect(),
        _ => prior.to_vec(),
    };
    row_of(output, &values.into()).map(|row| Vec::from([row]))
}

/// A tensor `[1, ..]` of an output.
fn row_of(output: &TensorSpec, values: &Json) -> Result<Tensor, String> {
    let mut dims = row_dims(output, flatten(values).len())?;
    dims.insert(0, 1);
    let row = Tensor::from_json(output.dtype, Shape::new(&dims), values)?;
    // What the file has is finite; what the type holds of it may not be.
    let is_narrow = output.dtype != DataType::Fp64;
    match row.to_f32() {
        Some(held) if is_narrow && !held.iter().all(|value| value.is_finite()) => {
            Err(format!("expected numbers that {} can hold, got {values}", output.dtype))
        }
        _ => Ok(row),
    }
}

/// The dimensions of a row of so many values. One that is free gets what the others leave.
fn row_dims(output: &TensorSpec, values: usize) -> Result<Vec<usize>, String> {
    let shape = output.shape_text();
    if output.row.iter().filter(|dim| dim.is_none()).count() > 1 {
        return Err(format!("expected an output of one free dimension at most, got {shape}"));
    }
    let fixed = output.row.iter().flatten().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    let free = match fixed {
        _ if !output.row.contains(&None) => 1,
        Some(fixed @ 1..) if values > 0 && values.is_multiple_of(fixed) => values / fixed,
        _ => return Err(format!("expected values that fill rows of shape {shape}, got {values} of them")),
    };
    Ok(output.row.iter().map(|dim| dim.unwrap_or(free)).collect())
}
