//! Batches that come while another runs, before a model that asks for them as one on a GPU does.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::FairMutex;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::pwrite;
use sconce::device::LoadSettings;
use sconce::device::wire::{Body, Broken, Failure, FaultInjection, Hello, Place, Run, Socket, TensorPlace};
use sconce::model::Files;
use sconce::types::{DataType, Rows, Signature};

use super::{Area, Failed, Inbox, Outputs, Shared};
use crate::device::{Device, Model, Next};
use crate::faults::Faults;

const AREA_BYTES: u64 = 4096;

/// Gives back what it is given, and looks ahead while it runs.
struct Looking {
    signature: Signature,
    /// What each batch held, and what it was told of the one that follows.
    seen: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Default for Looking {
    fn default() -> Self {
        Self { signature: Signature { inputs: Vec::new(), outputs: Vec::new() }, seen: Vec::new() }
    }
}

fn contents(rows: &Rows) -> Vec<u8> {
    rows.inputs()[0].data().to_vec()
}

impl Model for Looking {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, rows: &Rows, outputs: &mut Outputs<'_>) -> Result<(), Failed> {
        let input = &rows.inputs()[0];
        outputs.push(input.dtype(), input.shape().dims(), input.data().len())?.copy_from_slice(input.data());
        Ok(())
    }

    fn run_before(&mut self, rows: &Rows, outputs: &mut Outputs<'_>, next: &mut Next<'_>) -> Result<(), Failed> {
        let ahead = next().map(|rows| contents(&rows));
        assert!(next().is_none(), "it is given once");
        self.seen.push((contents(rows), ahead));
        self.run(rows, outputs)
    }
}

/// Nobody loads anything on it.
struct Nothing;

impl Device for Nothing {
    fn about(&self) -> Hello {
        Hello { kind: String::new(), name: String::new(), memory_total: 0, memory_free: 0 }
    }

    fn load(&self, _files: &Files, _settings: &LoadSettings) -> Result<Box<dyn Model>, Failed> {
        Err(Failed::new(Failure::Model, "no model"))
    }
}

struct World {
    inbox: Inbox,
    server: Socket,
    files: [OwnedFd; 2],
    shared: Arc<Shared>,
}

fn world() -> World {
    let (server, socket) = Socket::pair().expect("a pair");
    let files = [(); 2].map(|()| {
        let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a file");
        fcntl_add_seals(&file, SealFlags::SHRINK).expect("sealed");
        ftruncate(&file, AREA_BYTES).expect("room");
        file
    });
    let device: Arc<dyn Device> = Arc::new(Nothing);
    let areas =
        files.each_ref().map(|file| Area::new(file.try_clone().expect("a descriptor"), &device).expect("mapped"));
    let shared = Arc::new(Shared { device, turn: FairMutex::new(()), faults: Faults::default() });
    World { inbox: Inbox::new(socket, Arc::clone(&shared), areas), server, files, shared }
}

impl World {
    fn send(&mut self, sequence: u64, slot: u8, bytes: &[u8]) {
        let place = Place { offset: 0, bytes: bytes.len() as u64 };
        pwrite(&self.files[usize::from(slot) % 2], bytes, 0).expect("written");
        let input = TensorPlace { dtype: DataType::Uint8, dims: vec![bytes.len(), 1], place };
        let run = Run { sequence, slot, rows: place.bytes, inputs: vec![input], lengths: None };
        self.server.send(&run).expect("sent");
    }

    /// Runs the next batch.
    fn step(&mut self, model: &mut Looking) -> Result<(u64, Result<Body, Failed>), Broken> {
        let batch = self.inbox.wait()?;
        Ok((batch.sequence, self.inbox.run(batch, model)))
    }
}

#[test]
fn what_is_there_already_is_told_of_and_runs_next() {
    let (mut world, mut model) = (world(), Looking::default());
    world.send(1, 0, b"one");
    world.send(2, 1, b"three");
    for sequence in 1..=2 {
        let (ran, body) = world.step(&mut model).expect("a batch");
        assert!(ran == sequence && matches!(body, Ok(Body::Outputs(_))), "{ran}: {body:?}");
    }
    world.send(3, 0, b"five");
    world.step(&mut model).expect("a batch").1.expect("outputs");
    let ahead = Some(b"three".to_vec());
    assert_eq!(model.seen, [(b"one".to_vec(), ahead), (b"three".to_vec(), None), (b"five".to_vec(), None)]);
}

#[test]
fn what_will_not_run_is_not_told_of() {
    let (mut world, mut model) = (world(), Looking::default());
    world.shared.faults.order(&FaultInjection::OutOfMemoryAbove(3));
    world.send(1, 0, b"one");
    world.send(2, 1, b"three");
    world.step(&mut model).expect("a batch").1.expect("outputs");
    // By now it would be let in.
    world.shared.faults.order(&FaultInjection::Clear);
    let (sequence, body) = world.step(&mut model).expect("a batch");
    let refused = body.expect_err("no memory").detail;
    assert_eq!((sequence, &*refused), (2, "out of memory, as was ordered, for a size of 5"));
    assert_eq!(model.seen, [(b"one".to_vec(), None)]);
}

type Lie = fn(&mut World);

#[test]
fn lies_that_come_early_are_met_after_the_batch() {
    let lies: [(Lie, &str); 4] = [
        (|world| world.send(2, 0, b"two"), "a batch in the staging area of the one that runs"),
        (|world| world.send(2, 2, b"two"), "a batch in the staging area of the one that runs"),
        (|world| world.server.send_raw(b"garbage").expect("sent"), "a frame of 7 bytes that cannot be read"),
        (|world| world.server.close(), "the other side has closed the channel"),
    ];
    for (lie, told) in lies {
        let (mut world, mut model) = (world(), Looking::default());
        world.send(1, 0, b"one");
        lie(&mut world);
        world.step(&mut model).expect("a batch").1.expect("outputs");
        assert!(matches!(&model.seen[..], [(_, None)]), "{:?}", model.seen);
        let broken = world.step(&mut model).expect_err("a lie").to_string();
        assert!(broken.ends_with(told), "{broken}");
    }
    let mut world = world();
    world.send(1, 2, b"one");
    let broken = world.inbox.wait().err().expect("no such area").to_string();
    assert!(broken.ends_with("a batch in a staging area that there is not"), "{broken}");
}
