//! The kinds of models that can be loaded, and which kind a version is.

#[cfg(test)]
mod tests;

use super::arch::vision::{resnet, vit};
use super::arch::{bert, distilbert, identity, modernbert, network, roberta};
use super::json::Json;
use super::{Files, LoadError, Loaded, Target, pickle};
use crate::config::ModelConfig;

/// The file that tells a Hugging Face folder, and what is in it.
pub(super) const HUB_CONFIG: &str = "config.json";
/// Where such a folder has its weights, if they are not in several files.
pub(super) const HUB_WEIGHTS: &str = "model.safetensors";
/// Which files have them, if they are.
const HUB_INDEX: &str = "model.safetensors.index.json";

/// Names of files that an error lists.
const NAMES_SHOWN: usize = 6;

/// A kind of model.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// What it is called.
    pub name: &'static str,
    /// What gives it away.
    pub marker: Marker,
    /// Reads the files and builds the model.
    pub build: fn(&Source<'_>) -> Result<Loaded, LoadError>,
}

/// What gives away which kind of model a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Marker {
    /// A file of this name.
    File(&'static str),
    /// This `model_type` in the `config.json` of a Hugging Face folder.
    ModelType(&'static str),
    /// One of these under `architecture` in the `config.json` of a folder that timm saved.
    Timm(&'static [&'static str]),
}

/// Every kind of model: one line for each.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "declared network", marker: Marker::File("network.toml"), build: network::build },
    Architecture { name: "identity", marker: Marker::File("identity.toml"), build: identity::build },
    Architecture { name: "BERT", marker: Marker::ModelType("bert"), build: bert::build },
    Architecture { name: "DistilBERT", marker: Marker::ModelType("distilbert"), build: distilbert::build },
    Architecture { name: "RoBERTa", marker: Marker::ModelType("roberta"), build: roberta::build },
    Architecture { name: "XLM-RoBERTa", marker: Marker::ModelType("xlm-roberta"), build: roberta::build },
    Architecture { name: "ModernBERT", marker: Marker::ModelType("modernbert"), build: modernbert::build },
    Architecture { name: "ViT", marker: Marker::ModelType("vit"), build: vit::build },
    Architecture { name: "ResNet", marker: Marker::ModelType("resnet"), build: resnet::build_hub },
    Architecture { name: "timm's ResNet", marker: Marker::Timm(resnet::TIMM), build: resnet::build_timm },
];

/// Everything that an architecture needs to build one version.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The version's files.
    pub files: &'a Files,
    /// The model's settings.
    pub config: &'a ModelConfig,
    /// Where it will run.
    pub target: &'a Target,
}

/// Loads one version: its marker says which architecture builds it.
///
/// Errors: no marker, or two; a format that can execute code; whatever the architecture finds wrong.
pub fn load(files: &Files, config: &ModelConfig, target: &Target) -> Result<Loaded, LoadError> {
    (find(files)?.build)(&Source { files, config, target })
}

fn find(files: &Files) -> Result<&'static Architecture, LoadError> {
    let marked = |architecture: &'static Architecture| match architecture.marker {
        Marker::File(name) if files.has(name) => Some((architecture, name)),
        _ => None,
    };
    let mut found = ARCHITECTURES.iter().filter_map(marked);
    match (found.next(), found.next()) {
        (Some((architecture, _)), None) => Ok(architecture),
        (Some((_, first)), Some((_, second))) => {
            Err(LoadError::new(second, format!("{first} is there too; keep one of them")))
        }
        (None, _) if files.has(HUB_CONFIG) => find_on_hub(files),
        (None, _) => Err(unknown(files)),
    }
}

/// The architecture of a Hugging Face folder.
fn find_on_hub(files: &Files) -> Result<&'static Architecture, LoadError> {
    let config = Json::read(files, HUB_CONFIG)?;
    let key = if config.get("model_type").is_none() && config.get("architecture").is_some() {
        "architecture"
    } else {
        "model_type"
    };
    let name = config.text(key)?.unwrap_or_default();
    let names =
        |known: &'static Architecture| if key == "model_type" { known.model_types() } else { known.timm_names() };
    let Some(architecture) = ARCHITECTURES.iter().find(|known| names(known).contains(&name)) else {
        let known: Vec<&str> = ARCHITECTURES.iter().flat_map(names).copied().collect();
        let code =
            if config.get("auto_map").is_some() { "; the code that its `auto_map` names is not run" } else { "" };
        let known = known.join(", ");
        return Err(config.error(key, format!("expected one of {known}, got \"{name}\"{code}")));
    };
    if !files.has(HUB_WEIGHTS) && !files.has(HUB_INDEX) {
        refuse_pickles(&files.names()?)?;
        return Err(LoadError::new(HUB_WEIGHTS, "no such file, and no index of weights in several files"));
    }
    Ok(architecture)
}

impl Architecture {
    fn model_types(&'static self) -> &'static [&'static str] {
        match &self.marker {
            Marker::ModelType(name) => std::slice::from_ref(name),
            Marker::File(_) | Marker::Timm(_) => &[],
        }
    }

    fn timm_names(&self) -> &'static [&'static str] {
        match self.marker {
            Marker::Timm(names) => names,
            Marker::File(_) | Marker::ModelType(_) => &[],
        }
    }
}

/// Why a version without a marker cannot be loaded: what is there instead.
fn unknown(files: &Files) -> LoadError {
    let names = match files.names() {
        Ok(names) => names,
        Err(error) => return error,
    };
    if let Err(error) = refuse_pickles(&names) {
        return error;
    }
    let marker = |known: &Architecture| match known.marker {
        Marker::File(name) => Some(format!("{name} ({})", known.name)),
        Marker::ModelType(_) | Marker::Timm(_) => None,
    };
    let mut markers: Vec<String> = ARCHITECTURES.iter().filter_map(marker).collect();
    markers.push(format!("{HUB_CONFIG} (Hugging Face)"));
    let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let there = match names.len() {
        0 => "no files".to_owned(),
        count if count > NAMES_SHOWN => format!("{shown} and {} more", count - NAMES_SHOWN),
        _ => shown,
    };
    let markers = markers.join(" or ");
    LoadError::new("version", format!("unknown kind of model: expected {markers}, found {there}"))
}

fn refuse_pickles(names: &[String]) -> Result<(), LoadError> {
    match names.iter().find(|name| pickle::is_suspect(name)) {
        Some(name) => Err(LoadError::new(name, pickle::refusal("usually a pickle"))),
        None => Ok(()),
    }
}
