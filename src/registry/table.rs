//! From names and versions to deployments, read without a lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::deployment::Deployment;
use super::fingerprint::Fingerprint;
use super::lifecycle::{Event, State};
use super::plan::{Key, Present};
use crate::types::{Error, ModelName, Reason, Version};

/// One version of a model, in whatever state.
#[derive(Clone)]
pub struct VersionEntry {
    /// Where it stands.
    pub state: State,
    /// What serves it, from [`State::Ready`] on.
    pub deployment: Option<Arc<Deployment>>,
    /// What an operator should know beside that: how far it is, or why it failed. Empty if nothing.
    pub detail: String,
    /// How its files looked when it was loaded, or last tried.
    pub(super) identity: Fingerprint,
}

/// A model's versions, oldest first. Empty where the model as a whole could not be read.
#[derive(Clone, Default)]
pub struct ModelEntry {
    /// By version.
    pub versions: BTreeMap<Version, VersionEntry>,
    /// Why the model as a whole cannot be read now, whatever of it still serves.
    pub broken: Option<String>,
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

    /// What there is of every version.
    pub(super) fn present(&self) -> BTreeMap<Key, Present> {
        let mut present = BTreeMap::new();
        for (name, model) in self.models.load().iter() {
            for (version, entry) in &model.versions {
                let seen = Present { identity: entry.identity, state: entry.state };
                present.insert((name.clone(), *version), seen);
            }
        }
        present
    }

    /// Notes that a model as a whole could not be read. False if that was known.
    pub(super) fn enter_broken(&self, name: &ModelName, reason: &str) -> bool {
        let mut is_new = false;
        self.change(|models| {
            let broken = &mut models.entry(name.clone()).or_default().broken;
            is_new = broken.as_deref() != Some(reason);
            *broken = Some(reason.to_owned());
        });
        is_new
    }

    /// Notes that a model can be read, or has gone. True if it could not be read before.
    pub(super) fn mend(&self, name: &ModelName) -> bool {
        let mut was_broken = false;
        self.change(|models| {
            let Some(model) = models.get_mut(name) else { return };
            was_broken = model.broken.take().is_some();
            if model.versions.is_empty() {
                models.remove(name);
            }
        });
        was_broken
    }

    /// Enters a version that looks like this as [`State::Loading`]: a new one, or one that failed when it looked
    /// otherwise.
    pub(super) fn enter(&self, (name, version): &Key, identity: Fingerprint) {
        self.change(|models| {
            let entry = VersionEntry { state: State::Loading, deployment: None, detail: String::new(), identity };
            let versions = &mut models.entry(name.clone()).or_default().versions;
            let before = versions.get(version).map(|entry| entry.state);
            if before.is_none_or(|state| state.next(Event::Retry).is_some()) {
                versions.insert(*version, entry);
            }
        });
    }

    /// Says something about a version.
    pub(super) fn note(&self, (name, version): &Key, detail: String) {
        self.change(|models| {
            if let Some(entry) = models.get_mut(name).and_then(|model| model.versions.get_mut(version)) {
                entry.detail = detail;
            }
        });
    }

    /// A version that serves was tried again with files that look like this.
    pub(super) fn tried(&self, (name, version): &Key, identity: Fingerprint) {
        self.change(|models| {
            if let Some(entry) = models.get_mut(name).and_then(|model| model.versions.get_mut(version)) {
                entry.identity = identity;
            }
        });
    }

    /// Puts another deployment in the place of the one that serves, which is returned. `None` if none serves.
    pub(super) fn swap(&self, (name, version): &Key, deployment: Arc<Deployment>) -> Option<Arc<Deployment>> {
        let mut before = None;
        self.change(|models| {
            let entry = models.get_mut(name).and_then(|model| model.versions.get_mut(version));
            if let Some(entry) = entry.filter(|entry| entry.state == State::Ready) {
                before = entry.deployment.replace(deployment);
                entry.detail.clear();
            }
        });
        before
    }

    /// Lets go of the deployment of a version that drains.
    pub(super) fn release(&self, (name, version): &Key) {
        self.change(|models| {
            let entry = models.get_mut(name).and_then(|model| model.versions.get_mut(version));
            if let Some(entry) = entry.filter(|entry| entry.state == State::Draining) {
                entry.deployment = None;
            }
        });
    }

    /// Takes out a version that serves no more, and its model where it has no other.
    pub(super) fn remove(&self, (name, version): &Key) {
        self.change(|models| {
            let Some(model) = models.get_mut(name) else { return };
            if model.versions.get(version).is_some_and(|entry| entry.state == State::Retired) {
                model.versions.remove(version);
            }
            if model.versions.is_empty() && model.broken.is_none() {
                models.remove(name);
            }
        });
    }

    /// Moves a version on, and puts its deployment in place where one is given. False if the event cannot happen.
    pub(super) fn advance(&self, (name, version): &Key, event: Event, deployment: Option<Arc<Deployment>>) -> bool {
        let mut moved = false;
        self.change(|models| {
            let entry = models.get_mut(name).and_then(|model| model.versions.get_mut(version));
            if let Some((entry, next)) = entry.and_then(|entry| entry.state.next(event).map(|next| (entry, next))) {
                entry.state = next;
                entry.detail.clear();
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
