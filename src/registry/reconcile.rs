//! Makes what serves be what the sources hold: looks, plans, and does what is missing, one version after the other.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use tokio::time::{Duration, Instant};
use tracing::error;

use super::bring_up::Order;
use super::manager::Registry;
use super::plan::{Key, Listed, Step, plan};
use super::settle::Settling;
use super::source::{Candidate, Found, Listing, RegistrySource};
use super::told::Told;
use crate::model::LoadError;
use crate::monitor::LoadResult;
use crate::types::{ModelName, Version};

/// Plans that are made of one look: loads, then the drains that they allow, then nothing.
const ROUNDS_MAX: usize = 4;

/// Compares the sources with the table.
pub struct Reconciler {
    registry: Arc<Registry>,
    sources: Vec<Box<dyn RegistrySource>>,
    settling: Settling<Thing>,
    told: Told,
    /// Nothing has been looked at yet. What is there at the start is taken as it is, so that starting takes no longer.
    is_first: bool,
}

/// A version of the model in a folder, or what is wrong with the folder.
type Thing = (String, Option<Version>);

/// How a pass went.
pub(super) struct Pass {
    /// What failed in it, or is wrong with the sources.
    pub(super) failed: usize,
    /// When something that was being written may have settled.
    pub(super) look_again: Option<Instant>,
}

/// What the sources hold.
#[derive(Default)]
struct Look {
    listed: BTreeMap<Key, Listed>,
    orders: BTreeMap<Key, Order>,
    /// Models that cannot be read, or perhaps could not be listed: what serves of them is left alone.
    unclear: BTreeSet<ModelName>,
    is_unclear: bool,
    /// Models with a folder that is no good, for now.
    broken: BTreeSet<ModelName>,
}

