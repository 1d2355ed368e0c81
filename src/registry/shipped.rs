//! The models that ship inside the binary, for `sconce demo`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use include_dir::{Dir, include_dir};

use super::source::{Candidate, Found, Listing, RegistrySource};
use crate::config::ModelConfig;
use crate::model::Files;
use crate::types::Version;

static MODELS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/models");

/// The shipped models.
pub struct Shipped;

impl RegistrySource for Shipped {
    fn list(&self) -> Result<Vec<Found>, String> {
        let folder_name = |dir: &Dir<'_>| dir.path().file_name().map(|name| name.to_string_lossy().into_owned());
        let models = MODELS.dirs().filter_map(|dir| Some((folder_name(dir)?, dir)));
        let models = models.filter(|(_, dir)| dir.dirs().any(|dir| version_of(dir).is_some()));
        Ok(models.map(|(folder, dir)| Found { listing: list_model(&folder, dir), folder }).collect())
    }
}

/// A file beside a shipped model's versions, such as `held_out.safetensors`.
pub fn shipped_file(model: &str, file: &str) -> Option<&'static [u8]> {
    MODELS.get_file(format!("{model}/{file}")).map(include_dir::File::contents)
}

fn list_model(folder: &str, dir: &'static Dir<'static>) -> Result<Listing, String> {
    let name = folder.parse().map_err(|error| format!("{error}"))?;
    let config = match shipped_file(folder, "model.toml").map(std::str::from_utf8) {
        Some(Ok(text)) => ModelConfig::parse("model.toml", text).map_err(|problems| problems.to_string())?,
        Some(Err(error)) => return Err(format!("model.toml: {error}")),
        None => ModelConfig::default(),
    };
    let candidate = |dir| Some(Candidate::new(version_of(dir)?, files(dir)));
    let versions = dir.dirs().filter_map(candidate).collect();
    Listing { name, config, versions }.choose_versions()
}

fn version_of(dir: &Dir<'_>) -> Option<Version> {
    dir.path().file_name()?.to_str()?.parse().ok()
}

fn files(dir: &'static Dir<'static>) -> Files {
    let mut files = BTreeMap::new();
    for file in dir.files() {
        if let Some(name) = file.path().file_name().and_then(|name| name.to_str()) {
            files.insert(name.to_owned(), Cow::Borrowed(file.contents()));
        }
    }
    Files::Memory(files)
}
