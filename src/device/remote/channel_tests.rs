//! Channels against a worker that lies: a thread at the other end that says what it likes.

use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;

use proptest::prelude::*;
use rustix::io::pwrite;

use super::{Lane, Trouble, lanes};
use crate::device::remote::staging::Staging;
use crate::device::wire::{Answer, Body, Failure, Place, Run, Socket, TensorPlace, decode, encode};
use crate::types::{DataType, Presence, Reason, Rows, Shape, Signature, Tensor, TensorSpec};

const ROWS: usize = 3;

fn spec(name: &str, dtype: DataType, row: Vec<Option<usize>>) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, row, presence: Presence::Required }
}

/// A model that gives two numbers and a string for each row.
fn signature() -> Signature {
    let outputs = vec![spec("y", DataType::Fp32, vec![Some(2)]), spec("text", DataType::Bytes, vec![])];
    Signature { inputs: vec![spec("x", DataType::Fp32, vec![Some(2)])], outputs }
}

/// The lanes of a channel, the worker's end of it, and the files of its staging areas.
fn channel() -> ([Lane; 2], Socket, [OwnedFd; 2]) {
    let (ours, theirs) = Socket::pair().expect("a pair");
    let areas = [(); 2].map(|()| Staging::new().expect("an area"));
    let files = areas.each_ref().map(|area| area.as_fd().try_clone_to_owned().expect("a descriptor"));
    (lanes(ours, areas, signature()).expect("descriptors"), theirs, files)
}

fn numbers(values: &[f32]) -> Rows {
    let shape = Shape::new(&[values.len() / 2, 2]);
    Rows::uniform(vec![Tensor::from_f32(shape, values).expect("a tensor")], values.len() / 2)
}

/// What an honest worker answers, its outputs written at 128: the numbers of `y`, then three strings.
fn honest(sequence: u64) -> Answer {
    let y = TensorPlace { dtype: DataType::Fp32, dims: vec![ROWS, 2], place: Place { offset: 128, bytes: 24 } };
    let text = TensorPlace { dtype: DataType::Bytes, dims: vec![ROWS], place: Place { offset: 192, bytes: 15 } };
    Answer { sequence, body: Body::Outputs(vec![y, text]) }
}

fn write_outputs(file: &OwnedFd) {
    let strings: Vec<u8> = [b"a", b"b", b"c"].iter().flat_map(|text| [&[1, 0, 0, 0], &text[..]].concat()).collect();
    pwrite(file, &strings, 192).expect("written");
}

/// What a batch of three rows comes to where the worker answers with the bytes that `lie` makes of an honest answer.
fn answered(lie: impl FnOnce(Answer) -> Vec<u8> + Send) -> Result<Vec<Tensor>, Trouble> {
    let ([mut lane, _other], mut theirs, [file, _]) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let run: Run = theirs.receive().expect("a batch");
            write_outputs(&file);
            theirs.send_raw(&lie(honest(run.sequence))).expect("sent");
        });
        lane.run(&[numbers(&[1.0, 2.0]), numbers(&[3.0, 4.0, 5.0, 6.0])])
    })
}

fn frame(answer: &Answer) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(answer, &mut frame).expect("a short answer");
    frame
}

/// Why the worker is to be killed that answers so.
fn lost(lie: impl FnOnce(&mut Answer) + Send) -> String {
    let outcome = answered(|mut answer| {
        lie(&mut answer);
        frame(&answer)
    });
    match outcome.expect_err("a lie") {
        Trouble::Lost(why) => why,
        Trouble::Refused(error) => panic!("refused: {error}"),
    }
}

fn outputs(answer: &mut Answer) -> &mut Vec<TensorPlace> {
    match &mut answer.body {
        Body::Outputs(places) => places,
        Body::Failed(..) => panic!("no outputs"),
    }
}

#[test]
fn honest_answers_are_cut_out_of_one_copy() {
    let given = answered(|answer| frame(&answer)).expect("outputs");
    assert_eq!(given[0].shape().dims(), [ROWS, 2]);
    assert_eq!(given[1].strings().collect::<Vec<_>>(), [b"a", b"b", b"c"]);
}

