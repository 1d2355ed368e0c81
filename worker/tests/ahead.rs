//! Two batches under way in one worker: each gets its own answer, and whatever ends the worker is told to both.

mod support;

use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use sconce::device::{Executor, FaultInjection, Lifeline as _, LoadSettings, Supervisor};
use sconce::types::{Error, Reason, Rows, Tensor};
use support::{bytes, identity, local, memory, numbers, until, until_back, worker};
use tokio::time::{Duration, Instant};

/// How soon a death must show.
const AT_ONCE: Duration = Duration::from_secs(1);

type Outcome = Result<Vec<Tensor>, Error>;

/// Waits until a thread of this process sleeps.
fn until_asleep(id: i32) {
    let status = format!("/proc/self/task/{id}/status");
    until("a batch that waits", || std::fs::read_to_string(&status).is_ok_and(|text| text.contains("State:\tS")));
}

/// Runs a batch by each of two executors, the second once the first waits, then does `deed`. What came of both, and how long
/// after it.
fn two_under_way(
    executors: [&mut dyn Executor; 2],
    parts: [&Rows; 2],
    deed: impl FnOnce(),
) -> ([Outcome; 2], Duration) {
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (executor, rows) in executors.into_iter().zip(parts) {
            let (tell, told) = std::sync::mpsc::sync_channel(1);
            threads.push(scope.spawn(move || {
                tell.send(rustix::thread::gettid().as_raw_nonzero().get()).expect("heard");
                executor.run(std::slice::from_ref(rows))
            }));
            until_asleep(told.recv().expect("a thread"));
        }
        let begun = Instant::now();
        deed();
        let mut outcomes = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        let both = [outcomes.next().expect("one"), outcomes.next().expect("another")];
        (both, begun.elapsed())
    })
}

fn pid(supervisor: &Supervisor) -> Pid {
    let pid = i32::try_from(supervisor.pid().expect("a process")).expect("a number");
    Pid::from_raw(pid).expect("a number")
}

#[test]
fn many_batches_at_once_get_their_own_answers_in_areas_that_grow() {
    let (supervisor, _) = worker();
    let mut first = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    let mut second = first.ahead().expect("another way in");
    assert!(first.ahead().is_none() && second.ahead().is_none(), "there are two");
    let run = |executor: &mut dyn Executor, value: u8| {
        for round in 0..300_u16 {
            let size = usize::from(round % 7) * 20_011 + 1;
            let given = executor.run(&[bytes(size, value), bytes(size, value + 1)]).expect("outputs");
            let expected = [vec![value; size], vec![value + 1; size]].concat();
            assert!(given[0].data()[..] == expected, "{round}: a stranger's bytes");
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| run(&mut first, 3));
        scope.spawn(|| run(&mut *second, 200));
    });
    assert_eq!(supervisor.restarts(), 0);
}

#[test]
fn what_one_batch_is_refused_is_not_told_to_the_other() {
    let files = memory("breast_cancer");
    let (supervisor, _) = worker();
    let mut first = supervisor.load("breast_cancer", &files, LoadSettings::default()).expect("loaded");
    let mut second = first.ahead().expect("another way in");
    supervisor.inject(FaultInjection::OutOfMemoryAbove(4)).expect("obeyed");
    supervisor.inject(FaultInjection::Slow(Duration::from_millis(300))).expect("obeyed");
    let (large, small, narrow) = (numbers(5, 30, 1), numbers(4, 30, 2), numbers(3, 29, 3));
    let expected = local(&files).run(std::slice::from_ref(&small));
    let reason = |outcome: &Outcome| outcome.as_ref().expect_err("refused").reason();
    let ([refused, right], _) = two_under_way([&mut first, &mut *second], [&narrow, &small], || {});
    assert_eq!((reason(&refused), &right), (Reason::Model, &expected));
    let ([right, refused], _) = two_under_way([&mut *second, &mut first], [&small, &large], || {});
    assert_eq!((reason(&refused), &right), (Reason::DeviceMemory, &expected));
    assert_eq!(supervisor.restarts(), 0);
}

