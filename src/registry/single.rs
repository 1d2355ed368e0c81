//! One folder of a model by itself, such as a person names to the demo: served as version 1 under the folder's name.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::{Candidate, Found, Listing, RegistrySource};
use crate::config::ModelConfig;
use crate::model::Files;
use crate::types::{ModelName, Version};

/// Served where a folder's name holds nothing that a model's name may have.
const NAMELESS: &str = "model";
/// Longest name that is taken over.
const NAME_CHARS_MAX: usize = 64;

/// A model's files in a folder of their own, without a repository about them.
pub struct Single {
    path: PathBuf,
}

impl Single {
    /// The model in the folder `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The name under which it is served: that of its folder, without what no model's name may have. Where that is a version's
    /// number, or a revision in a hub's cache, the folder above tells the name.
    pub fn name(&self) -> String {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        name_of(&path)
    }
}

impl RegistrySource for Single {
    fn list(&self) -> Result<Vec<Found>, String> {
        if !self.path.is_dir() {
            return Err(format!("{}: expected a folder that holds a model", self.path.display()));
        }
        let folder = self.name();
        let listing = listing(&folder, &self.path);
        Ok(vec![Found { folder, listing }])
    }
}

fn listing(name: &str, folder: &Path) -> Result<Listing, String> {
    let name: ModelName = name.parse().map_err(|error| format!("{error}"))?;
    let first: Version = "1".parse().map_err(|error| format!("{error}"))?;
    let versions = vec![Candidate::new(first, Files::folder(folder))];
    Ok(Listing { name, config: ModelConfig::default(), versions })
}

fn name_of(path: &Path) -> String {
    let name_of_folder = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut name = name_of_folder(path).unwrap_or_default();
    let above = path.parent().and_then(|parent| Some((parent, name_of_folder(parent)?)));
    if let Some((snapshots, parent)) = above {
        let cached = snapshots.parent().and_then(name_of_folder).filter(|_| parent == "snapshots");
        match cached.and_then(|cached| cached.rsplit_once("--").map(|(_, model)| model.to_owned())) {
            Some(model) => name = model,
            None if name.parse::<Version>().is_ok() => name = parent,
            None => {}
        }
    }
    let legal = |character: &char| character.is_ascii_alphanumeric() || "_-.".contains(*character);
    let name: String = name.chars().filter(legal).skip_while(|first| *first == '.').take(NAME_CHARS_MAX).collect();
    if name.is_empty() { NAMELESS.to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Single, name_of};
    use crate::registry::RegistrySource as _;
    use crate::types::ModelName;

    #[test]
    fn every_folder_has_a_legal_name() {
        for (path, wanted) in [
            ("/a/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
            ("/a/my model (2)", "mymodel2"),
            ("/a/my_model/1", "my_model"),
            ("/hub/models--org--small-bert/snapshots/0a1b2c", "small-bert"),
            ("/a/..hidden", "hidden"),
            ("/a/模型", "model"),
            ("/", "model"),
        ] {
            assert_eq!(name_of(Path::new(path)), wanted);
            assert!(wanted.parse::<ModelName>().is_ok());
        }
        assert_eq!(name_of(Path::new(&format!("/{}", "x".repeat(500)))).len(), 64);
    }

    #[test]
    fn what_is_no_folder_is_told() {
        let wrong = Single::new("/nowhere/at/all").list().err().expect("an error");
        assert_eq!(wrong, "/nowhere/at/all: expected a folder that holds a model");
    }
}
