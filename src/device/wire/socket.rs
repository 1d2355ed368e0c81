//! A socket between the server and its worker that keeps frames apart and carries descriptors.
//!
//! Why a socket, and not a word in shared memory with an eventfd or futex to wake by: a frame and the wake-up are one system
//! call each way, and a process that dies closes its end, which the other side reads at once. It costs 5 µs a batch more
//! (docs/benchmarks.md).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, shutdown,
    socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::{Duration, Instant};

use super::{FRAME_BYTES_MAX, TooLong, Unreadable, decode, encode};

/// Descriptors that a frame may bring.
const DESCRIPTORS_MAX: usize = 3;

/// Why the other side cannot be spoken with any more.
#[derive(Debug, Error)]
pub enum Broken {
    /// The other process has ended, or wants no more of this.
    #[error("the other side has closed the channel")]
    Closed,
    /// It says what cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// We say too much at once.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The system refuses.
    #[error("the channel failed: {0}")]
    System(#[from] io::Error),
}

impl From<Errno> for Broken {
    fn from(error: Errno) -> Self {
        match error {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            other => Self::System(other.into()),
        }
    }
}

/// One end of a channel, with a buffer for what comes and goes.
#[derive(Debug)]
pub struct Socket {
    end: OwnedFd,
    frame: Vec<u8>,
}

impl Socket {
    /// Both ends of a new channel. Errors: there are no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::of(one), Self::of(other)))
    }

    /// A channel's end that was given to this process.
    pub fn of(end: OwnedFd) -> Self {
        Self { end, frame: Vec::new() }
    }

    /// The end itself, to be given to another process.
    pub fn into_end(self) -> OwnedFd {
        self.end
    }

    /// Another handle for the same end, so that one thread speaks while another listens. Errors: no descriptors are left.
    pub fn another(&self) -> io::Result<Self> {
        Ok(Self::of(self.end.try_clone()?))
    }

    /// Ends the channel for all handles of this end, and for the other side.
    pub fn close(&self) {
        // The only error is that the other side has done it.
        let _closed = shutdown(&self.end, Shutdown::Both);
    }

    /// Sends a frame; blocks while the other side has too many of them unread.
    pub fn send<T: Serialize>(&mut self, message: &T) -> Result<(), Broken> {
        encode(message, &mut self.frame)?;
        self.send_bytes(SendFlags::NOSIGNAL)
    }