#[test]
fn whatever_ends_the_worker_is_told_to_both_at_once_and_both_are_back() {
    type Deed = fn(&Supervisor);
    let deeds: [(Deed, &str); 3] = [
        (|supervisor| kill_process(pid(supervisor), Signal::KILL).expect("killed"), "has closed the channel"),
        (|supervisor| supervisor.inject(FaultInjection::Exit(9)).unwrap_or_default(), "has closed the channel"),
        (|supervisor| supervisor.send_garbage().expect("sent"), "has closed the channel"),
    ];
    let (supervisor, _) = worker();
    let mut first = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    let mut second = first.ahead().expect("another way in");
    for (deaths, (deed, why)) in (0..).zip(deeds) {
        supervisor.inject(FaultInjection::Hang).expect("obeyed");
        let (both, took) =
            two_under_way([&mut first, &mut *second], [&bytes(5, 5), &bytes(6, 6)], || deed(&supervisor));
        assert!(took < AT_ONCE, "it showed after {took:?}");
        for outcome in both {
            let error = outcome.expect_err("lost");
            assert_eq!(error.reason(), Reason::DeviceLost);
            assert!(error.detail().ends_with(why), "{error}");
        }
        until_back(&supervisor, &first, deaths);
        for executor in [&mut first as &mut dyn Executor, &mut *second] {
            assert_eq!(&executor.run(&[bytes(2, 7)]).expect("outputs")[0].data()[..], [7, 7]);
        }
    }
}

#[test]
fn garbage_in_the_place_of_one_answer_is_lost_to_both() {
    let (supervisor, seen) = worker();
    let mut first = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    let mut second = first.ahead().expect("another way in");
    supervisor.inject(FaultInjection::Slow(Duration::from_millis(300))).expect("obeyed");
    let garbage = || supervisor.inject(FaultInjection::Garbage).expect("obeyed");
    let (both, _) = two_under_way([&mut first, &mut *second], [&bytes(5, 5), &bytes(6, 6)], garbage);
    let told = "the device's worker was lost with the batch: a frame of 48 bytes that cannot be read";
    assert_eq!(both.map(|outcome| outcome.expect_err("lost").detail().to_owned()), [told; 2]);
    until_back(&supervisor, &first, 0);
    assert_eq!(seen.reasons(), ["killed: a frame of 48 bytes that cannot be read"]);
}

#[test]
fn either_interrupt_ends_a_frozen_worker_while_its_batch_runs() {
    let (supervisor, _) = worker();
    let mut first = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    let mut second = first.ahead().expect("another way in");
    let interrupts = [first.interrupt().expect("a way"), second.interrupt().expect("a way")];
    for (deaths, interrupt) in (0..).zip(&interrupts) {
        for idle in &interrupts {
            idle();
        }
        kill_process(pid(&supervisor), Signal::STOP).expect("stopped");
        let (both, took) = two_under_way([&mut first, &mut *second], [&bytes(5, 5), &bytes(6, 6)], || interrupt());
        assert!(took < AT_ONCE, "it showed after {took:?}");
        assert_eq!(both.map(|outcome| outcome.expect_err("lost").reason()), [Reason::DeviceLost; 2]);
        assert_eq!(supervisor.restarts(), deaths, "an interrupt killed it that had no batch");
        until_back(&supervisor, &first, deaths);
    }
}

#[test]
fn the_model_stays_until_both_are_gone() {
    let (supervisor, _) = worker();
    let threads = || {
        let tasks = format!("/proc/{}/task", supervisor.pid().expect("a process"));
        let names = std::fs::read_dir(tasks).expect("a process").flatten();
        let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim() == "model").count()
    };
    let mut first = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    // Held as by those who look whether it is up; the second has taken nothing of it yet.
    let link = first.link();
    let mut second = first.ahead().expect("another way in");
    drop(first);
    second.run(&[bytes(1, 1)]).expect("outputs");
    assert_eq!((threads(), link.is_up()), (1, true));
    drop(second);
    until("an unloaded model", || threads() == 0);
    let unused = supervisor.load("y", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    let _link = unused.link();
    drop(unused);
    until("an unloaded model", || threads() == 0);
}
