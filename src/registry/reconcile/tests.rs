//! What the reconciler makes of sources that change, fail and come back, look by look.
#![expect(clippy::disallowed_methods, reason = "tests start the tasks of deployments")]

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::{Pass, Reconciler};
use crate::config::ModelConfig;
use crate::device::Cores;
use crate::model::Files;
use crate::monitor::{Monitor, Settings};
use crate::registry::fingerprint::{Fingerprint, Survey};
use crate::registry::{Allowance, Candidate, Found, Listing, Pools, Registry, RegistrySource};
use crate::types::ModelName;

const SETTLE: Duration = Duration::from_secs(1);

/// What a source says, changed from outside.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<Said>>);

#[derive(Clone, Default)]
struct Said {
    fails: bool,
    /// By folder: its versions, or what is wrong with it.
    models: BTreeMap<&'static str, Result<Vec<Version>, &'static str>>,
}

/// A version: its number, look, and its files' text.
#[derive(Clone, Copy)]
struct Version(&'static str, u64, &'static str);

const GOOD: &str = "[[tensor]]\ninput = \"x\"\noutput = \"y\"\ndtype = \"FP32\"\ndims = [1]\n";

impl RegistrySource for Source {
    fn list(&self) -> Result<Vec<Found>, String> {
        let said = self.0.lock().clone();
        if said.fails {
            return Err("read the folder /models: gone".to_owned());
        }
        Ok(said.models.into_iter().map(|(folder, model)| found(folder, model)).collect())
    }
}

fn found(folder: &str, model: Result<Vec<Version>, &'static str>) -> Found {
    let listing = model.map_err(str::to_owned).and_then(|versions| {
        let versions = versions.into_iter().map(candidate).collect();
        let device = if folder == "gpu" { "device.policy = \"require-gpu\"\n" } else { "" };
        let config = ModelConfig::parse("model.toml", &format!("max_batch_size = 1\n{device}")).expect("settings");
        Listing { name: folder.parse().expect("a name"), config, versions }.choose_versions()
    });
    Found { folder: folder.to_owned(), listing }
}

fn candidate(Version(number, look, text): Version) -> Candidate {
    let files = Files::Memory([("identity.toml".to_owned(), text.as_bytes().into())].into());
    let survey = Survey { fingerprint: Fingerprint(look), is_partial: text.is_empty() };
    Candidate { survey, ..Candidate::new(number.parse().expect("a number"), files) }
}

struct World {
    source: Source,
    registry: Arc<Registry>,
    reconciler: Reconciler,
    began: Instant,
}

impl World {
    fn new(others: Vec<Source>) -> Self {
        let cores = Pools::alike(Cores::new("test", 1).expect("a pool"));
        let spawn = Arc::new(|_, _, task| drop(tokio::spawn(task)));
        let registry = Registry::new(Monitor::new(Settings::default()), cores, spawn, Allowance::default());
        let source = Source::default();
        let mut sources: Vec<Box<dyn RegistrySource>> = vec![Box::new(source.clone())];
        sources.extend(others.into_iter().map(|other| Box::new(other) as Box<dyn RegistrySource>));
        let reconciler = Reconciler::new(Arc::clone(&registry), sources, SETTLE);
        Self { source, registry, reconciler, began: Instant::now() }
    }

    fn says(&self, folder: &'static str, model: Result<Vec<Version>, &'static str>) {
        self.source.0.lock().models.insert(folder, model);
    }

    /// Looks so many seconds after the beginning.
    fn look(&mut self, seconds: f64) -> Pass {
        self.reconciler.pass(self.began + Duration::from_secs_f64(seconds))
    }

    /// Every version and where it stands, with its detail.
    fn states(&self) -> Vec<String> {
        let mut states = Vec::new();
        for (name, model) in self.registry.table().models().iter() {
            if let Some(reason) = &model.broken {
                states.push(format!("{name}: {reason}"));
            }
            for (version, entry) in &model.versions {
                states.push(format!("{name} {version} {} {}", entry.state.label(), entry.detail).trim().to_owned());
            }
        }
        states.sort();
        states
    }

