//! Where models come from.

use crate::config::{ModelConfig, VersionPolicy};
use crate::model::Files;
use crate::types::{ModelName, Version};

/// A place that holds models: a folder, the shipped ones, later a registry service.
pub trait RegistrySource: Send + Sync {
    /// What is there now. Errors: the place as a whole cannot be read.
    fn list(&self) -> Result<Vec<Found>, String>;
}

/// A model that was found, or what is wrong with it.
pub struct Found {
    /// Name of its folder: the model's name, where that is legal.
    pub folder: String,
    /// The model, or why it cannot be served.
    pub listing: Result<Listing, String>,
}

/// A model with its versions.
pub struct Listing {
    /// Name under which it is served.
    pub name: ModelName,
    /// Its `model.toml`, or the defaults.
    pub config: ModelConfig,
    /// Its versions, oldest first.
    pub versions: Vec<(Version, Files)>,
}

impl Listing {
    /// Keeps the versions that the model's configuration asks for. Errors: there are none.
    pub fn choose_versions(mut self) -> Result<Self, String> {
        match &self.config.versions {
            VersionPolicy::All => {}
            VersionPolicy::Latest => self.versions.drain(..self.versions.len().saturating_sub(1)).for_each(drop),
            VersionPolicy::Only(wanted) => {
                let there = |number: &u64| self.versions.iter().any(|(version, _)| version.number() == *number);
                if let Some(missing) = wanted.iter().find(|number| !there(number)) {
                    return Err(format!("`versions` asks for version {missing}, which is not there"));
                }
                self.versions.retain(|(version, _)| wanted.contains(&version.number()));
            }
        }
        if self.versions.is_empty() {
            return Err("no version folder: expected one named by a positive whole number, such as `1`".to_owned());
        }
        Ok(self)
    }
}
