//! Holds a request against the model's signature and limits before it may share a batch with others.

use tokio::time::Duration;

use crate::registry::Deployment;
use crate::types::{Error, InferRequest, NamedTensor, Presence, Reason, Tensor, TensorSpec, Wishes};

/// A request that fits its model.
#[derive(Debug)]
pub(super) struct Checked {
    /// Inputs in the signature's order; `None` for optional ones that were left out.
    pub(super) inputs: Vec<Option<Tensor>>,
    /// Rows of each input, at least 1.
    pub(super) rows: usize,
    /// Priority level, 0 the most urgent.
    pub(super) level: usize,
    /// Indices of the wanted outputs: those of the signature, and after them what the model's [`crate::model::Prepare`] shows.
    pub(super) outputs: Vec<usize>,
    pub(super) timeout: Option<Duration>,
    pub(super) wishes: Wishes,
}

impl Checked {
    /// Is any of the outputs one that is shown of the prepared rows?
    pub(super) fn wants_shown(&self, deployment: &Deployment) -> bool {
        self.outputs.iter().any(|at| *at >= deployment.about.signature.outputs.len())
    }
}

/// Checks names, element types, shapes, rows, priority and wanted outputs.
///
/// Errors: the first that is wrong, with what was expected and what came.
pub(super) fn check(deployment: &Deployment, request: InferRequest) -> Result<Checked, Error> {
    let signature = &deployment.about.signature;
    let outputs = outputs(deployment, &request.outputs)?;
    let level = level(deployment, request.priority)?;
    let inputs = inputs(&signature.inputs, request.inputs)?;
    let rows = rows(&signature.inputs, &inputs)?;
    let rows_max = deployment.config.batching.request_rows_max.get();
    if rows > rows_max {
        let detail = format!("{rows} rows in one request exceed the model's limit of {rows_max}");
        return Err(Error::new(Reason::TooBig, detail));
    }
    Ok(Checked { inputs, rows, level, outputs, timeout: request.timeout, wishes: request.wishes })
}

/// Puts the inputs into the signature's order.
fn inputs(specs: &[TensorSpec], mut given: Vec<NamedTensor>) -> Result<Vec<Option<Tensor>>, Error> {
    let mut inputs = Vec::with_capacity(specs.len());
    for spec in specs {
        let Some(at) = given.iter().position(|input| input.name == spec.name) else {
            if spec.presence != Presence::Required {
                inputs.push(None);
                continue;
            }
            return Err(Error::invalid(format!("input \"{}\" is missing; {}", spec.name, names_given(&given))));
        };
        let tensor = given.swap_remove(at).tensor;
        fits(spec, &tensor)?;
        inputs.push(Some(tensor));
    }
    match given.first() {
        Some(extra) if specs.iter().any(|spec| spec.name == extra.name) => {
            Err(Error::invalid(format!("input \"{}\" is given twice", extra.name)))
        }
        Some(extra) => {
            let known: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            let known = known.join("\", \"");
            Err(Error::invalid(format!("input \"{}\" is not one of the model's: \"{known}\"", extra.name)))
        }
        None => Ok(inputs),
    }
}

fn names_given(given: &[NamedTensor]) -> String {
    let names: Vec<&str> = given.iter().map(|input| input.name.as_str()).collect();
    if names.is_empty() { "no inputs were given".to_owned() } else { format!("got \"{}\"", names.join("\", \"")) }
}

fn fits(spec: &TensorSpec, tensor: &Tensor) -> Result<(), Error> {
    let name = &spec.name;
    if tensor.dtype() != spec.dtype {
        let (expected, got) = (spec.dtype, tensor.dtype());
        return Err(Error::invalid(format!("input \"{name}\": expected datatype {expected}, got {got}")));
    }
    if tensor.shape().rows().is_none() || !spec.takes(tensor.shape().row_dims()) {
        let (expected, got) = (spec.shape_text(), tensor.shape());
        return Err(Error::invalid(format!("input \"{name}\": expected shape {expected}, got {got}")));
    }
    Ok(())
}

/// All inputs have the same number of rows, at least one.
fn rows(specs: &[TensorSpec], inputs: &[Option<Tensor>]) -> Result<usize, Error> {
    let mut rows = None;
    for (spec, input) in specs.iter().zip(inputs) {
        let Some(input) = input else { continue };
        let here = input.shape().rows().unwrap_or(0);
        let before = *rows.get_or_insert(here);
        if here != before {
            let name = &spec.name;
            return Err(Error::invalid(format!("input \"{name}\": expected {before} rows as before, got {here}")));
        }
    }
    match rows {
        Some(rows) if rows > 0 => Ok(rows),
        Some(_) => Err(Error::invalid("expected at least one row, got 0")),
        None => {
            let known: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            Err(Error::invalid(format!("no input is given; the model's are \"{}\"", known.join("\", \""))))
        }
    }
}

/// 0 (or nothing) is the model's default level; 1 the most urgent.
pub(super) fn level(deployment: &Deployment, priority: Option<u64>) -> Result<usize, Error> {
    let batching = &deployment.config.batching;
    let levels = batching.priority_levels.get();
    match priority {
        None | Some(0) => Ok(batching.default_priority.get() - 1),
        Some(priority) => match usize::try_from(priority) {
            Ok(priority) if priority <= levels => Ok(priority - 1),
            _ => Err(Error::invalid(format!("parameter \"priority\": expected 0 to {levels}, got {priority}"))),
        },
    }
}

/// Indices of the wanted outputs; the model's own where none are named.
fn outputs(deployment: &Deployment, wanted: &[String]) -> Result<Vec<usize>, Error> {
    let own = &deployment.about.signature.outputs;
    if wanted.is_empty() {
        return Ok((0..own.len()).collect());
    }
    let shown = deployment.about.prepare.as_ref().map_or(&[][..], |prepare| prepare.shows());
    let specs = || own.iter().chain(shown);
    let mut indices = Vec::with_capacity(wanted.len());
    for name in wanted {
        let Some(at) = specs().position(|spec| spec.name == *name) else {
            let known: Vec<&str> = specs().map(|spec| spec.name.as_str()).collect();
            let known = known.join("\", \"");
            return Err(Error::invalid(format!("output \"{name}\" is not one of the model's: \"{known}\"")));
        };
        if indices.contains(&at) {
            return Err(Error::invalid(format!("output \"{name}\" is asked for twice")));
        }
        indices.push(at);
    }
    Ok(indices)
}
