//! A folder of models: `<folder>/<model>/<version>/<files>`, with an optional `<folder>/<model>/model.toml`.

use std::fs;
use std::path::{Path, PathBuf};

use super::fingerprint::Origin;
use super::source::{Candidate, Found, Listing, RegistrySource};
use crate::config::ModelConfig;
use crate::model::Files;
use crate::types::{ModelName, Version};

const CONFIG: &str = "model.toml";

/// A model repository on disk.
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The repository at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The one model whose folder `folder` is; `None` if it does not look like one.
    pub fn model(folder: &Path) -> Option<Found> {
        let name = fs::canonicalize(folder).ok()?.file_name()?.to_str()?.to_owned();
        is_model(folder).then(|| Found { listing: list_model(folder, &name, folder), folder: name })
    }
}

impl RegistrySource for Directory {
    fn list(&self) -> Result<Vec<Found>, String> {
        let mut found = Vec::new();
        for folder in folders(&self.path)? {
            if let Some(name) = folder.file_name().and_then(|name| name.to_str())
                && !is_none_of_ours(name)
            {
                found.push(Found { folder: name.to_owned(), listing: list_model(&folder, name, &self.path) });
            }
        }
        Ok(found)
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

/// Reads one model's folder, whose links may lead to what is in `root`. Errors: every problem, one a line.
fn list_model(folder: &Path, name: &str, root: &Path) -> Result<Listing, String> {
    let name: ModelName = name.parse().map_err(|error| format!("{error}"))?;
    let file = folder.join(CONFIG);
    let config = if file.exists() {
        ModelConfig::open(&file).map_err(|problems| problems.to_string())?
    } else {
        ModelConfig::default()
    };
    let mut versions = Vec::new();
    for folder in folders(folder)? {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Ok(version) = name.parse::<Version>() {
            let files = Files::within(&folder, root);
            let origin = Origin { folder, settings: file.clone() };
            versions.push(Candidate::changing(version, files, origin));
        }
    }
    Listing { name, config, versions }.choose_versions()
}

/// Folders that tools and file systems leave behind.
fn is_none_of_ours(name: &str) -> bool {
    name.starts_with(['.', '_']) || name == "lost+found"
}

/// Does a folder look like a model: is there a version or a `model.toml`?
fn is_model(folder: &Path) -> bool {
    let numbered =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().parse::<Version>().is_ok());
    folder.join(CONFIG).exists() || folders(folder).is_ok_and(|folders| folders.iter().any(numbered))
}

/// The folders in a folder, by name.
fn folders(path: &Path) -> Result<Vec<PathBuf>, String> {
    let refused = |error: std::io::Error| format!("read the folder {}: {error}", path.display());
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(refused)? {
        let entry = entry.map_err(refused)?.path();
        if entry.is_dir() {
            folders.push(entry);
        }
    }
    folders.sort();
    Ok(folders)
}
