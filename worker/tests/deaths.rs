//! Workers that die, freeze, lie or run out of memory: the batch fails at once, the next one runs on a new worker.

mod support;

use std::fs;
use std::sync::Arc;
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use sconce::device::{Executor as _, FaultInjection, Lifeline as _, LoadSettings, RemoteExecutor, Supervisor};
use sconce::model::Files;
use sconce::types::{DataType, Error, Reason, Rows, Tensor};
use support::{bytes, identity, memory, numbers, until, until_back, worker};
use tokio::time::{Duration, Instant};

/// How soon a death must show.
const AT_ONCE: Duration = Duration::from_secs(1);

fn pid(supervisor: &Supervisor) -> Pid {
    let pid = supervisor.pid().expect("a process");
    Pid::from_raw(i32::try_from(pid).expect("a number")).expect("a number")
}

fn signal(supervisor: &Supervisor, signal: Signal) {
    kill_process(pid(supervisor), signal).expect("a process");
}

/// Stops it, and waits until it stands still: a signal is only on its way when it has been sent.
fn freeze(supervisor: &Supervisor) {
    let tasks = format!("/proc/{}/task", supervisor.pid().expect("a process"));
    signal(supervisor, Signal::STOP);
    let stands = |status: String| status.contains("State:\tT");
    until("a standstill", || {
        let mut tasks = fs::read_dir(&tasks).expect("a process").flatten();
        tasks.all(|task| fs::read_to_string(task.path().join("status")).is_ok_and(stands))
    });
}

type Outcome = (Result<Vec<Tensor>, Error>, Instant);

/// Runs a batch on a thread, and returns when it waits for the worker.
fn begin_batch(mut executor: RemoteExecutor, rows: Rows) -> thread::JoinHandle<(RemoteExecutor, Outcome)> {
    let (told, heard) = std::sync::mpsc::sync_channel(1);
    let batch = move || {
        told.send(rustix::thread::gettid().as_raw_nonzero()).expect("heard");
        let outcome = executor.run(&[rows]);
        (executor, (outcome, Instant::now()))
    };
    let batch = thread::spawn(batch);
    let status = format!("/proc/self/task/{}/status", heard.recv().expect("told"));
    until("a batch that waits", || fs::read_to_string(&status).expect("a thread").contains("State:\tS"));
    batch
}

/// Fails if the batch was not lost while it ran, or if that showed late.
fn was_lost(outcome: Outcome, since: Instant) -> String {
    let (outcome, at) = outcome;
    let error = outcome.expect_err("lost");
    assert_eq!(error.reason(), Reason::DeviceLost);
    assert!(at.saturating_duration_since(since) < AT_ONCE, "it showed after {:?}", at - since);
    let told = "the device's worker was lost with the batch: ";
    error.detail().strip_prefix(told).expect("lost with the batch").to_owned()
}

#[test]
fn kill_9_in_a_batch_shows_at_once_and_the_next_batch_is_right() {
    let (supervisor, seen) = worker();
    let files = memory("breast_cancer");
    let mut executor = supervisor.load("breast_cancer", &files, LoadSettings::default()).expect("loaded");
    let rows = numbers(5, 30, 1);
    let before = executor.run(std::slice::from_ref(&rows)).expect("outputs");
    supervisor.inject(FaultInjection::Hang).expect("obeyed");
    let batch = begin_batch(executor, rows.clone());
    let killed = Instant::now();
    signal(&supervisor, Signal::KILL);
    let (mut executor, outcome) = batch.join().expect("no panic");
    assert_eq!(was_lost(outcome, killed), "the other side has closed the channel");
    until_back(&supervisor, &executor, 0);
    assert_eq!(executor.run(&[rows]).expect("outputs"), before);
    // The executor that met the death first has it killed too, so that either is the reason that is told.
    let why = &seen.reasons()[0];
    let known = ["it was ended by signal 9", "killed: the other side has closed the channel"];
    assert!(known.contains(&why.as_str()), "{why}");
}

#[test]
fn while_it_is_down_batches_fail_and_say_why() {
    let (supervisor, _) = worker();
    let mut executor = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    let link = executor.link();
    let generation = link.generation();
    supervisor.kill();
    until("a death", || !link.is_up());
    let error = executor.run(&[bytes(1, 1)]).expect_err("down");
    assert_eq!(error.reason(), Reason::DeviceLost);
    assert!(error.detail().starts_with("the device's worker cannot run the model: "), "{error}");
    assert!(!link.why_down().is_empty());
    until_back(&supervisor, &executor, 0);
    assert!(link.generation() > generation && link.why_down().is_empty());
    assert_eq!(executor.run(&[bytes(1, 1)]).expect("outputs").len(), 1);
}

#[test]
fn an_interrupt_ends_a_frozen_batch_and_nothing_else() {
    let (supervisor, _) = worker();
    let executor = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    let interrupt = executor.interrupt().expect("a way");
    // No batch is running.
    interrupt();
    freeze(&supervisor);
    let batch = begin_batch(executor, bytes(9, 9));
    let interrupted = Instant::now();
    interrupt();
    let (executor, outcome) = batch.join().expect("no panic");
    was_lost(outcome, interrupted);
    assert_eq!(supervisor.restarts(), 0, "the first interrupt killed it");
    until_back(&supervisor, &executor, 0);
}

#[test]
fn a_worker_that_freezes_while_it_idles_is_killed_by_its_pings() {
    let (supervisor, seen) = worker();
    let mut executor = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    signal(&supervisor, Signal::STOP);
    until_back(&supervisor, &executor, 0);
    assert_eq!(seen.reasons(), ["killed: it did not answer for three pings"]);
    assert_eq!(executor.run(&[bytes(1, 1)]).expect("outputs").len(), 1);
}

