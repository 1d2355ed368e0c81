//! What the tests of the worker share: a supervised worker, models, and rows.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod direct;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sconce::config::ModelConfig;
use sconce::device::{LocalExecutor, RemoteExecutor, Supervisor, WorkerEvents, WorkerSettings, WorkerState};
use sconce::model::Files;
use sconce::types::{DataType, Rows, Shape, Tensor};
use tokio::time::{Duration, Instant};

/// How long what must happen may take on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The states that a worker has been in.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<WorkerState>>);

impl WorkerEvents for Seen {
    fn changed(&self, state: &WorkerState) {
        self.0.lock().push(state.clone());
    }
}

impl Seen {
    pub(crate) fn states(&self) -> Vec<WorkerState> {
        self.0.lock().clone()
    }

    /// Why it has been down, the last time first.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let down = |state| if let WorkerState::Down { why, .. } = state { Some(why) } else { None };
        self.states().into_iter().rev().filter_map(down).collect()
    }
}

pub(crate) fn settings(path: impl Into<PathBuf>) -> WorkerSettings {
    let start_timeout = Duration::from_secs(10);
    WorkerSettings { path: path.into(), device: "cpu".to_owned(), allow_faults: true, start_timeout }
}

/// A worker that is up, and what is heard of it.
pub(crate) fn worker() -> (Arc<Supervisor>, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let supervisor = Supervisor::start(settings(env!("CARGO_BIN_EXE_sconce-worker")), Arc::clone(&seen) as _);
    assert!(supervisor.wait_up(PATIENCE), "{:?}", seen.states());
    (supervisor, seen)
}

/// Waits until `happened`, by looking again and again.
pub(crate) fn until(what: &str, happened: impl Fn() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < PATIENCE, "{what} has not happened");
        std::thread::yield_now();
    }
}

/// Waits until the model is loaded in a worker that has been started more than `restarts` times again.
pub(crate) fn until_back(supervisor: &Supervisor, executor: &RemoteExecutor, restarts: u64) {
    until("a restart", || supervisor.restarts() > restarts);
    until("a model that is loaded again", || executor.is_up());
}

fn shipped(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(model).join("1")
}

pub(crate) fn folder(model: &str) -> Files {
    Files::folder(shipped(model))
}

/// The same model, as the binary has it that ships it.
pub(crate) fn memory(model: &str) -> Files {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(shipped(model)).expect("a model").flatten() {
        let contents = fs::read(entry.path()).expect("a file");
        files.insert(entry.file_name().into_string().expect("a name"), contents.into());
    }
    Files::Memory(files)
}

/// A model that gives back what it is given.
pub(crate) fn identity(dtype: &str) -> Files {
    let text = format!("[[tensor]]\ninput = \"x\"\noutput = \"y\"\ndtype = \"{dtype}\"\ndims = [-1]\n");
    Files::Memory(BTreeMap::from([("identity.toml".to_owned(), text.into_bytes().into())]))
}

pub(crate) fn local(files: &Files) -> LocalExecutor {
    LocalExecutor::load(files, &ModelConfig::default()).expect("a model")
}

/// `count` rows of numbers between -2 and 2, which `seed` changes.
pub(crate) fn numbers(count: usize, width: usize, seed: u32) -> Rows {
    let value =
        |at: u32| f32::from(u16::try_from((at.wrapping_add(seed).wrapping_mul(2_654_435_761)) >> 17).expect("small"));
    let size = u32::try_from(count * width).expect("small");
    let values: Vec<f32> = (0..size).map(|at| value(at) / 8192.0 - 2.0).collect();
    Rows::uniform(vec![Tensor::from_f32(Shape::new(&[count, width]), &values).expect("a tensor")], count)
}

/// A part of `bytes` bytes for [`identity`] of UINT8.
pub(crate) fn bytes(bytes: usize, value: u8) -> Rows {
    Rows::uniform(
        vec![Tensor::new(DataType::Uint8, Shape::new(&[1, bytes]), vec![value; bytes].into()).expect("a tensor")],
        1,
    )
}
