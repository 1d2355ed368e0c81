//! A worker that is told nonsense ends and says so; one whose server has gone ends as well.

#[path = "support/direct.rs"]
mod direct;

use std::process::Command;

use direct::{AREA_BYTES, Direct, Scratch, area};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rustix::fs::SealFlags;
use rustix::process::Signal;
use sconce::device::wire::{
    Answer, Body, EXIT_UNREADABLE, FaultInjection, LoadOrder, LoadSettings, Opening, Order, Place, Report, Run, Socket,
    TensorPlace, encode,
};
use sconce::types::DataType;
use tokio::time::{Duration, Instant};

const UNREADABLE: Option<i32> = Some(EXIT_UNREADABLE as i32);

/// A batch of two rows of three bytes.
fn run() -> Run {
    let input = TensorPlace { dtype: DataType::Uint8, dims: vec![2, 3], place: Place { offset: 0, bytes: 6 } };
    Run { sequence: 1, slot: 0, rows: 2, inputs: vec![input], lengths: None }
}

#[test]
fn pings_and_batches_are_answered() {
    let scratch = Scratch::new("frames-answered");
    let (mut worker, hello) = Direct::start(&[]);
    assert_eq!(hello.kind, "cpu");
    assert!(hello.memory_free > 0 && hello.memory_free <= hello.memory_total);
    let (mut channel, file) = worker.load_identity(&scratch.0);
    rustix::io::pwrite(&file, b"abcdef", 0).expect("written");
    channel.send(&run()).expect("sent");
    let output = TensorPlace { place: Place { offset: 64, bytes: 6 }, ..run().inputs[0].clone() };
    assert_eq!(channel.receive::<Answer>().expect("an answer").body, Body::Outputs(vec![output]));
    let mut given = [0; 6];
    rustix::io::pread(&file, &mut given[..], 64).expect("read");
    assert_eq!(&given, b"abcdef");
    worker.control().send(&Order::Ping(7)).expect("sent");
    assert_eq!(worker.control().receive::<Report>().expect("an answer"), Report::Pong(7));
}

#[test]
fn each_batch_is_computed_in_its_own_area() {
    let scratch = Scratch::new("frames-areas");
    let (mut worker, _) = Direct::start(&[]);
    std::fs::write(scratch.0.join("identity.toml"), direct::IDENTITY).expect("written");
    let files = [(); 2].map(|()| area(SealFlags::SHRINK));
    let mut channel = worker.load_with(&scratch.0, &files[0], &files[1]);
    assert!(matches!(channel.receive::<Opening>(), Ok(Opening::Loaded(_))));
    for (sequence, (slot, file)) in (0..).zip([&files[0], &files[1], &files[0]].into_iter().enumerate()) {
        let slot = u8::try_from(slot % 2).expect("small");
        rustix::io::pwrite(file, &[slot + 1; 6], 0).expect("written");
        channel.send(&Run { sequence, slot, ..run() }).expect("sent");
        assert_eq!(channel.receive::<Answer>().expect("an answer").sequence, sequence);
        let mut given = [0; 6];
        rustix::io::pread(file, &mut given[..], 64).expect("read");
        assert_eq!(given, [slot + 1; 6]);
    }
}

#[test]
fn a_worker_ends_when_its_server_has_gone_whatever_it_does() {
    let scratch = Scratch::new("frames-gone");
    for hangs in [false, true] {
        let (mut worker, _) = Direct::start(&["--allow-faults"]);
        let (mut channel, _file) = worker.load_identity(&scratch.0);
        if hangs {
            worker.control().send(&Order::Fault(FaultInjection::Hang)).expect("sent");
            assert_eq!(worker.control().receive::<Report>().expect("an answer"), Report::Obeyed);
            channel.send(&run()).expect("sent");
        }
        let begun = Instant::now();
        worker.control = None;
        assert_eq!(worker.ending().code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
    }
}

#[test]
fn signals_for_the_server_are_left_to_it() {
    let (mut worker, _) = Direct::start(&[]);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        worker.signal(signal);
    }
    worker.control().send(&Order::Ping(1)).expect("sent");
    assert_eq!(worker.control().receive::<Report>().expect("an answer"), Report::Pong(1));
}

#[test]
fn faults_are_for_workers_that_were_started_for_them() {
    let (mut worker, _) = Direct::start(&[]);
    worker.control().send(&Order::Fault(FaultInjection::Exit(3))).expect("sent");
    worker.control().send(&Order::Ping(1)).expect("sent");
    assert_eq!(worker.control().receive::<Report>().expect("an answer"), Report::Pong(1));
    let (mut worker, _) = Direct::start(&["--allow-faults"]);
    worker.control().send(&Order::Fault(FaultInjection::Exit(3))).expect("sent");
    assert_eq!(worker.ending().code(), Some(3));
}

