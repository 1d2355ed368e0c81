//! A question whose answer is known, in the `golden.json` beside a version's files: a version that answers otherwise is
//! not served.

mod compare;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::config::Precision;
use crate::device::{Executor, guarded};
use crate::model::{About, Files, LoadError};
use crate::types::{DataType, Error, Presence, Reason, Rows, Shape, Tensor, TensorSpec};
pub use compare::differs;

const FILE: &str = "golden.json";
const FILE_BYTES_MAX: u64 = 64 << 20;
const TOLERANCE: f64 = 1e-3;

/// A request and its answer, as the protocol's REST form writes them, and by how much another answer may differ.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    request: Request,
    response: Response,
    tolerance: Option<f64>,
}

/// What else a recorded request says does not matter.
#[derive(Deserialize)]
struct Request {
    inputs: Vec<Written>,
}

#[derive(Deserialize)]
struct Response {
    outputs: Vec<Written>,
}

#[derive(Deserialize)]
struct Written {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    data: Value,
}

/// Asks the executor the question in the version's `golden.json`, where there is one. It computes in `precision`, by which an answer
/// may be off where the file does not say by how much.
///
/// Errors: the file is wrong, the model fails, or an answer differs, with output, row, what was expected and what came.
pub fn verify(executor: &mut dyn Executor, about: &About, files: &Files, precision: Precision) -> Result<(), Error> {
    if !files.has(FILE) {
        return Ok(());
    }
    ask(executor, about, files, precision).map_err(|error| Error::new(Reason::Model, error.to_string()))
}

fn ask(executor: &mut dyn Executor, about: &About, files: &Files, precision: Precision) -> Result<(), LoadError> {
    let failed = |reason: String| LoadError::new(FILE, reason);
    let text = files.read(FILE, FILE_BYTES_MAX)?;
    let golden: Golden = serde_json::from_slice(&text)
        .map_err(|error| failed(format!("expected {{\"request\": …, \"response\": …}}: {error}")))?;
    let tolerance = golden.tolerance.unwrap_or(TOLERANCE.max(precision.bound()));
    if !tolerance.is_finite() || tolerance < 0.0 {
        return Err(failed(format!("tolerance: expected a number of at least 0, got {tolerance}")));
    }
    let part = part(&golden.request, about).map_err(failed)?;
    let answer =
        guarded(executor, &[part]).map_err(|fault| failed(format!("the model fails on it: {}", fault.error)))?;
    for written in &golden.response.outputs {
        let (at, wanted) = tensor("output", written, &about.signature.outputs).map_err(failed)?;
        let Some(got) = answer.get(at) else {
            return Err(failed(format!("output \"{}\": the model gives none", written.name)));
        };
        if let Some(difference) = differs(&wanted, got, tolerance) {
            return Err(failed(format!("output \"{}\": {difference}", written.name)));
        }
    }
    Ok(())
}

/// The request as an item of a batch.
fn part(request: &Request, about: &About) -> Result<Rows, String> {
    let specs = &about.signature.inputs;
    let mut inputs: Vec<Option<Tensor>> = specs.iter().map(|_| None).collect();
    for written in &request.inputs {
        let (at, input) = tensor("input", written, specs)?;
        if let Some(place) = inputs.get_mut(at) {
            *place = Some(input);
        }
    }
    let mut given = inputs.iter().zip(specs);
    if let Some((_, spec)) = given.find(|(input, spec)| input.is_none() && spec.presence == Presence::Required) {
        return Err(format!("input \"{}\" is missing", spec.name));
    }
    let rows: BTreeSet<usize> = inputs.iter().flatten().filter_map(|input| input.shape().rows()).collect();
    let [rows] = Vec::from_iter(rows)[..] else {
        return Err("inputs: expected the same number of rows in each".to_owned());
    };
    match &about.prepare {
        Some(prepare) => {
            prepare.prepare(inputs, &mut |_| Ok(())).map(|made| made.rows).map_err(|error| error.to_string())
        }
        None => Ok(Rows::uniform(inputs.into_iter().flatten().collect(), rows)),
    }
}

/// A written tensor, and which of the model's it is. `side` says whether inputs or outputs are meant.
fn tensor(side: &str, written: &Written, specs: &[TensorSpec]) -> Result<(usize, Tensor), String> {
    let name = &written.name;
    let Some((at, spec)) = specs.iter().enumerate().find(|(_, spec)| spec.name == *name) else {
        let known: Vec<_> = specs.iter().map(|spec| format!("\"{}\"", spec.name)).collect();
        return Err(format!("{side} \"{name}\": the model has no such {side}, it has {}", known.join(", ")));
    };
    if written.datatype.parse::<DataType>() != Ok(spec.dtype) {
        return Err(format!("{side} \"{name}\": expected datatype {}, got {}", spec.dtype, written.datatype));
    }
    let shape = Shape::new(&written.shape);
    if shape.rows().is_none_or(|rows| rows == 0) || !spec.takes(shape.row_dims()) {
        return Err(format!("{side} \"{name}\": expected a shape {}, got {shape}", spec.shape_text()));
    }
    let tensor = Tensor::from_json(spec.dtype, shape, &written.data);
    tensor.map(|tensor| (at, tensor)).map_err(|reason| format!("{side} \"{name}\": {reason}"))
}
