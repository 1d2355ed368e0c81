//! Nothing is left behind by workers and models that come and go. A test alone, since it counts what the process holds.

mod support;

use std::fs;

use sconce::device::{Executor as _, LoadSettings};
use support::{bytes, identity, until, until_back, worker};

fn count(folder: &str) -> usize {
    fs::read_dir(folder).expect("/proc").count()
}

/// Descriptors and threads of this process, and its children.
fn held() -> (usize, usize, usize) {
    let children = fs::read_dir("/proc/self/task").expect("/proc").flatten();
    let children = children.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children = children.map(|line| line.split_whitespace().count()).sum();
    (count("/proc/self/fd"), count("/proc/self/task"), children)
}

#[test]
fn two_hundred_loads_and_workers_leave_nothing() {
    let before = held();
    {
        let (supervisor, _) = worker();
        for _ in 0..200 {
            let mut executor = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
            executor.run(&[bytes(9, 1)]).expect("outputs");
        }
        let executor = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
        for restarts in 0..4 {
            supervisor.kill();
            until_back(&supervisor, &executor, restarts);
        }
        let theirs = format!("/proc/{}", supervisor.pid().expect("a process"));
        assert!(count(&format!("{theirs}/fd")) < 16 && count(&format!("{theirs}/task")) < 32);
    }
    for _ in 0..200 {
        let (supervisor, _) = worker();
        let executor = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
        drop(supervisor);
        assert!(!executor.is_up());
    }
    // Threads end a moment after what they wait for.
    until(&format!("only {before:?} held"), || held() == before);
}
