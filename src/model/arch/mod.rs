//! The architectures: one file or folder for each, one line for each in the table.

pub(super) mod bert;
pub(super) mod distilbert;
mod encoder;
pub(super) mod identity;
pub(super) mod modernbert;
pub(super) mod network;
pub(super) mod roberta;
#[cfg(test)]
mod tests;
mod text;
pub(super) mod vision;

use super::{Files, LoadError};
use crate::config::{Document, Table};
use crate::types::printable;

/// Largest declaration: far more layers than anyone writes.
const DECLARATION_BYTES_MAX: u64 = 4 << 20;
const NAME_CHARS_MAX: usize = 256;

/// Reads a TOML file of a version strictly; every problem in it is told at once.
///
/// `read` notes what is wrong and goes on; its result counts only if there was no problem.
fn read_declaration<T>(files: &Files, file: &str, read: impl FnOnce(&Table<'_>) -> T) -> Result<T, LoadError> {
    let bytes = files.read(file, DECLARATION_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        LoadError::new(file, format!("expected UTF-8, byte {} is not", error.utf8_error().valid_up_to()))
    })?;
    let document = Document::parse(file, &text).map_err(|problems| LoadError::of_problems(file, &problems))?;
    let value = read(&document.root());
    document.finish().map_err(|problems| LoadError::of_problems(file, &problems))?;
    Ok(value)
}

/// The name of an input or output; `default` where none is given.
fn tensor_name(table: &Table<'_>, key: &str, default: &str) -> String {
    let Some(name) = table.string(key) else { return default.to_owned() };
    if name.is_empty() || printable(&name, NAME_CHARS_MAX) != name {
        table.problem(key, &format!("expected 1 to {NAME_CHARS_MAX} printable characters, got \"{name}\""));
    }
    name
}
