//! The two batches that may be under way on one channel: sent and answered in the same order.

use std::io;

use parking_lot::{Condvar, Mutex};
use tokio::time::Duration;

use crate::device::wire::{Answer, Body, Broken, Run, Socket, Spin};

/// How long a batch's thread waits for the answer without sleeping, at most.
const SPIN: Duration = Duration::from_micros(20);

/// The socket of a channel, for the threads that share it.
#[derive(Debug)]
pub(super) struct Line {
    state: Mutex<State>,
    moved: Condvar,
    /// Taken by the thread whose answer comes next; it waits with it, while another may send.
    receiving: Mutex<(Socket, Spin)>,
}

#[derive(Debug)]
struct State {
    socket: Socket,
    sent: u64,
    answered: u64,
    /// Why there will be no answers any more.
    broken: Option<String>,
}

/// A batch that has been sent. Dropped before it is answered, it breaks the line, since the answer would be taken for another's.
#[derive(Debug)]
pub(super) struct Place<'a> {
    line: &'a Line,
    sequence: u64,
}

impl Line {
    /// A line on which nothing has been sent. Errors: no descriptors are left.
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        let receiving = Mutex::new((socket.another()?, Spin::new(SPIN)));
        let state = State { socket, sent: 0, answered: 0, broken: None };
        Ok(Self { state: Mutex::new(state), moved: Condvar::new(), receiving })
    }

    /// Sends a batch, which it numbers. Errors: why the line is broken.
    pub(super) fn send(&self, run: &mut Run) -> Result<Place<'_>, String> {
        let mut state = self.state.lock();
        if let Some(why) = &state.broken {
            return Err(why.clone());
        }
        state.sent += 1;
        run.sequence = state.sent;
        if let Err(broken) = state.socket.send(run) {
            state.breaks(&broken.to_string());
            self.moved.notify_all();
            return Err(broken.to_string());
        }
        Ok(Place { line: self, sequence: run.sequence })
    }
}

impl Place<'_> {
    /// Waits for the answer, however long that takes. Errors: why the line is broken, now or before.
    pub(super) fn answer(self) -> Result<Body, String> {
        let Self { line, sequence } = self;
        let mut state = line.state.lock();
        let waits = |state: &mut State| state.answered + 1 < sequence && state.broken.is_none();
        line.moved.wait_while(&mut state, waits);
        if let Some(why) = &state.broken {
            return Err(why.clone());
        }
        drop(state);
        let outcome = line.receive(sequence);
        let mut state = line.state.lock();
        match &outcome {
            Ok(_) => state.answered = sequence,
            Err(why) => state.breaks(why),
        }
        drop(state);
        line.moved.notify_all();
        outcome
    }
}

impl Line {
    fn receive(&self, sequence: u64) -> Result<Body, String> {
        let mut receiving = self.receiving.lock();
        let (socket, spin) = &mut *receiving;
        let answer: Answer = socket.receive_spinning(spin).map_err(|broken: Broken| broken.to_string())?;
        if answer.sequence == sequence {
            Ok(answer.body)
        } else {
            Err(format!("the worker answered batch {}, expected batch {sequence}", answer.sequence))
        }
    }
}

impl State {
    /// The worker is told by the end of its channel. The first reason stays.
    fn breaks(&mut self, why: &str) {
        self.broken.get_or_insert_with(|| why.to_owned());
        self.socket.close();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.line.state.lock();
        if state.answered < self.sequence {
            state.breaks("a batch before it was given up");
            drop(state);
            self.line.moved.notify_all();
        }
    }
}
