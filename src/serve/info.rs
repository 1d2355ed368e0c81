//! Metadata and readiness, read from state that is already there: never behind work.

use std::sync::Arc;

use tokio::time::Instant;

use super::pipeline::Pipeline;
use crate::registry::{Deployment, DeviceState, State};
use crate::types::{Error, Reason, Version};

/// What the server says of itself.
#[derive(Clone, Copy, Debug)]
pub struct ServerInfo {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Protocol extensions that work.
    pub extensions: &'static [&'static str],
}

/// What a model says of itself.
pub struct ModelInfo {
    /// Versions that are ready, oldest first.
    pub versions: Vec<Version>,
    /// The version that was asked for.
    pub deployment: Arc<Deployment>,
}

/// Where one version of a model stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelState {
    /// Name of the model.
    pub model: String,
    /// Its version; `None` if the model as a whole could not be read.
    pub version: Option<Version>,
    /// Is it ready?
    pub ready: bool,
    /// The word for where it stands.
    pub state: &'static str,
    /// What an operator should know beside that: how far it is, or why it failed. Empty if nothing.
    pub detail: String,
}

impl Pipeline {
    /// What the server says of itself.
    pub fn server_info(&self) -> ServerInfo {
        let extensions = &["binary_tensor_data", "parameters", "schedule_policy"];
        ServerInfo { name: "sconce", version: env!("CARGO_PKG_VERSION"), extensions }
    }

    /// Is every model that could be loaded ready, and the server not on its way out?
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && self.registry().is_ready()
    }

    /// Is this model ready? One that is not known is not. Errors: a version that is no number.
    pub fn is_model_ready(&self, name: &str, version: &str) -> Result<bool, Error> {
        match self.registry().table().find(name, version) {
            Ok((_, entry)) => Ok(entry.state == State::Ready && !self.is_draining()),
            Err(error) if matches!(error.reason(), Reason::NotReady | Reason::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Signature and versions of a model. Errors: not known, not ready.
    pub fn model_info(&self, name: &str, version: &str) -> Result<ModelInfo, Error> {
        let deployment = self.registry().table().route(name, version)?;
        let models = self.registry().table().models();
        let ready = models.get(name).into_iter().flat_map(|model| &model.versions);
        let versions = ready.filter(|(_, entry)| entry.state == State::Ready).map(|(version, _)| *version).collect();
        Ok(ModelInfo { versions, deployment })
    }

    /// Where every device stands beside the server's own cores.
    pub fn device_states(&self) -> Vec<DeviceState> {
        self.registry().accelerators().states()
    }

    /// Where every model stands, by name and version.
    pub fn model_states(&self) -> Vec<ModelState> {
        let mut states = Vec::new();
        for (name, model) in self.registry().table().models().iter() {
            let broken = model.broken.as_deref().unwrap_or_default();
            if model.versions.is_empty() {
                let (model, detail, state) = (name.to_string(), broken.to_owned(), State::Failed.label());
                states.push(ModelState { model, version: None, ready: false, state, detail });
            }
            for (version, entry) in &model.versions {
                let ready = entry.state == State::Ready && !self.is_draining();
                let (state, mut detail) = (entry.state.label(), entry.detail.clone());
                if let Some(trouble) = entry.deployment.as_deref().and_then(trouble) {
                    detail =
                        [detail, trouble].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
                }
                if detail.is_empty() && !broken.is_empty() {
                    detail = format!("reload failed: {broken}");
                }
                states.push(ModelState { model: name.to_string(), version: Some(*version), ready, state, detail });
            }
        }
        states.sort_by(|one, other| (&one.model, one.version).cmp(&(&other.model, other.version)));
        states
    }
}

/// What is wrong with the rungs of a version that serves all the same; `None` if nothing is.
fn trouble(deployment: &Deployment) -> Option<String> {
    let now = Instant::now();
    let mut told: Vec<String> =
        deployment.rungs.iter().map(|rung| rung.trouble(now)).filter(|why| !why.is_empty()).collect();
    for (rung, trial) in deployment.sampler.troubled() {
        told.push(format!("{}: its last trial {}", rung.label(), trial.label()));
    }
    if told.is_empty() {
        return None;
    }
    let serving = deployment.rungs.serving(now);
    if serving.serves(now) {
        told.push(format!("{} serves", serving.name().label()));
    } else if !deployment.declared.is_empty() {
        let rungs: Vec<&str> = deployment.declared.iter().map(|declared| declared.kind.label()).collect();
        told.push(format!("left to {}", rungs.join(", ")));
    }
    Some(told.join("; "))
}
