//! Whether outputs are what the worker may answer with: it may be broken, or have been fed what broke it.

use crate::device::wire::{AREA_BYTES_MAX, Place, TensorPlace, aligned};
use crate::types::{Shape, TensorSpec};

/// Where all outputs of a batch of `rows` rows lie together, once each has been found to be what the model gives.
///
/// They must lie one behind the other, so that nothing is read that is no output. Errors: what was expected and what came.
pub(super) fn span(outputs: &[TensorPlace], specs: &[TensorSpec], rows: usize) -> Result<Place, String> {
    if outputs.len() != specs.len() {
        return Err(format!("the worker answered with {} outputs, expected {}", outputs.len(), specs.len()));
    }
    let begin = outputs.first().map_or(0, |first| first.place.offset);
    let mut end = None;
    for (output, spec) in outputs.iter().zip(specs) {
        check(output, spec, rows)?;
        let Place { offset, bytes } = output.place;
        if end.is_some_and(|end| offset != aligned(end)) {
            return Err(format!(
                "the worker answered with \"{}\" at {offset}, not behind the output before",
                spec.name
            ));
        }
        let within = output.place.end().filter(|end| *end <= AREA_BYTES_MAX);
        let beyond = || format!("the worker answered with \"{}\" of {bytes} bytes at {offset}", spec.name);
        end = Some(within.ok_or_else(beyond)?);
    }
    Ok(Place { offset: begin, bytes: end.unwrap_or(begin) - begin })
}

fn check(output: &TensorPlace, spec: &TensorSpec, rows: usize) -> Result<(), String> {
    let shape = Shape::new(&output.dims);
    if output.dtype != spec.dtype || !spec.takes(shape.row_dims()) || shape.rows() != Some(rows) {
        let expected = spec.shape_text();
        return Err(format!(
            "the worker answered with {shape} of {} for \"{}\" of {rows} rows, expected {expected} of {}",
            output.dtype, spec.name, spec.dtype
        ));
    }
    // Strings carry their own lengths, which are read later.
    let Some(width) = spec.dtype.width() else { return Ok(()) };
    let expected = shape.elements().and_then(|elements| elements.checked_mul(width));
    if expected.is_none_or(|expected| expected as u64 != output.place.bytes) {
        let (dtype, name, bytes) = (output.dtype, &spec.name, output.place.bytes);
        return Err(format!("the worker answered with {bytes} bytes for {shape} of {dtype} in \"{name}\""));
    }
    Ok(())
}
