//! The kinds of models that can be loaded, and which kind a version is.

#[cfg(test)]
mod tests;

use candle_core::Device;

use super::arch::{identity, network};
use super::{Files, LoadError, Loaded, pickle};
use crate::config::ModelConfig;

/// A kind of model.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// What it is called.
    pub name: &'static str,
    /// The file that gives it away.
    pub marker: &'static str,
    /// Reads the files and builds the model.
    pub build: fn(&Source<'_>) -> Result<Loaded, LoadError>,
}

/// Every kind of model: one line for each.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "declared network", marker: "network.toml", build: network::build },
    Architecture { name: "identity", marker: "identity.toml", build: identity::build },
];

/// Everything that an architecture needs to build one version.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The version's files.
    pub files: &'a Files,
    /// The model's settings.
    pub config: &'a ModelConfig,
    /// Where it will run.
    pub device: &'a Device,
}

/// Loads one version: the marker file says which architecture builds it.
///
/// Errors: no marker, or two; a format that can execute code; whatever the architecture finds wrong.
pub fn load(files: &Files, config: &ModelConfig, device: &Device) -> Result<Loaded, LoadError> {
    let mut found = ARCHITECTURES.iter().filter(|architecture| files.has(architecture.marker));
    match (found.next(), found.next()) {
        (Some(architecture), None) => (architecture.build)(&Source { files, config, device }),
        (Some(first), Some(second)) => {
            Err(LoadError::new(second.marker, format!("{} is there too; keep one of them", first.marker)))
        }
        (None, _) => Err(unknown(files)),
    }
}

/// Why a version without a marker cannot be loaded: what is there instead.
fn unknown(files: &Files) -> LoadError {
    let names = match files.names() {
        Ok(names) => names,
        Err(error) => return error,
    };
    if let Some(name) = names.iter().find(|name| pickle::is_suspect(name)) {
        return LoadError::new(name, pickle::refusal("usually a pickle"));
    }
    let markers: Vec<String> = ARCHITECTURES.iter().map(|known| format!("{} ({})", known.marker, known.name)).collect();
    let there = if names.is_empty() { "no files".to_owned() } else { names.join(", ") };
    let markers = markers.join(" or ");
    LoadError::new("version", format!("unknown kind of model: expected {markers}, found {there}"))
}
