//! Workers that cannot be started, or are none: told why, tried again, and nobody waits for them.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use sconce::device::wire::{Hello, PROBE, PROTOCOL, Probe, Report, Socket, encode};
use sconce::device::{
    Executor as _, FaultInjection, Lifeline as _, LoadSettings, Supervisor, WorkerSettings, WorkerState,
};
use sconce::model::Files;
use sconce::types::{Error, Reason};
use support::direct::Scratch;
use support::{Seen, bytes, folder, identity, settings, until, worker};
use tokio::time::{Duration, Instant};

/// A program of this text in the place of the worker.
fn impostor(scratch: &Scratch, script: &str) -> PathBuf {
    let path = scratch.0.join("impostor");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

/// Waits until a worker has been down twice for what `is_it` says.
fn down_for(settings: WorkerSettings, is_it: impl Fn(&str) -> bool) -> (Arc<Supervisor>, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let supervisor = Supervisor::start(settings, Arc::clone(&seen) as _);
    until("a second death", || seen.reasons().len() >= 2);
    assert!(seen.reasons().iter().any(|why| is_it(why)), "{:?}", seen.reasons());
    assert!(!seen.states().iter().any(|state| matches!(state, WorkerState::Up(_))));
    (supervisor, seen)
}

/// How a shell says a frame, in one write.
fn said(report: &Report, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut frame = Vec::new();
    encode(report, &mut frame).expect("short");
    change(&mut frame);
    let escaped: Vec<String> = frame.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("printf '{}' >&0", escaped.concat())
}

fn hello() -> Report {
    let (kind, name) = ("cpu".to_owned(), "an\nimpostor".to_owned());
    Report::Hello(Hello { kind, name, memory_total: 1, memory_free: 1 })
}

#[test]
fn programs_that_are_not_there_or_cannot_be_run() {
    let scratch = Scratch::new("starts-absent");
    let absent = scratch.0.join("nothing");
    let told = format!("start {}: No such file or directory (os error 2)", absent.display());
    let (supervisor, _) = down_for(settings(&absent), |why| why == told);
    let refused = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).err().expect("no worker");
    assert_eq!(refused.reason(), Reason::DeviceLost);
    assert!(refused.detail().starts_with("the device's worker is not up: "), "{refused}");
    assert_eq!((supervisor.pid(), supervisor.wait_up(Duration::from_millis(1))), (None, false));
    let plain = impostor(&scratch, "exit 0");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).expect("not executable");
    let told = format!("start {}: Permission denied (os error 13)", plain.display());
    down_for(settings(plain), |why| why == told);
}

#[test]
fn programs_that_end_or_are_of_another_build() {
    let scratch = Scratch::new("starts-other");
    down_for(settings(impostor(&scratch, "exit 3")), |why| why == "it ended with exit code 3");
    let other = said(&hello(), |frame| frame[4] = 99);
    let told = format!("killed: expected version {PROTOCOL} of the worker's protocol, got 99");
    down_for(settings(impostor(&scratch, &format!("{other}\nexec sleep 60"))), |why| why == told);
    let early = said(&Report::Pong(1), |_| {});
    let told = "killed: the channel failed: a report before its hello";
    down_for(settings(impostor(&scratch, &format!("{early}\nexec sleep 60"))), |why| why == told);
    let garbage = "printf 'hello' >&0\nexec sleep 60";
    let told = "killed: a frame of 5 bytes that cannot be read";
    down_for(settings(impostor(&scratch, garbage)), |why| why == told);
}

#[test]
fn a_device_that_it_was_not_built_for() {
    let mut settings = settings(env!("CARGO_BIN_EXE_sconce-worker"));
    settings.device = "tpu".to_owned();
    down_for(settings, |why| why == "it ended with exit code 69");
    let (control, theirs) = Socket::pair().expect("a pair");
    let mut worker = Command::new(env!("CARGO_BIN_EXE_sconce-worker"));
    let output = worker.args(["--device", "tpu"]).stdin(Stdio::from(theirs.into_end())).output().expect("a process");
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(told, "this worker was built for the device cpu, got \"tpu\"\n");
    drop(control);
}

#[test]
fn it_says_what_it_can_compute_on() {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_sconce-worker"));
    let output = worker.arg(PROBE).stdin(Stdio::null()).output().expect("a process");
    assert!(output.status.success());
    assert_eq!(output.stderr, b"");
    let line = String::from_utf8(output.stdout).expect("text");
    assert_eq!(Probe::read(&line), Ok(Probe::new(&["cpu"])));
    assert_eq!(line.lines().count(), 1);
    let full = fs::File::options().write(true).open("/dev/full").expect("a device");
    let output = worker.stdout(full).stderr(Stdio::piped()).output().expect("a process");
    assert_eq!(output.status.code(), Some(74));
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(told, "say what it can compute on: No space left on device (os error 28)\n");
}

#[test]
fn programs_that_never_say_what_they_are() {
    let scratch = Scratch::new("starts-silent");
    let mut settings = settings(impostor(&scratch, "exec sleep 60"));
    settings.start_timeout = Duration::from_millis(100);
    let told = "killed: the channel failed: it did not say what it is within 100ms";
    down_for(settings, |why| why == told);
}

