//! The index of weights in several files, as Hugging Face's tools write it: which tensor is in which file.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::shard::Shard;
use crate::model::{Files, LoadError};

/// Largest index: as many names as the largest header holds, four times over.
const INDEX_BYTES_MAX: u64 = 16 << 20;
/// Files that weights may be in.
const SHARDS_MAX: usize = 1024;

/// Which tensor is in which file.
pub(super) struct Index {
    file: String,
    weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Written {
    weight_map: BTreeMap<String, String>,
}

/// The name of the index of a file that was cut into several.
pub(super) fn index_of(file: &str) -> String {
    format!("{file}.index.json")
}

impl Index {
    /// Reads the index `file`. Errors: it is none, or names what cannot be the name of a file beside it.
    pub(super) fn read(files: &Files, file: &str) -> Result<Self, LoadError> {
        let failed = |reason: String| LoadError::new(file, reason);
        let text = files.read(file, INDEX_BYTES_MAX)?;
        let Written { weight_map } = serde_json::from_slice(&text)
            .map_err(|error| failed(format!("expected {{\"weight_map\": {{tensor: file}}}}: {error}")))?;
        let index = Self { file: file.to_owned(), weight_map };
        let shards = index.shards();
        if let Some(name) = shards.iter().find(|name| !is_plain(name)) {
            return Err(failed(format!("expected the plain name of a file `*.safetensors`, got \"{name}\"")));
        }
        if shards.len() > SHARDS_MAX {
            return Err(failed(format!("expected at most {SHARDS_MAX} files, got {}", shards.len())));
        }
        Ok(index)
    }

    /// The files that it names.
    pub(super) fn shards(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }

    /// Checks that each tensor is where the index says, and nowhere else.
    pub(super) fn check(&self, shards: &[Shard]) -> Result<(), LoadError> {
        let failed = |reason: String| Err(LoadError::new(&self.file, reason));
        for shard in shards {
            let there = &shard.file;
            for name in shard.tensors.keys() {
                match self.weight_map.get(name) {
                    Some(file) if file == there => {}
                    Some(file) => return failed(format!("tensor \"{name}\": expected in {file}, found in {there}")),
                    None => return failed(format!("tensor \"{name}\" is in {there}, but not in `weight_map`")),
                }
            }
        }
        let found: BTreeSet<&String> = shards.iter().flat_map(|shard| shard.tensors.keys()).collect();
        match self.weight_map.iter().find(|(name, _)| !found.contains(name)) {
            Some((name, file)) => failed(format!("tensor \"{name}\" is not in {file}, where it should be")),
            None => Ok(()),
        }
    }
}

/// Is it the name of a file in the same folder?
fn is_plain(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}
