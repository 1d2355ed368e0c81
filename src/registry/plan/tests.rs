//! Plans by example, and what holds of all of them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::btree_map;
use proptest::prelude::*;

use super::{Key, Listed, Present, Step, plan};
use crate::registry::fingerprint::Fingerprint;
use crate::registry::lifecycle::State;

fn key(model: &str, version: u64) -> Key {
    (model.parse().expect("a name"), version.to_string().parse().expect("a version"))
}

/// A version of model `m`: its number, look, whether it is chosen and settled.
fn listed(versions: &[(u64, u64, bool, bool)]) -> BTreeMap<Key, Listed> {
    let one = |&(version, look, chosen, settled): &(u64, u64, bool, bool)| {
        (key("m", version), Listed { identity: Fingerprint(look), chosen, settled })
    };
    versions.iter().map(one).collect()
}

fn present(versions: &[(u64, u64, State)]) -> BTreeMap<Key, Present> {
    let one = |&(version, look, state): &(u64, u64, State)| {
        (key("m", version), Present { identity: Fingerprint(look), state })
    };
    versions.iter().map(one).collect()
}

fn drain(version: u64) -> Step {
    Step::Drain(key("m", version))
}

fn load(version: u64) -> Step {
    Step::Load(key("m", version))
}

fn reload(version: u64) -> Step {
    Step::Reload(key("m", version))
}

type Case = (&'static str, BTreeMap<Key, Listed>, BTreeMap<Key, Present>, Vec<u64>, Vec<Step>);

fn check(cases: impl IntoIterator<Item = Case>) {
    for (what, listed, present, gone, wanted) in cases {
        let gone: BTreeSet<Key> = gone.into_iter().map(|version| key("m", version)).collect();
        assert_eq!(plan(&listed, &present, &gone), wanted, "{what}");
    }
}

#[test]
fn what_is_missing_is_done() {
    use State::{Draining, Failed, Ready};
    let (yes, no) = (true, false);
    let cases = [
        ("a new one", listed(&[(1, 7, yes, yes)]), present(&[]), vec![], vec![load(1)]),
        ("being written", listed(&[(1, 7, yes, no)]), present(&[]), vec![], vec![]),
        ("not asked for", listed(&[(1, 7, no, yes)]), present(&[]), vec![], vec![]),
        ("nothing new", listed(&[(1, 7, yes, yes)]), present(&[(1, 7, Ready)]), vec![], vec![]),
        ("changed", listed(&[(1, 8, yes, yes)]), present(&[(1, 7, Ready)]), vec![], vec![reload(1)]),
        ("changing", listed(&[(1, 8, yes, no)]), present(&[(1, 7, Ready)]), vec![], vec![]),
        ("failed as it is", listed(&[(1, 7, yes, yes)]), present(&[(1, 7, Failed)]), vec![], vec![]),
        ("repaired", listed(&[(1, 8, yes, yes)]), present(&[(1, 7, Failed)]), vec![], vec![load(1)]),
        ("added again while it drains", listed(&[(1, 8, yes, yes)]), present(&[(1, 7, Draining)]), vec![], vec![]),
    ];
    check(cases);
}

#[test]
fn what_is_to_go_goes_when_it_is_not_needed() {
    use State::{Failed, Ready};
    let (yes, no) = (true, false);
    let cases = [
        (
            "the next one is loaded first",
            listed(&[(1, 7, no, yes), (2, 7, yes, yes)]),
            present(&[(1, 7, Ready)]),
            vec![],
            vec![load(2)],
        ),
        (
            "then the one before drains",
            listed(&[(1, 7, no, yes), (2, 7, yes, yes)]),
            present(&[(1, 7, Ready), (2, 7, Ready)]),
            vec![],
            vec![drain(1)],
        ),
        (
            "but not if the next one failed",
            listed(&[(1, 7, no, yes), (2, 7, yes, yes)]),
            present(&[(1, 7, Ready), (2, 7, Failed)]),
            vec![],
            vec![],
        ),
        (
            "nor while the settings are being written",
            listed(&[(1, 7, no, no), (2, 7, yes, no)]),
            present(&[(1, 6, Ready), (2, 6, Ready)]),
            vec![],
            vec![],
        ),
        (
            "what failed and is not asked for goes",
            listed(&[(1, 7, no, yes), (2, 7, yes, no)]),
            present(&[(1, 7, Failed)]),
            vec![],
            vec![drain(1)],
        ),
        ("removed", listed(&[]), present(&[(1, 7, Ready), (2, 7, Failed)]), vec![1, 2], vec![drain(1), drain(2)]),
        ("perhaps removed", listed(&[]), present(&[(1, 7, Ready)]), vec![], vec![]),
        (
            "renamed: the new one is loaded first",
            listed(&[(2, 7, yes, no)]),
            present(&[(1, 7, Ready)]),
            vec![1],
            vec![],
        ),
        (
            "removed, and the next one is broken",
            listed(&[(2, 7, yes, yes)]),
            present(&[(1, 7, Ready), (2, 7, Failed)]),
            vec![1],
            vec![drain(1)],
        ),
    ];
    check(cases);
}

fn a_key() -> impl Strategy<Value = Key> {
    ("[ab]", 1_u64..4).prop_map(|(model, version)| key(&model, version))
}

fn a_listing() -> impl Strategy<Value = BTreeMap<Key, Listed>> {
    let one = (0_u64..2, any::<bool>(), any::<bool>()).prop_map(|(look, chosen, settled)| Listed {
        identity: Fingerprint(look),
        chosen,
        settled,
    });
    btree_map(a_key(), one, 0..6)
}

fn a_table() -> impl Strategy<Value = BTreeMap<Key, Present>> {
    let states = prop_oneof![Just(State::Ready), Just(State::Failed), Just(State::Draining)];
    let one = (0_u64..2, states).prop_map(|(look, state)| Present { identity: Fingerprint(look), state });
    btree_map(a_key(), one, 0..6)
}

/// What the table is after the steps, if every load whose number is even fails.
fn apply(steps: &[Step], listed: &BTreeMap<Key, Listed>, table: &mut BTreeMap<Key, Present>) {
    for step in steps {
        match step {
            Step::Drain(key) => {
                table.remove(key);
            }
            Step::Load(key) => {
                let state = if key.1.number() % 2 == 0 { State::Failed } else { State::Ready };
                table.insert(key.clone(), Present { identity: listed[key].identity, state });
            }
            Step::Reload(key) => {
                table.insert(key.clone(), Present { identity: listed[key].identity, state: State::Ready });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Two rounds come to rest: first the loads, then what they replace. What is asked for is never drained.
    #[test]
    fn plans_come_to_rest_and_drain_nothing_that_is_asked_for(listed in a_listing(), mut table in a_table()) {
        let gone: BTreeSet<Key> = table.keys().filter(|key| !listed.contains_key(key)).cloned().collect();
        for _ in 0..2 {
            let steps = plan(&listed, &table, &gone);
            let keys: BTreeSet<&Key> = steps.iter().map(|step| match step {
                Step::Drain(key) | Step::Load(key) | Step::Reload(key) => key,
            }).collect();
            prop_assert_eq!(keys.len(), steps.len(), "one thing for each version");
            for (key, version) in listed.iter().filter(|(_, version)| version.chosen || !version.settled) {
                prop_assert!(!steps.contains(&Step::Drain(key.clone())), "{:?} {:?}", key, version);
            }
            apply(&steps, &listed, &mut table);
        }
        prop_assert_eq!(plan(&listed, &table, &gone), []);
    }
}