impl Reconciler {
    /// A reconciler of a registry with these sources, which takes what has not changed for `settle_time`.
    pub fn new(registry: Arc<Registry>, sources: Vec<Box<dyn RegistrySource>>, settle_time: Duration) -> Self {
        Self { registry, sources, settling: Settling::new(settle_time), told: Told::default(), is_first: true }
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(super) fn sources(&self) -> &[Box<dyn RegistrySource>] {
        &self.sources
    }

    /// Looks once, and does all that is missing. Blocks for as long as that takes.
    ///
    /// What fails is logged, counted, told by readiness and left as it was.
    pub(super) fn pass(&mut self, now: Instant) -> Pass {
        let look = self.look(now);
        let gone = self.gone(&look, now);
        self.mend(&look);
        self.registry.tell_change();
        let mut failed = 0;
        for _ in 0..ROUNDS_MAX {
            let steps = plan(&look.listed, &self.registry.table.present(), &gone);
            if steps.is_empty() || self.registry.closing.is_cancelled() {
                break;
            }
            failed += self.carry_out(&steps, &look.orders);
        }
        if self.is_first {
            self.registry.settle();
            self.is_first = false;
        }
        Pass { failed: failed + self.told.end_round(), look_again: self.settling.end_round(now) }
    }

    fn look(&mut self, now: Instant) -> Look {
        let mut look = Look::default();
        let listings: Vec<_> = self.sources.iter().map(|source| source.list()).collect();
        for listing in listings {
            match listing {
                Ok(found) => found.into_iter().for_each(|found| self.take_in(&mut look, found, now)),
                Err(error) => {
                    look.is_unclear = true;
                    if self.told.is_new(&error) {
                        error!(error, "list a model repository");
                    }
                }
            }
        }
        look
    }

    fn take_in(&mut self, look: &mut Look, found: Found, now: Instant) {
        let Found { folder, listing } = found;
        let problem = match listing {
            Ok(listing) => {
                let problem = listing.problem().map(str::to_owned);
                self.take_in_versions(look, &folder, listing, now);
                problem
            }
            Err(problem) => {
                look.unclear.extend(folder.parse::<ModelName>());
                Some(problem)
            }
        };
        let Some(problem) = problem else { return };
        look.broken.extend(folder.parse::<ModelName>());
        let mut hasher = DefaultHasher::new();
        problem.hash(&mut hasher);
        if self.settling.observe((folder.clone(), None), Some(hasher.finish()), now) || self.is_first {
            self.broken(&folder, &problem);
        }
    }

    fn take_in_versions(&mut self, look: &mut Look, folder: &str, listing: Listing, now: Instant) {
        let Listing { name, config, versions } = listing;
        let config = Arc::new(config);
        for Candidate { version, files, chosen, origin, survey } in versions {
            let key = (name.clone(), version);
            if look.listed.contains_key(&key) {
                if self.told.is_new(&format!("{name} {version}")) {
                    error!(model = %name, %version, "the same version is in two repositories; the first is served");
                }
                continue;
            }
            let thing = (folder.to_owned(), Some(version));
            let identity = survey.fingerprint;
            let has_settled = !survey.is_partial && self.settling.observe(thing, Some(identity.0), now);
            let listed = Listed { identity, chosen, settled: has_settled || self.is_first };
            look.listed.insert(key.clone(), listed);
            look.orders.insert(key.clone(), Order { key, files, config: Arc::clone(&config), identity, origin });
        }
    }

    /// A model's folder is no good. Said once for each reason.
    fn broken(&mut self, folder: &str, reason: &str) {
        let is_new = self.told.is_new(&format!("{folder}: {reason}"));
        // As one printable line: a file of the model may be quoted in it.
        let detail = LoadError::new(folder, reason.lines().collect::<Vec<_>>().join("; "));
        let name = folder.parse::<ModelName>();
        let is_new = name.as_ref().map_or(is_new, |name| self.registry.table.enter_broken(name, detail.reason()));
        if !is_new {
            return;
        }
        for line in reason.lines() {
            error!(model = folder, reason = line, "read a model folder");
        }
        if let Ok(name) = name {
            let none = Duration::ZERO;
            self.registry.monitor.model_loaded(name.as_str(), None, LoadResult::Failure, none, none);
        }
    }

    /// Versions that no source lists any more, and has not for a while.
    fn gone(&mut self, look: &Look, now: Instant) -> BTreeSet<Key> {
        let mut gone = BTreeSet::new();
        for key in self.registry.table.present().into_keys() {
            let is_clear = !look.is_unclear && !look.unclear.contains(&key.0);
            if is_clear && !look.listed.contains_key(&key) {
                let thing = (key.0.to_string(), Some(key.1));
                if self.settling.observe(thing, None, now) {
                    gone.insert(key);
                }
            }
        }
        gone
    }

    /// Models whose folder is good again, or has gone.
    fn mend(&self, look: &Look) {
        if look.is_unclear {
            return;
        }
        for (name, model) in self.registry.table.models().iter() {
            if model.broken.is_some() && !look.broken.contains(name) && self.registry.table.mend(name) {
                self.registry.monitor.forget(name.as_str(), None);
            }
        }
    }

    /// Every new version is entered as loading before the first is loaded: a client never hears that one is unknown.
    fn carry_out(&self, steps: &[Step], orders: &BTreeMap<Key, Order>) -> usize {
        for order in steps.iter().filter_map(|step| if let Step::Load(key) = step { orders.get(key) } else { None }) {
            self.registry.table.enter(&order.key, order.identity);
        }
        self.registry.tell_change();
        let mut failed = 0;
        for step in steps {
            if self.registry.closing.is_cancelled() {
                break;
            }
            match step {
                Step::Drain(key) => self.registry.drain_version(key),
                Step::Load(key) | Step::Reload(key) => {
                    let is_up = orders.get(key).is_some_and(|order| self.registry.bring_up(order));
                    failed += usize::from(!is_up);
                }
            }
        }
        failed
    }
}