    /// Sends a frame unless the other side has too many unread: then false.
    pub fn try_send<T: Serialize>(&mut self, message: &T) -> Result<bool, Broken> {
        encode(message, &mut self.frame)?;
        match self.send_bytes(SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(Broken::System(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            sent => sent.map(|()| true),
        }
    }

    /// Sends bytes that need be no frame.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.frame.clear();
        self.frame.extend_from_slice(bytes);
        self.send_bytes(SendFlags::NOSIGNAL)
    }

    /// Sends a frame and descriptors with it, which the other process gets copies of.
    pub fn send_with<T: Serialize>(&mut self, message: &T, descriptors: &[BorrowedFd<'_>]) -> Result<(), Broken> {
        encode(message, &mut self.frame)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(TooLong.into());
        }
        let frame = [IoSlice::new(&self.frame)];
        retried(|| sendmsg(&self.end, &frame, &mut ancillary, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// Waits for a frame.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T, Broken> {
        self.receive_bytes(RecvFlags::empty())?;
        Ok(decode(&self.frame)?)
    }

    /// A frame, if one is there.
    pub fn try_receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Broken> {
        match self.receive_bytes(RecvFlags::DONTWAIT) {
            Ok(()) => Ok(Some(decode(&self.frame)?)),
            Err(Broken::System(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(broken) => Err(broken),
        }
    }

    /// Waits for a frame: first without sleeping, if that is likely to pay.
    pub fn receive_spinning<T: DeserializeOwned>(&mut self, spin: &mut Spin) -> Result<T, Broken> {
        let begun = Instant::now();
        while begun.elapsed() < spin.limit() {
            if let Some(message) = self.try_receive()? {
                spin.waited(begun.elapsed());
                return Ok(message);
            }
            std::hint::spin_loop();
        }
        let message = self.receive()?;
        spin.waited(begun.elapsed());
        Ok(message)
    }

    /// Waits so long at most for a frame.
    pub fn receive_within<T: DeserializeOwned>(&mut self, at_most: Duration) -> Result<Option<T>, Broken> {
        let until = Instant::now() + at_most;
        loop {
            if let Some(message) = self.try_receive()? {
                return Ok(Some(message));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            wait_for(&mut [PollFd::new(&self.end, PollFlags::IN)], left)?;
        }
    }

    /// Waits for a frame and the descriptors that come with it.
    pub fn receive_with<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), Broken> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        self.frame.resize(FRAME_BYTES_MAX, 0);
        let mut room = [IoSliceMut::new(&mut self.frame)];
        let came = retried(|| recvmsg(&self.end, &mut room, &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
        self.frame.truncate(came.bytes);
        if came.bytes == 0 {
            return Err(Broken::Closed);
        }
        if came.flags.contains(ReturnFlags::TRUNC) {
            return Err(Unreadable::Garbage { bytes: came.bytes }.into());
        }
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        Ok((decode(&self.frame)?, descriptors))
    }

    fn send_bytes(&mut self, flags: SendFlags) -> Result<(), Broken> {
        retried(|| send(&self.end, &self.frame, flags))?;
        Ok(())
    }

    fn receive_bytes(&mut self, flags: RecvFlags) -> Result<(), Broken> {
        self.frame.clear();
        self.frame.reserve(FRAME_BYTES_MAX);
        // With TRUNC the length is told that was sent, even if it is more than there is room for.
        let flags = flags | RecvFlags::TRUNC;
        let sent = retried(|| recv(&self.end, rustix::buffer::spare_capacity(&mut self.frame), flags))?.1;
        match sent {
            0 => Err(Broken::Closed),
            sent if sent > self.frame.len() => Err(Unreadable::Garbage { bytes: sent }.into()),
            _ => Ok(()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

/// Waits until one of `descriptors` has something to tell, or so long at most.
pub(in crate::device) fn wait_for(descriptors: &mut [PollFd<'_>], at_most: Duration) -> io::Result<()> {
    let seconds = i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX);
    let timeout = Timespec { tv_sec: seconds, tv_nsec: at_most.subsec_nanos().into() };
    match poll(descriptors, Some(&timeout)) {
        // Who waits looks again anyway.
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn retried<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// How long to wait for an answer without sleeping: a while where answers usually come within it, and not at all where they do
/// not, because the core that is spun on could be computing.
#[derive(Clone, Copy, Debug)]
pub struct Spin {
    limit: Duration,
    usual: Duration,
}

impl Spin {
    /// Spins so long at most.
    pub fn new(limit: Duration) -> Self {
        Self { limit, usual: Duration::ZERO }
    }

    fn limit(&self) -> Duration {
        if self.usual <= self.limit { self.limit } else { Duration::ZERO }
    }

    fn waited(&mut self, took: Duration) {
        // One answer that is late, because the core was taken away, does not end it.
        let took = took.min(self.limit * 8);
        self.usual = (self.usual * 7 + took) / 8;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::{Broken, Socket, Spin};
    use crate::device::wire::{FRAME_BYTES_MAX, Unreadable};

    #[test]
    fn spinning_ends_where_answers_are_late_and_begins_again() {
        let limit = Duration::from_micros(20);
        let mut spin = Spin::new(limit);
        spin.waited(Duration::from_secs(1));
        assert_eq!(spin.limit(), limit, "one late answer");
        for _ in 0..8 {
            spin.waited(Duration::from_millis(1));
        }
        assert_eq!(spin.limit(), Duration::ZERO);
        for _ in 0..32 {
            spin.waited(Duration::from_micros(5));
        }
        assert_eq!(spin.limit(), limit);
    }

    #[test]
    fn ends_frames_that_are_too_long_and_patience_are_told_apart() {
        let (mut one, mut other) = Socket::pair().expect("a pair");
        assert!(matches!(one.try_receive::<u8>(), Ok(None)));
        assert!(matches!(one.receive_within::<u8>(Duration::from_millis(1)), Ok(None)));
        other.send_raw(&vec![0; FRAME_BYTES_MAX * 2]).expect("sent");
        let long = one.receive::<u8>().expect_err("too long");
        assert!(matches!(long, Broken::Unreadable(Unreadable::Garbage { bytes }) if bytes == FRAME_BYTES_MAX * 2));
        let answers = thread::spawn(move || {
            let heard: u8 = other.receive().expect("a frame");
            other.send(&(heard + 1)).expect("sent");
        });
        one.send(&1_u8).expect("sent");
        assert!(matches!(one.receive_spinning::<u8>(&mut Spin::new(Duration::from_micros(20))), Ok(2)));
        answers.join().expect("no panic");
        assert!(matches!(one.receive::<u8>(), Err(Broken::Closed)));
        assert!(matches!(one.send(&1_u8), Err(Broken::Closed)));
    }

    #[test]
    fn a_side_that_does_not_read_is_not_waited_for() {
        let (mut one, _other) = Socket::pair().expect("a pair");
        let sent = (0..100_000).take_while(|number| one.try_send(number).expect("an open channel")).count();
        assert!(sent < 100_000);
    }
}