#[test]
fn nonsense_on_the_control_socket_ends_it() {
    let say: [fn(&mut Socket); 3] = [
        |control| control.send_raw(&[7; 100]).expect("sent"),
        // Another kind of frame, and one without its descriptors.
        |control| control.send(&Report::Pong(1 << 60)).expect("sent"),
        |control| {
            let contents = sconce::device::wire::Contents::Staged(Vec::new());
            control
                .send(&Order::Load(LoadOrder { name: String::new(), contents, settings: LoadSettings::default() }))
                .expect("sent");
        },
    ];
    for (at, say) in say.iter().enumerate() {
        let (mut worker, _) = Direct::start(&[]);
        say(worker.control());
        assert_eq!(worker.ending().code(), UNREADABLE, "{at}");
    }
}

/// Makes nonsense of a batch, by places that it is given a maker of.
type Lie = fn(&mut Run, fn(u64, u64) -> Place);

#[test]
fn batches_that_make_no_sense_end_it() {
    let scratch = Scratch::new("frames-nonsense");
    let beyond = |offset, bytes| Place { offset, bytes };
    let (outside, differ) = ("a place outside of the staging area", "not as many as its inputs have");
    let lies: [(Lie, &str); 9] = [
        (|run, place| run.inputs[0].place = place(AREA_BYTES - 1, 6), outside),
        (|run, place| run.inputs[0].place = place(u64::MAX, 6), outside),
        (|run, place| run.inputs[0].place = place(0, 5), "[2,3] of UINT8 is 6 bytes, got 5"),
        (|run, _| run.inputs[0].dims = vec![usize::MAX, usize::MAX], "more elements than can be counted"),
        (|run, _| run.slot = 2, "a batch in a staging area that there is not"),
        // There is no such tensor in the other one.
        (|run, place| (run.slot, run.inputs[0].place) = (1, place(AREA_BYTES, 6)), outside),
        (|run, _| run.rows = 3, differ),
        (|run, place| run.lengths = Some(place(0, 8)), differ),
        (|run, place| run.lengths = Some(place(AREA_BYTES, 8)), outside),
    ];
    for (lie, told) in lies {
        let (mut worker, _) = Direct::start(&[]);
        let (mut channel, _file) = worker.load_identity(&scratch.0);
        let mut batch = run();
        lie(&mut batch, beyond);
        channel.send(&batch).expect("sent");
        assert_eq!(worker.ending().code(), UNREADABLE, "{told}");
        let logged = worker.logged();
        assert!(logged.contains(told), "{logged}");
    }
}

#[test]
fn a_file_that_could_shrink_is_not_mapped() {
    let scratch = Scratch::new("frames-seals");
    let (mut worker, _) = Direct::start(&[]);
    let _channel = worker.load(&scratch.0, &area(SealFlags::GROW));
    assert_eq!(worker.ending().code(), UNREADABLE);
    assert!(worker.logged().contains("the staging area is not sealed against shrinking"));
}

#[test]
fn a_folder_without_a_model_is_refused_and_the_worker_lives() {
    let scratch = Scratch::new("frames-refused");
    let (mut worker, _) = Direct::start(&[]);
    let mut channel = worker.load(&scratch.0, &area(SealFlags::SHRINK));
    match channel.receive::<Opening>().expect("an answer") {
        Opening::Refused(why) => assert!(why.contains("no files"), "{why}"),
        Opening::Loaded(_) => panic!("loaded"),
    }
    worker.load_identity(&scratch.0);
}

#[test]
fn changed_frames_are_answered_or_end_it_by_its_own_will() {
    let scratch = Scratch::new("frames-changed");
    let started = std::cell::RefCell::new(None);
    let change = (8_usize..64, any::<u8>());
    let mut runner = TestRunner::new(ProptestConfig { cases: 150, ..ProptestConfig::default() });
    let outcome = runner.run(&change, |(at, value)| {
        let mut started = started.borrow_mut();
        let (mut worker, mut channel, file) = started.take().unwrap_or_else(|| {
            let (mut worker, _) = Direct::start(&[]);
            let (channel, file) = worker.load_identity(&scratch.0);
            (worker, channel, file)
        });
        let mut frame = Vec::new();
        encode(&run(), &mut frame).expect("short");
        let at = at % frame.len();
        frame[at] = value;
        channel.send_raw(&frame).expect("sent");
        if channel.receive::<Answer>().is_ok() {
            *started = Some((worker, channel, file));
        } else {
            prop_assert_eq!(worker.ending().code(), UNREADABLE, "byte {} is {}", at, value);
        }
        Ok(())
    });
    outcome.expect("no other end");
}

#[test]
fn by_hand_it_says_how_it_is_started() {
    let output = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sconce-worker"));
        let output = command.args(arguments).stdin(std::process::Stdio::null()).output().expect("a process");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let told = "sconce-worker is started by sconce, and speaks with it over its standard input\n";
    assert_eq!(output(&[]), (Some(64), told.to_owned()));
    let told = "expected --device NAME, --allow-faults, --probe or --version, got \"-h\"\n";
    assert_eq!(output(&["-h"]), (Some(64), told.to_owned()));
    assert_eq!(output(&["--version"]), (Some(0), "sconce-worker 0.1.0\n".to_owned()));
}
