//! From names and versions to deployments, read without a lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::deployment::Deployment;
use super::lifecycle::{Event, State};
use crate::types::{Error, ModelName, Reason, Version};

/// One version of a model, in whatever state.
#[derive(Clone)]
pub struct VersionEntry {
    /// Where it stands.
    pub state: State,
    /// What serves it, from [`State::Ready`] on.
    pub deployment: Option<Arc<Deployment>>,
}

/// A model's versions, oldest first. Empty where the model as a whole could not be read.
#[derive(Clone, Default)]
pub struct ModelEntry {
    /// By version.
    pub versions: BTreeMap<Version, VersionEntry>,
}

impl ModelEntry {
    /// The version served by default: the newest that is ready, else the newest.
    pub fn default_version(&self) -> Option<(&Version, &VersionEntry)> {
        let ready = self.versions.iter().rev().find(|(_, entry)| entry.state == State::Ready);
        ready.or_else(|| self.versions.iter().next_back())
    }
}

type Models = HashMap<ModelName, ModelEntry>;

/// Every known model.
#[derive(Default)]
pub struct Table {
    models: ArcSwap<Models>,
    writer: Mutex<()>,
}

impl Table {
    /// The deployment that serves `name` in `version` (empty: the default).
    ///
    /// Errors: no such model or version; not ready; a version that is no number. Cost: two look-ups, no lock.
    pub fn route(&self, name: &str, version: &str) -> Result<Arc<Deployment>, Error> {
        let models = self.models.load();
        let (_, entry) = find(&models, name, version)?;
        match (&entry.deployment, entry.state) {
            (Some(deployment), State::Ready) => Ok(Arc::clone(deployment)),
            (_, State::Draining) => Err(Error::new(Reason::Draining, format!("model \"{name}\" is draining"))),
            (_, state) => {
                let hint = if state == State::Failed { ": it failed to load, the server's log says why" } else { "" };
                Err(Error::new(Reason::NotReady, format!("model \"{name}\" is not ready{hint}")))
            }
        }
    }

    /// The version and entry for `name` in `version` (empty: the default). Errors: no such model or version.
    pub fn find(&self, name: &str, version: &str) -> Result<(Version, VersionEntry), Error> {
        let models = self.models.load();
        find(&models, name, version).map(|(version, entry)| (version, entry.clone()))
    }

    /// Every model as it stands now.
    pub fn models(&self) -> Arc<HashMap<ModelName, ModelEntry>> {
        self.models.load_full()
    }

    /// Enters a model without a version: it could not be read.
    pub(super) fn enter_broken(&self, name: ModelName) {
        self.change(|models| {
            models.entry(name).or_default();
        });
    }

    /// Enters a version as [`State::Loading`]. False if it is there already.
    pub(super) fn enter(&self, name: &ModelName, version: Version) -> bool {
        let mut entered = false;
        self.change(|models| {
            let versions = &mut models.entry(name.clone()).or_default().versions;
            entered = !versions.contains_key(&version);
            versions.entry(version).or_insert(VersionEntry { state: State::Loading, deployment: None });
        });
        entered
    }

    /// Moves a version on, and puts its deployment in place where one is given. False if the event cannot happen.
    pub(super) fn advance(
        &self,
        name: &ModelName,
        version: Version,
        event: Event,
        deployment: Option<Arc<Deployment>>,
    ) -> bool {
        let mut moved = false;
        self.change(|models| {
            let entry = models.get_mut(name).and_then(|model| model.versions.get_mut(&version));
            if let Some((entry, next)) = entry.and_then(|entry| entry.state.next(event).map(|next| (entry, next))) {
                entry.state = next;
                entry.deployment = deployment.or_else(|| entry.deployment.take());
                moved = true;
            }
        });
        moved
    }

    fn change(&self, edit: impl FnOnce(&mut Models)) {
        let _one_writer = self.writer.lock();
        let mut models = Models::clone(&self.models.load());
        edit(&mut models);
        self.models.store(Arc::new(models));
    }
}

fn find<'a>(models: &'a Models, name: &str, version: &str) -> Result<(Version, &'a VersionEntry), Error> {
    let Some(model) = models.get(name) else {
        // A name that none can have is wrong, not unknown.
        let name: ModelName = name.parse()?;
        return Err(Error::new(Reason::NotFound, format!("model \"{name}\" is not known")));
    };
    if version.is_empty() {
        let broken =
            || Error::new(Reason::NotReady, format!("model \"{name}\" failed to load, the server's log says why"));
        return model.default_version().map(|(version, entry)| (*version, entry)).ok_or_else(broken);
    }
    let number: Version = version.parse()?;
    let Some(entry) = model.versions.get(&number) else {
        return Err(Error::new(Reason::NotFound, format!("model \"{name}\" has no version {number}")));
    };
    Ok((number, entry))
}
