//! What an executor and the supervisor of its worker share: whether the model is up, and its channel's lanes when
//! they are new.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::channel::{LANES, Lane};
use super::process::Process;
use crate::device::Lifeline;

/// Whether a model is loaded in its worker.
#[derive(Default)]
pub struct Link {
    state: Mutex<State>,
    settled: Condvar,
    /// Grows with each change of what an executor has to know, so that a look at it need not lock.
    generation: AtomicU64,
}

#[derive(Default)]
struct State {
    condition: Condition,
    /// What the executors have not taken yet, by lane.
    fresh: [Option<Seat>; LANES],
    /// Where their batches are running.
    running: [Option<Arc<Process>>; LANES],
    /// Does nobody want the model any more?
    abandoned: bool,
}

/// A lane of a model's channel, and the process at its other end.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) lane: Lane,
    pub(super) process: Arc<Process>,
}

/// How a model is in its worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// Being loaded.
    #[default]
    Loading,
    /// Loaded.
    Up,
    /// Not there, and why: it will be loaded again.
    Down(String),
    /// The worker has refused it, and why.
    Refused(String),
}

impl Link {
    /// Why it is not up; `None` if it is.
    pub(super) fn why(&self) -> Option<String> {
        match &self.state.lock().condition {
            Condition::Up => None,
            Condition::Loading => Some("the worker is loading the model".to_owned()),
            Condition::Down(why) | Condition::Refused(why) => Some(why.clone()),
        }
    }

    pub(super) fn loading(&self) {
        self.change(Condition::Loading, Default::default());
    }

    pub(super) fn up(&self, seats: [Seat; LANES]) {
        self.change(Condition::Up, seats.map(Some));
    }

    pub(super) fn down(&self, why: &str) {
        self.change(Condition::Down(why.to_owned()), Default::default());
    }

    /// As [`Link::down`], unless it has changed since this generation.
    pub(super) fn down_since(&self, generation: u64, why: &str) {
        let state = self.state.lock();
        if self.generation() == generation {
            self.change_locked(state, Condition::Down(why.to_owned()), Default::default());
        }
    }

    pub(super) fn refused(&self, why: &str) {
        self.change(Condition::Refused(why.to_owned()), Default::default());
    }

    /// Waits until it is not being loaded.
    pub(super) fn settled(&self) -> Condition {
        let mut state = self.state.lock();
        self.settled.wait_while(&mut state, |state| state.condition == Condition::Loading);
        state.condition.clone()
    }

    /// What has come since the executor of this lane looked, and the generation it belongs to.
    pub(super) fn take_fresh(&self, lane: usize) -> (u64, Option<Seat>) {
        let mut state = self.state.lock();
        (self.generation(), state.fresh.get_mut(lane).and_then(Option::take))
    }

    pub(super) fn set_running(&self, lane: usize, process: Option<Arc<Process>>) {
        if let Some(running) = self.state.lock().running.get_mut(lane) {
            *running = process;
        }
    }

    /// Nobody wants the model any more: lets go of what has not been taken.
    pub(super) fn abandon(&self) {
        let mut state = self.state.lock();
        state.abandoned = true;
        let unused = std::mem::take(&mut state.fresh);
        drop(state);
        drop(unused);
    }

    /// Kills the process in which the batch of this lane is running; nothing if none is.
    pub(super) fn interrupt(&self, lane: usize) {
        if let Some(Some(process)) = self.state.lock().running.get(lane) {
            process.kill("a batch was not done in time");
        }
    }

    fn change(&self, condition: Condition, fresh: [Option<Seat>; LANES]) {
        self.change_locked(self.state.lock(), condition, fresh);
    }

    fn change_locked(&self, mut state: MutexGuard<'_, State>, condition: Condition, fresh: [Option<Seat>; LANES]) {
        state.condition = condition;
        let mut unused = std::mem::replace(&mut state.fresh, fresh);
        if state.abandoned {
            unused = std::mem::take(&mut state.fresh);
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(state);
        drop(unused);
        self.settled.notify_all();
    }
}

impl Lifeline for Link {
    fn is_up(&self) -> bool {
        self.state.lock().condition == Condition::Up
    }

    /// Grows each time that the model comes up or goes down.
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn why_down(&self) -> String {
        self.why().unwrap_or_default()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Link({:?})", self.state.lock().condition)
    }
}