#[test]
fn each_lie_is_told_and_costs_the_worker_its_life() {
    let told = [
        lost(|answer| answer.sequence = 9),
        lost(|answer| outputs(answer).truncate(1)),
        lost(|answer| outputs(answer)[0].dims[0] = 4),
        lost(|answer| outputs(answer)[0].dims = vec![usize::MAX, usize::MAX]),
        lost(|answer| outputs(answer)[0].dtype = DataType::Int32),
        lost(|answer| outputs(answer)[0].place.bytes = 20),
        lost(|answer| outputs(answer)[1].place.offset = 256),
        lost(|answer| outputs(answer)[1].place.bytes = u64::MAX - 100),
        lost(|answer| outputs(answer)[1].place.bytes = 1 << 31),
        lost(|answer| outputs(answer)[1].place.bytes = 14),
        lost(|answer| answer.body = Body::Failed(Failure::Device, "it fell off the bus".to_owned())),
    ];
    let expected = [
        "the worker answered batch 9, expected batch 1",
        "the worker answered with 1 outputs, expected 2",
        "the worker answered with [4,2] of FP32 for \"y\" of 3 rows, expected [-1,2] of FP32",
        "the worker answered with [18446744073709551615,18446744073709551615] of FP32 for \"y\" of 3 rows, \
         expected [-1,2] of FP32",
        "the worker answered with [3,2] of INT32 for \"y\" of 3 rows, expected [-1,2] of FP32",
        "the worker answered with 20 bytes for [3,2] of FP32 in \"y\"",
        "the worker answered with \"text\" at 256, not behind the output before",
        "the worker answered with \"text\" of 18446744073709551515 bytes at 192",
        "the worker answered with 2147483712 bytes at 128 of the staging area: unexpected end of file",
        "the worker answered with string 2 claims 1 bytes, 0 are left",
        "it fell off the bus",
    ];
    for (told, expected) in told.iter().zip(expected) {
        assert_eq!(told, expected);
    }
}

#[test]
fn what_the_model_or_memory_refuses_leaves_the_channel_in_use() {
    let ([mut lane, mut other], mut theirs, _files) = channel();
    let failures = [Failure::Model, Failure::Panic, Failure::Memory];
    let worker = thread::spawn(move || {
        for failure in failures {
            let run: Run = theirs.receive().expect("a batch");
            let body = Body::Failed(failure, "a\nb".to_owned());
            theirs.send(&Answer { sequence: run.sequence, body }).expect("sent");
        }
    });
    for reason in [Reason::Model, Reason::Panic, Reason::DeviceMemory] {
        match lane.run(&[numbers(&[1.0, 2.0])]) {
            Err(Trouble::Refused(error)) => assert_eq!((error.reason(), error.detail()), (reason, "a\\u{a}b")),
            other => panic!("{other:?}"),
        }
    }
    worker.join().expect("answered");
    for lane in [&mut lane, &mut other] {
        match lane.run(&[numbers(&[1.0, 2.0])]) {
            Err(Trouble::Lost(why)) => assert_eq!(why, "the other side has closed the channel"),
            other => panic!("{other:?}"),
        }
    }
}

/// What two batches under way at once come to, where the worker does `deed` when both have reached it.
fn two_under_way(deed: impl FnOnce(&mut Socket, [Run; 2]) + Send) -> [Result<Vec<Tensor>, Trouble>; 2] {
    let ([mut first, mut second], mut theirs, _files) = channel();
    let rows = [numbers(&[1.0, 2.0])];
    thread::scope(|scope| {
        let first = scope.spawn(|| first.run(&rows));
        let earlier: Run = theirs.receive().expect("a batch");
        let second = scope.spawn(|| second.run(&rows));
        let later: Run = theirs.receive().expect("a batch");
        assert_eq!([(earlier.sequence, earlier.slot), (later.sequence, later.slot)], [(1, 0), (2, 1)]);
        deed(&mut theirs, [earlier, later]);
        drop(theirs);
        [first, second].map(|thread| thread.join().expect("no panic"))
    })
}

fn refusal(sequence: u64, detail: &str) -> Answer {
    Answer { sequence, body: Body::Failed(Failure::Model, detail.to_owned()) }
}

fn told(outcome: &Result<Vec<Tensor>, Trouble>) -> &str {
    match outcome {
        Err(Trouble::Refused(error)) => error.detail(),
        Err(Trouble::Lost(why)) => why,
        Ok(_) => "outputs",
    }
}

