//! How the server and its worker process speak: frames over sockets that keep them apart, batches in shared memory.
//!
//! The control socket is the worker's standard input. It carries [`Order`]s to the worker and [`Report`]s back. A model has a
//! channel of its own, a socket and two staging areas, which come with the order to load it. A channel first carries one
//! [`Opening`] to the server; then for each [`Run`] one [`Answer`], in the same order. Two batches may be under way at once,
//! each in an area of its own: while one is computed the other is written or read.
//!
//! Frames are `postcard` after a header of eight bytes. Both sides are of one machine, so numbers in the staging area are as it
//! has them, which is little-endian.

mod frames;
mod layout;
mod probe;
mod socket;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

pub use frames::{
    Answer, Body, Contents, Failure, FaultInjection, Hello, LoadOrder, LoadSettings, LogitScores, Opening, Order,
    Place, Report, Run, SCORES, TensorPlace,
};
pub use layout::{AREA_BYTES_MAX, aligned, area_bytes};
pub use probe::{CUDA, Gpu, NoProbe, PROBE, Probe};
pub(super) use socket::wait_for;
pub use socket::{Broken, Socket, Spin};

/// The version of all that stands in this folder; a worker of another one is refused.
pub const PROTOCOL: u32 = 3;
/// Bytes of a frame; a socket pair takes three times as much before it blocks.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// What the exit code of a worker says that has met a frame which it cannot read.
pub const EXIT_UNREADABLE: u8 = 65;
/// What the exit code of a worker says whose device cannot be used any more.
pub const EXIT_DEVICE_LOST: u8 = 70;

/// So that no other text is taken for a frame.
const MARK: [u8; 4] = *b"scnc";
const HEADER_BYTES: usize = 8;

/// Why bytes are no frame.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unreadable {
    /// The other side is of another build.
    #[error("expected version {PROTOCOL} of the worker's protocol, got {0}")]
    Protocol(u32),
    /// Random bytes, or a frame of another kind.
    #[error("a frame of {bytes} bytes that cannot be read")]
    Garbage {
        /// How many came.
        bytes: usize,
    },
}

/// Writes a frame in the place of what `frame` holds.
///
/// Errors: it would be larger than a frame may be.
pub fn encode<T: Serialize>(message: &T, frame: &mut Vec<u8>) -> Result<(), TooLong> {
    frame.clear();
    frame.extend_from_slice(&MARK);
    frame.extend_from_slice(&PROTOCOL.to_le_bytes());
    let written = postcard::to_extend(message, std::mem::take(frame));
    // The only other error of such plain data is no memory, which does not return.
    *frame = written.map_err(|_| TooLong)?;
    if frame.len() > FRAME_BYTES_MAX { Err(TooLong) } else { Ok(()) }
}

/// A message that does not fit into a frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a message that does not fit into a frame of {FRAME_BYTES_MAX} bytes")]
pub struct TooLong;

/// Reads a frame. What it says has to be checked before it is used: lengths and places may lie.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Unreadable> {
    let garbage = Unreadable::Garbage { bytes: frame.len() };
    let Some((header, message)) = frame.split_first_chunk::<HEADER_BYTES>() else { return Err(garbage) };
    let Some(protocol) = header.strip_prefix(&MARK).and_then(|rest| rest.first_chunk::<4>()) else {
        return Err(garbage);
    };
    let protocol = u32::from_le_bytes(*protocol);
    if protocol != PROTOCOL {
        return Err(Unreadable::Protocol(protocol));
    }
    match postcard::take_from_bytes(message) {
        Ok((message, [])) => Ok(message),
        _ => Err(garbage),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        Answer, Contents, FRAME_BYTES_MAX, LoadOrder, LoadSettings, Opening, Order, Place, Report, Run, TensorPlace,
    };
    use super::{TooLong, Unreadable, decode, encode};
    use crate::types::DataType;

    fn frame<T: serde::Serialize>(message: &T) -> Vec<u8> {
        let mut frame = Vec::new();
        encode(message, &mut frame).expect("a short message");
        frame
    }

    fn run() -> Run {
        let place = Place { offset: 64, bytes: 120 };
        let input = TensorPlace { dtype: DataType::Fp32, dims: vec![1, 30], place };
        Run { sequence: 7, slot: 0, rows: 1, inputs: vec![input], lengths: None }
    }

    #[test]
    fn frames_read_back() {
        assert_eq!(decode(&frame(&run())), Ok(run()));
        let contents = Contents::Folder { path: b"/models/\xff".to_vec(), roots: vec![b"/models".to_vec()] };
        let settings = LoadSettings { memory_max: Some(1 << 30), ..LoadSettings::default() };
        let order = Order::Load(LoadOrder { name: "digits/1".to_owned(), contents, settings });
        assert_eq!(decode(&frame(&order)), Ok(order));
    }

    #[test]
    fn what_is_no_frame_is_told_from_what_another_version_says() {
        let mut other = frame(&Report::Pong(1));
        other[4] = 1;
        let told = decode::<Report>(&other).expect_err("another version").to_string();
        assert_eq!(told, "expected version 3 of the worker's protocol, got 1");
        let mut long = frame(&Report::Pong(1));
        long.push(0);
        assert_eq!(decode::<Report>(&long), Err(Unreadable::Garbage { bytes: long.len() }));
        let told = decode::<Report>(b"hello").expect_err("no frame").to_string();
        assert_eq!(told, "a frame of 5 bytes that cannot be read");
        let text = "x".repeat(FRAME_BYTES_MAX);
        assert_eq!(encode(&Opening::Refused(text), &mut Vec::new()), Err(TooLong));
        assert_eq!(TooLong.to_string(), "a message that does not fit into a frame of 65536 bytes");
    }

    fn try_all(bytes: &[u8]) {
        let _read = decode::<Order>(bytes).is_ok();
        let _read = decode::<Report>(bytes).is_ok();
        let _read = decode::<Opening>(bytes).is_ok();
        let _read = decode::<Run>(bytes).is_ok();
        let _read = decode::<Answer>(bytes).is_ok();
    }

    proptest! {
        #[test]
        fn random_bytes_are_no_frame(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(decode::<Run>(&bytes).is_err());
            let mut marked = frame(&Report::Pong(0));
            marked.truncate(super::HEADER_BYTES);
            marked.extend(&bytes);
            try_all(&marked);
        }

        #[test]
        fn broken_frames_are_refused_or_read(at in 0_usize..64, value in any::<u8>(), cut in 0_usize..64) {
            let mut bytes = frame(&run());
            let at = at % bytes.len();
            bytes[at] = value;
            try_all(&bytes);
            bytes.truncate(cut);
            try_all(&bytes);
        }
    }
}
