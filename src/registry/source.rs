//! Where models come from.

use std::path::Path;

use super::fingerprint::{Origin, Survey};
use crate::config::{ModelConfig, VersionPolicy};
use crate::model::Files;
use crate::types::{ModelName, Version};

/// A place that holds models: a folder, the shipped ones, later a registry service.
pub trait RegistrySource: Send + Sync {
    /// What is there now. Errors: the place as a whole cannot be read.
    fn list(&self) -> Result<Vec<Found>, String>;

    /// The folder in which changes show; `None` if nothing ever changes.
    fn folder(&self) -> Option<&Path> {
        None
    }
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
    /// Every version that is there, oldest first.
    pub versions: Vec<Candidate>,
}

/// A version that could be served.
pub struct Candidate {
    /// Its number.
    pub version: Version,
    /// Its files.
    pub files: Files,
    /// Is it one that the model's configuration asks for?
    pub chosen: bool,
    /// Where changes of it would show.
    pub(super) origin: Option<Origin>,
    /// How its files were when it was listed.
    pub(super) survey: Survey,
}

impl Candidate {
    /// A version that never changes.
    pub fn new(version: Version, files: Files) -> Self {
        Self { version, files, chosen: true, origin: None, survey: Survey::default() }
    }

    /// A version in `files`, whose changes show in `origin`.
    pub(super) fn changing(version: Version, files: Files, origin: Origin) -> Self {
        let survey = origin.survey();
        Self { version, files, chosen: true, origin: Some(origin), survey }
    }
}

impl Listing {
    /// Marks the versions that the model's configuration asks for. Errors: one of them is not there.
    pub(super) fn choose_versions(mut self) -> Result<Self, String> {
        self.versions.sort_by_key(|candidate| candidate.version);
        let older = match &self.config.versions {
            VersionPolicy::Latest(count) => self.versions.len().saturating_sub(count.get()),
            VersionPolicy::All | VersionPolicy::Only(_) => 0,
        };
        for candidate in self.versions.iter_mut().take(older) {
            candidate.chosen = false;
        }
        if let VersionPolicy::Only(wanted) = &self.config.versions {
            let there = |number: &u64| self.versions.iter().any(|there| there.version.number() == *number);
            if let Some(missing) = wanted.iter().find(|number| !there(number)) {
                return Err(format!("`versions` asks for version {missing}, which is not there"));
            }
            for candidate in &mut self.versions {
                candidate.chosen = wanted.contains(&candidate.version.number());
            }
        }
        Ok(self)
    }

    /// What is wrong with it although it can be read.
    pub fn problem(&self) -> Option<&'static str> {
        let none = "no version folder: expected one named by a positive whole number, such as `1`";
        self.versions.is_empty().then_some(none)
    }

    /// The versions that the model's configuration asks for, oldest first.
    pub fn chosen(&self) -> impl Iterator<Item = &Candidate> {
        self.versions.iter().filter(|candidate| candidate.chosen)
    }
}