    /// Waits until what drains has gone.
    async fn drained(&self) {
        while self.states().iter().any(|state| state.contains("draining")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn name(text: &str) -> ModelName {
    text.parse().expect("a name")
}

#[tokio::test]
async fn at_the_start_what_is_there_is_taken_and_later_what_has_settled() {
    let mut world = World::new(Vec::new());
    world.says("m", Ok(vec![Version("1", 7, GOOD)]));
    let pass = world.look(0.0);
    assert_eq!((pass.failed, world.states()), (0, vec!["m 1 ready".to_owned()]));
    assert!(world.registry.is_ready());
    let first = world.registry.table().route("m", "").expect("it serves");
    world.says("m", Ok(vec![Version("1", 8, GOOD)]));
    let pass = world.look(10.0);
    assert_eq!(pass.look_again, Some(world.began + Duration::from_secs(11)));
    assert!(Arc::ptr_eq(&first, &world.registry.table().route("m", "").expect("it serves")));
    world.look(11.0);
    assert!(!Arc::ptr_eq(&first, &world.registry.table().route("m", "").expect("it serves")));
    // What is marked as half-written never settles.
    world.says("m", Ok(vec![Version("1", 8, GOOD), Version("2", 1, "")]));
    world.look(20.0);
    world.look(30.0);
    assert_eq!(world.states(), ["m 1 ready"]);
}

#[tokio::test]
async fn a_model_that_needs_a_worker_is_not_served_without_one() {
    let mut world = World::new(Vec::new());
    world.says("gpu", Ok(vec![Version("1", 7, GOOD)]));
    assert_eq!(world.look(0.0).failed, 1);
    let told = "gpu 1 failed `device.policy`: \"require-gpu\", but the server runs no worker; its setting `device` and its log say why";
    assert_eq!(world.states(), [told]);
}

#[tokio::test]
async fn a_version_that_failed_is_tried_again_when_it_is_another_one() {
    let mut world = World::new(Vec::new());
    world.says("m", Ok(vec![Version("1", 7, "nonsense = 1")]));
    assert_eq!(world.look(0.0).failed, 1);
    assert!(world.states()[0].starts_with("m 1 failed identity.toml: "), "{:?}", world.states());
    assert_eq!(world.look(5.0).failed, 0);
    world.says("m", Ok(vec![Version("1", 8, GOOD)]));
    world.look(6.0);
    world.look(7.0);
    assert_eq!(world.states(), ["m 1 ready"]);
    // And one that serves goes on.
    world.says("m", Ok(vec![Version("1", 9, "nonsense = 1")]));
    world.look(8.0);
    assert_eq!(world.look(9.0).failed, 1);
    assert!(world.states()[0].starts_with("m 1 ready reload failed: identity.toml: "), "{:?}", world.states());
    assert!(world.registry.table().route("m", "1").is_ok());
}

#[tokio::test]
async fn what_leaves_is_drained_unless_nobody_can_tell() {
    let mut world = World::new(Vec::new());
    world.says("m", Ok(vec![Version("1", 7, GOOD)]));
    world.look(0.0);
    world.source.0.lock().fails = true;
    for seconds in [1.0, 9.0] {
        assert_eq!(world.look(seconds).failed, 1);
    }
    assert_eq!(world.states(), ["m 1 ready"]);
    world.source.0.lock().fails = false;
    world.says("m", Err("model.toml: nonsense"));
    world.look(10.0);
    world.look(11.0);
    assert_eq!(world.states(), ["m 1 ready", "m: model.toml: nonsense"]);
    world.source.0.lock().models.clear();
    world.look(12.0);
    assert_eq!(world.states(), ["m 1 ready"]);
    let held = world.registry.table().route("m", "").expect("it serves");
    world.look(13.0);
    assert_eq!(world.states(), ["m 1 draining"]);
    // It comes back while a request holds it still: first the one goes, then the other comes.
    world.says("m", Ok(vec![Version("1", 7, GOOD)]));
    world.look(14.0);
    world.look(15.0);
    assert_eq!(world.states(), ["m 1 draining"]);
    drop(held);
    world.drained().await;
    assert_eq!(world.states(), Vec::<String>::new());
    world.look(16.0);
    assert_eq!(world.states(), ["m 1 ready"]);
}

#[tokio::test]
async fn the_first_of_two_repositories_counts_and_folders_without_versions_are_told() {
    let second = Source::default();
    second.0.lock().models.insert("m", Ok(vec![Version("1", 9, "nonsense = 1"), Version("2", 9, GOOD)]));
    let mut world = World::new(vec![second]);
    world.says("m", Ok(vec![Version("1", 7, GOOD)]));
    world.says("empty", Ok(Vec::new()));
    world.says("not a name", Err("model name: expected others"));
    // One version twice, one folder without versions, one without a name.
    assert_eq!(world.look(0.0).failed, 3);
    let none = "empty: no version folder: expected one named by a positive whole number, such as `1`";
    assert_eq!(world.states(), [none, "m 1 ready", "m 2 ready"]);
    world.source.0.lock().models.remove("empty");
    world.look(5.0);
    assert_eq!(world.states(), ["m 1 ready", "m 2 ready"]);
    assert!(!world.registry.table().models().contains_key(&name("empty")));
}

#[tokio::test]
async fn a_server_that_ends_brings_nothing_up() {
    let mut world = World::new(Vec::new());
    world.says("m", Ok(vec![Version("1", 7, GOOD)]));
    world.registry.drain();
    world.look(0.0);
    assert_eq!(world.states(), Vec::<String>::new());
    assert!(!world.registry.is_ready());
}
