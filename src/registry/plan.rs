//! What is to be done so that what serves is what the sources hold: a pure function of the two.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::fingerprint::Fingerprint;
use super::lifecycle::State;
use crate::types::{ModelName, Version};

/// A version of a model.
pub(super) type Key = (ModelName, Version);

/// What the sources say of a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    /// How it looks.
    pub(super) identity: Fingerprint,
    /// Does the model's configuration ask for it?
    pub(super) chosen: bool,
    /// Has nothing changed about it for a while, and is nothing half-written?
    pub(super) settled: bool,
}

/// What the table has of a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    /// How it looked when it was loaded, or last tried.
    pub(super) identity: Fingerprint,
    /// Where it stands.
    pub(super) state: State,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Take it out of service, then out of the table.
    Drain(Key),
    /// Bring it up; it does not serve.
    Load(Key),
    /// Bring it up beside the one that serves under the same number, then swap them.
    Reload(Key),
}

/// What is to be done, drains first, since they make room. `gone`: versions that no source lists any more, for a while.
///
/// Each look of a version is tried once. What serves goes on serving until what should take its place is ready.
pub(super) fn plan(
    listed: &BTreeMap<Key, Listed>,
    present: &BTreeMap<Key, Present>,
    gone: &BTreeSet<Key>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (key, have) in present {
        let is_over = match listed.get(key) {
            Some(version) => version.settled && !version.chosen && is_replaced(&key.0, have, listed, present),
            None => gone.contains(key) && is_tried(&key.0, listed, present),
        };
        if is_over && matches!(have.state, State::Ready | State::Failed) {
            steps.push(Step::Drain(key.clone()));
        }
    }
    for (key, version) in listed.iter().filter(|(_, version)| version.chosen && version.settled) {
        match present.get(key) {
            None => steps.push(Step::Load(key.clone())),
            Some(have) if have.identity == version.identity => {}
            Some(have) if have.state == State::Ready => steps.push(Step::Reload(key.clone())),
            Some(have) if have.state == State::Failed => steps.push(Step::Load(key.clone())),
            Some(_) => {}
        }
    }
    steps
}

/// May a version go that is there but not asked for? One that serves stays until all that is asked for does.
fn is_replaced(
    model: &ModelName,
    have: &Present,
    listed: &BTreeMap<Key, Listed>,
    present: &BTreeMap<Key, Present>,
) -> bool {
    let is_ready = |key: &Key| present.get(key).is_some_and(|have| have.state == State::Ready);
    have.state == State::Failed || chosen(model, listed).all(is_ready)
}

/// May a version go that has been removed? Once all that is asked for has been tried.
fn is_tried(model: &ModelName, listed: &BTreeMap<Key, Listed>, present: &BTreeMap<Key, Present>) -> bool {
    chosen(model, listed).all(|key| {
        let state = present.get(key).map(|have| have.state);
        matches!(state, Some(State::Ready | State::Failed))
    })
}

fn chosen<'a>(model: &'a ModelName, listed: &'a BTreeMap<Key, Listed>) -> impl Iterator<Item = &'a Key> {
    listed.iter().filter(move |(key, version)| key.0 == *model && version.chosen).map(|(key, _)| key)
}