#[test]
fn two_batches_under_way_get_their_own_answers() {
    for _ in 0..100 {
        let [first, second] = two_under_way(|theirs, _| {
            theirs.send(&refusal(1, "one")).expect("sent");
            theirs.send(&refusal(2, "two")).expect("sent");
        });
        assert_eq!([told(&first), told(&second)], ["one", "two"]);
    }
}

#[test]
fn a_channel_that_breaks_is_lost_to_both() {
    let closed = "the other side has closed the channel";
    let swapped = "the worker answered batch 2, expected batch 1";
    let outcomes = two_under_way(|theirs, _| theirs.send(&refusal(2, "two")).expect("sent"));
    assert_eq!(outcomes.each_ref().map(told), [swapped; 2]);
    let outcomes = two_under_way(|theirs, _| theirs.send(&refusal(1, "one")).expect("sent"));
    assert_eq!(outcomes.each_ref().map(told), ["one", closed]);
    let outcomes = two_under_way(|theirs, _| theirs.send_raw(&[7; 9]).expect("sent"));
    assert_eq!(outcomes.each_ref().map(told), ["a frame of 9 bytes that cannot be read"; 2]);
}

#[test]
fn a_batch_that_is_given_up_breaks_the_channel() {
    let ([lane, mut other], mut theirs, _files) = channel();
    let mut run = Run { sequence: 0, slot: 0, rows: 0, inputs: Vec::new(), lengths: None };
    drop(lane.line.send(&mut run).expect("sent"));
    let given_up = other.run(&[numbers(&[1.0, 2.0])]);
    assert_eq!(told(&given_up), "a batch before it was given up");
    theirs.receive::<Run>().expect("what was sent");
    assert!(matches!(theirs.receive::<Run>(), Err(crate::device::wire::Broken::Closed)), "the worker is told");
}

#[test]
fn parts_that_cannot_be_joined_never_reach_the_worker() {
    let ([mut lane, _other], mut theirs, _files) = channel();
    let packed = Rows::packed(vec![Tensor::from_f32(Shape::new(&[1]), &[1.0]).expect("a tensor")], &[1]).expect("rows");
    let wide = Rows::uniform(vec![Tensor::from_f32(Shape::new(&[1, 3]), &[1.0; 3]).expect("a tensor")], 1);
    for other in [Rows::uniform(Vec::new(), 1), wide, packed] {
        match lane.run(&[numbers(&[1.0, 2.0]), other]) {
            Err(Trouble::Refused(error)) => assert_eq!(error.detail(), "rows of a batch differ in shape"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(theirs.try_receive::<Run>(), Ok(None)));
}

#[test]
fn batches_that_no_device_is_given_are_for_halving() {
    let error = super::too_large(5 << 30, &std::io::ErrorKind::FileTooLarge.into());
    let told = (error.reason(), error.detail());
    assert_eq!(told, (Reason::DeviceMemory, "a batch of 5368709120 bytes; a device is given 4294967296 at most"));
    let error = super::too_large(9, &std::io::ErrorKind::StorageFull.into());
    assert_eq!(error.detail(), "write a batch for the device: no storage space");
}

/// Is this what an honest worker could have answered?
fn could_be(outputs: &[Tensor]) -> bool {
    let shapes = outputs.iter().map(|output| (output.dtype(), output.shape().rows()));
    shapes.eq([(DataType::Fp32, Some(ROWS)), (DataType::Bytes, Some(ROWS))])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_frame_that_was_changed_is_refused_or_right_in_form(
        changes in prop::collection::vec((8_usize..64, any::<u8>()), 1..4),
        cut in prop::option::of(0_usize..64),
    ) {
        let outcome = answered(|answer| {
            let mut frame = frame(&answer);
            for (at, value) in &changes {
                let at = at % frame.len();
                frame[at] = *value;
            }
            // An empty frame would be an end.
            frame.truncate(cut.map_or(frame.len(), |cut| cut.max(1)));
            frame
        });
        if let Ok(outputs) = outcome {
            prop_assert!(could_be(&outputs), "{outputs:?}");
        }
    }

    #[test]
    fn random_bytes_cost_the_worker_its_life(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        let unreadable = decode::<Answer>(&bytes).expect_err("random").to_string();
        match answered(|_| bytes) {
            Err(Trouble::Lost(why)) => prop_assert_eq!(why, unreadable),
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
