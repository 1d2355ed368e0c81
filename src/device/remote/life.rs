//! The lives of a worker: started, asked who it is, watched until it dies, started again.

use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags};
use tokio::time::{Duration, Instant};
use tracing::{info, warn};

use super::backoff::{Backoff, chance};
use super::process::{Process, Watched};
use super::supervisor::Shared;
use crate::device::wire::{Broken, Hello, Order, Report, wait_for};
use crate::types::printable;

/// How often a worker is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Pings in a row that it may leave unanswered. Counted, and not timed: where the server itself stood still, for the machine
/// was suspended, one is missed and not all of them.
const MISSED_MAX: u32 = 3;
/// How long a worker that has closed its socket may take to end, so that it can say why by its exit code.
const END_BY_ITSELF: Duration = Duration::from_millis(500);
/// Characters of a device's name.
const NAME_CHARS_MAX: usize = 256;

/// Lives one life after the other until the supervisor is stopped.
pub(super) fn live(shared: &Shared) {
    let mut backoff = Backoff::new();
    while !shared.is_stopped() {
        shared.become_starting();
        let begun = Instant::now();
        let why = match Process::start(shared.settings()) {
            Ok(watched) => one_life(shared, watched),
            Err(error) => format!("start {}: {error}", shared.settings().path.display()),
        };
        if shared.is_stopped() {
            break;
        }
        let retry_in = backoff.after(begun.elapsed(), chance());
        warn!(device = shared.settings().device, why, ?retry_in, "the device's worker is down");
        shared.become_down(why, retry_in);
    }
    shared.become_stopped();
}

/// From start to end; says why it ended.
fn one_life(shared: &Shared, mut watched: Watched) -> String {
    shared.started(&watched.process);
    match greet(&mut watched, shared.settings().start_timeout) {
        Ok(hello) => {
            let pid = watched.process.pid();
            info!(
                device = shared.settings().device,
                kind = hello.kind,
                name = hello.name,
                pid,
                "the device's worker is up"
            );
            shared.become_up(hello);
            watch(shared, &mut watched);
        }
        Err(Broken::Closed) => {}
        Err(broken) => watched.process.kill(&broken.to_string()),
    }
    shared.lose("the worker has ended");
    let mut end = [PollFd::from_borrowed_fd(watched.process.as_fd(), PollFlags::IN)];
    // If this fails, it is killed all the same.
    let _ended = wait_for(&mut end, END_BY_ITSELF);
    watched.finish()
}

/// Waits until it has said what it is.
fn greet(watched: &mut Watched, at_most: Duration) -> Result<Hello, Broken> {
    match watched.control.receive_within(at_most)? {
        Some(Report::Hello(hello)) => {
            let text = |text: &str| printable(text, NAME_CHARS_MAX);
            Ok(Hello { kind: text(&hello.kind), name: text(&hello.name), ..hello })
        }
        Some(_) => Err(unexpected("a report before its hello")),
        None => Err(unexpected(&format!("it did not say what it is within {at_most:?}"))),
    }
}

fn unexpected(what: &str) -> Broken {
    std::io::Error::other(what.to_owned()).into()
}

/// Pings it until it dies or has to be killed.
fn watch(shared: &Shared, watched: &mut Watched) {
    let (mut number, mut missed) = (0_u64, 0);
    let mut next_ping = Instant::now() + PING_EVERY;
    loop {
        match hear(shared, watched, number) {
            Ok(true) => missed = 0,
            Ok(false) => {}
            Err(Broken::Closed) => return,
            Err(broken) => return watched.process.kill(&broken.to_string()),
        }
        if Instant::now() >= next_ping {
            if missed >= MISSED_MAX {
                return watched.process.kill("it did not answer for three pings");
            }
            (number, missed) = (number + 1, missed + 1);
            next_ping = Instant::now() + PING_EVERY;
            // A worker that does not read has missed it; one that is gone shows below.
            let _sent = watched.process.try_order(&Order::Ping(number));
        }
        if has_ended(watched, next_ping) {
            return;
        }
    }
}

/// Reads what it has reported; true if that answers ping `number`.
fn hear(shared: &Shared, watched: &mut Watched, number: u64) -> Result<bool, Broken> {
    let mut answered = false;
    while let Some(report) = watched.control.try_receive()? {
        match report {
            Report::Pong(heard) => answered |= heard == number,
            Report::Obeyed => shared.obeyed(),
            Report::Hello(_) => return Err(unexpected("a second hello")),
        }
    }
    Ok(answered)
}

/// Waits until it reports something or has ended, or for the next ping.
fn has_ended(watched: &Watched, until: Instant) -> bool {
    let mut descriptors = [
        PollFd::from_borrowed_fd(watched.control.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(watched.process.as_fd(), PollFlags::IN),
    ];
    let left = until.saturating_duration_since(Instant::now());
    if let Err(error) = wait_for(&mut descriptors, left) {
        watched.process.kill(&format!("wait for it: {error}"));
        return true;
    }
    !descriptors[1].revents().is_empty()
}