#[test]
fn garbage_in_either_direction_ends_it() {
    let (supervisor, seen) = worker();
    let mut executor = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    supervisor.inject(FaultInjection::Garbage).expect("obeyed");
    let garbage = "a frame of 48 bytes that cannot be read";
    let begun = Instant::now();
    let outcome = executor.run(&[bytes(1, 1)]);
    assert_eq!(was_lost((outcome, Instant::now()), begun), garbage);
    until_back(&supervisor, &executor, 0);
    assert_eq!(seen.reasons(), [format!("killed: {garbage}")]);
    supervisor.send_garbage().expect("sent");
    until_back(&supervisor, &executor, 1);
    assert_eq!(seen.reasons()[0], "it ended with exit code 65");
    assert_eq!(executor.run(&[bytes(1, 1)]).expect("outputs").len(), 1);
}

#[test]
fn it_exits_when_told_and_each_model_comes_back() {
    let (supervisor, seen) = worker();
    let mut executors: Vec<_> =
        (0..3_u8).map(|_| supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded")).collect();
    supervisor.inject(FaultInjection::Exit(9)).expect("obeyed");
    for (at, executor) in (1..).zip(&mut executors) {
        until_back(&supervisor, executor, 0);
        let given = executor.run(&[bytes(2, at)]).expect("outputs");
        assert_eq!(&given[0].data()[..], [at, at]);
    }
    assert_eq!(seen.reasons(), ["it ended with exit code 9"]);
}

#[test]
fn memory_that_is_out_is_told_or_kills_the_worker_alone() {
    let (supervisor, _) = worker();
    let mut executor = supervisor.load("network", &network(4096), LoadSettings::default()).expect("loaded");
    let small = || numbers(2, 4, 0);
    executor.run(&[small()]).expect("outputs");
    limit_memory(&supervisor, 16);
    // 32 MiB of inputs cannot be mapped: told, and the worker lives.
    let error = executor.run(&[numbers(1 << 21, 4, 0)]).expect_err("no memory");
    assert_eq!(error.reason(), Reason::DeviceMemory);
    assert!(error.detail().starts_with("map a batch of 2097152 rows: "), "{error}");
    executor.run(&[small()]).expect("outputs");
    assert_eq!(supervisor.restarts(), 0);
    // A mebibyte of them can, and not the gibibyte that is computed of it.
    let error = executor.run(&[numbers(1 << 16, 4, 0)]).expect_err("no memory");
    assert_eq!(error.reason(), Reason::DeviceLost);
    until_back(&supervisor, &executor, 0);
    executor.run(&[small()]).expect("outputs");
}

/// A network that makes `width` numbers of four.
fn network(width: usize) -> Files {
    let text = "[input]\ndims = [4]\n[[layer]]\ntype = \"linear\"\n";
    let (weight, all) = (width * 16, width * 20);
    let tensor = |name, shape, begin, end| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    let weight = tensor("0.weight", format!("[{width},4]"), 0, weight)
        + ","
        + &tensor("0.bias", format!("[{width}]"), weight, all);
    let header = format!("{{{weight}}}");
    let weights = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; all]].concat();
    let files = [("network.toml".to_owned(), text.as_bytes().into()), ("model.safetensors".to_owned(), weights.into())];
    Files::Memory(files.into())
}

/// Leaves the worker so many mebibytes of address space beyond what it has.
fn limit_memory(supervisor: &Arc<Supervisor>, mebibytes: u64) {
    let pid = pid(supervisor);
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("its size");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    let limit = Some((kibibytes << 10) + (mebibytes << 20));
    prlimit(Some(pid), Resource::As, Rlimit { current: limit, maximum: None }).expect("limited");
}

#[test]
fn faults_are_obeyed_until_they_are_cleared() {
    let (supervisor, _) = worker();
    let mut executor =
        supervisor.load("breast_cancer", &memory("breast_cancer"), LoadSettings::default()).expect("loaded");
    let mut run = |rows: usize| executor.run(&[numbers(rows, 30, 3)]);
    let well = run(4).expect("outputs");
    supervisor.inject(FaultInjection::OutOfMemoryAbove(4)).expect("obeyed");
    let error = run(5).expect_err("no memory");
    assert_eq!(error.reason(), Reason::DeviceMemory);
    assert_eq!(error.detail(), "out of memory, as was ordered, for a size of 5");
    assert_eq!(run(4), Ok(well.clone()));
    supervisor.inject(FaultInjection::NonFinite).expect("obeyed");
    let spoilt = run(4).expect("outputs");
    for output in spoilt.iter().filter(|output| output.dtype() == DataType::Fp32) {
        assert!(output.to_f32().expect("numbers").iter().all(|number| number.is_nan()));
    }
    supervisor.inject(FaultInjection::Clear).expect("obeyed");
    supervisor.inject(FaultInjection::Slow(Duration::from_millis(40))).expect("obeyed");
    let begun = Instant::now();
    assert_eq!(run(4), Ok(well));
    assert!(begun.elapsed() >= Duration::from_millis(40));
}

#[test]
fn dropped_executors_unload_their_models() {
    let (supervisor, _) = worker();
    let threads = || {
        let tasks = format!("/proc/{}/task", supervisor.pid().expect("a process"));
        let names = fs::read_dir(tasks).expect("a process").flatten();
        let names = names.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim() == "model").count()
    };
    let first = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    let second = supervisor.load("y", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    assert_eq!(threads(), 2);
    drop(first);
    until("an unloaded model", || threads() == 1);
    supervisor.stop();
    assert_eq!(second.link().why_down(), "the worker has been stopped");
}