#[test]
fn programs_that_say_hello_twice_or_close_the_socket() {
    let scratch = Scratch::new("starts-twice");
    let hello = said(&hello(), |_| {});
    let seen = Arc::new(Seen::default());
    let path = impostor(&scratch, &format!("{hello}\n{hello}\nexec sleep 60"));
    let _supervisor = Supervisor::start(settings(path), Arc::clone(&seen) as _);
    until("a death", || seen.reasons().iter().any(|why| why == "killed: the channel failed: a second hello"));
    // What a device is called is shown to people.
    let is_escaped = |state: &WorkerState| matches!(state, WorkerState::Up(hello) if hello.name == "an\\u{a}impostor");
    assert!(seen.states().iter().any(is_escaped), "{:?}", seen.states());
    let seen = Arc::new(Seen::default());
    let path = impostor(&scratch, &format!("{hello}\nexec sleep 60 <&-"));
    let _supervisor = Supervisor::start(settings(path), Arc::clone(&seen) as _);
    until("a death", || seen.reasons().iter().any(|why| why == "killed: it does not end by itself"));
}

#[test]
fn models_that_the_worker_refuses() {
    let scratch = Scratch::new("starts-refused");
    let (supervisor, _) = worker();
    let refused =
        supervisor.load("empty", &Files::folder(&scratch.0), LoadSettings::default()).err().expect("no model");
    assert_eq!(refused.reason(), Reason::Model);
    let here = sconce::device::LocalExecutor::load(&Files::folder(&scratch.0), &sconce::config::ModelConfig::default());
    assert_eq!(refused.detail(), here.err().expect("no model").detail());
    // Links may lead where they may here, and nowhere else.
    let inner = scratch.0.join("model");
    fs::create_dir_all(&inner).expect("a folder");
    fs::write(scratch.0.join("network.toml"), "[input]\ndims = [2]\n[[layer]]\ntype = \"relu\"\n").expect("written");
    std::os::unix::fs::symlink("../network.toml", inner.join("network.toml")).expect("a link");
    let refused = supervisor.load("outside", &Files::folder(&inner), LoadSettings::default()).err().expect("leads out");
    assert!(refused.detail().contains("a link leads out of the model repository"), "{refused}");
    supervisor.load("inside", &Files::within(&inner, &scratch.0), LoadSettings::default()).expect("loaded");
    assert_eq!(supervisor.restarts(), 0);
}

#[test]
fn a_model_that_was_registered_early_comes_when_the_worker_does() {
    let seen = Arc::new(Seen::default());
    let supervisor = Supervisor::start(settings(env!("CARGO_BIN_EXE_sconce-worker")), Arc::clone(&seen) as _);
    let mut executor = supervisor.register("x", &identity("UINT8"), LoadSettings::default());
    until("a model that is up", || executor.is_up());
    assert_eq!(executor.run(&[bytes(1, 1)]).expect("outputs").len(), 1);
    assert!(matches!(&seen.states()[..], [WorkerState::Starting, WorkerState::Up(_)]));
    supervisor.stop();
    assert_eq!(supervisor.state(), WorkerState::Stopped);
    assert!(!supervisor.wait_up(Duration::from_mins(1)));
}

#[test]
fn files_that_have_changed_are_not_loaded_again() {
    let (supervisor, _) = worker();
    let mut executor =
        supervisor.load("breast_cancer", &folder("breast_cancer"), LoadSettings::default()).expect("loaded");
    executor.load_again_if(|| Err(Error::new(Reason::Model, "its files have changed")));
    supervisor.kill();
    let link = executor.link();
    until("a refusal", || link.why_down() == "its files have changed");
    assert_eq!(executor.run(&[]).expect_err("down").reason(), Reason::DeviceLost);
}

#[test]
fn after_a_panic_on_this_side_the_model_is_loaded_anew() {
    let (supervisor, _) = worker();
    let mut executor = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    let generation = executor.link().generation();
    executor.rebuild().expect("begun");
    until("a new channel", || executor.link().generation() > generation && executor.is_up());
    assert_eq!(executor.run(&[bytes(1, 1)]).expect("outputs").len(), 1);
    assert_eq!(supervisor.restarts(), 0);
}

#[test]
fn faults_are_refused_where_they_are_not_allowed() {
    let seen = Arc::new(Seen::default());
    let settings = WorkerSettings { allow_faults: false, ..settings(env!("CARGO_BIN_EXE_sconce-worker")) };
    let supervisor = Supervisor::start(settings, seen);
    let refused = supervisor.inject(FaultInjection::Hang).expect_err("not allowed");
    assert_eq!(refused.detail(), "the worker was not started with faults allowed");
    assert_eq!(refused.reason(), Reason::Unsupported);
}

#[test]
fn the_surroundings_of_the_server_are_kept_from_it() {
    let (supervisor, _) = worker();
    let environment =
        fs::read(Path::new("/proc").join(supervisor.pid().expect("a process").to_string()).join("environ"));
    let environment = String::from_utf8(environment.expect("a process")).expect("text");
    let names: Vec<&str> =
        environment.split_terminator('\0').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    assert!(names.contains(&"CANDLE_BARRIER_POOL_SPIN_LIMIT"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("CARGO") || *name == "PATH"), "{names:?}");
    let begun = Instant::now();
    drop(supervisor);
    assert!(begun.elapsed() < Duration::from_secs(1));
}
