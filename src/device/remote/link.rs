//! What an executor and the supervisor of its worker share: whether the model is up, and its channel when it is new.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::channel::Channel;
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
    /// What the executor has not taken yet.
    fresh: Option<Seat>,
    /// Where a batch is running.
    running: Option<Arc<Process>>,
}

/// A model's channel, and the process at its other end.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) channel: Channel,
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
        self.change(Condition::Loading, None);
    }

    pub(super) fn up(&self, seat: Seat) {
        self.change(Condition::Up, Some(seat));
    }

    pub(super) fn down(&self, why: &str) {
        self.change(Condition::Down(why.to_owned()), None);
    }

    /// As [`Link::down`], unless it has changed since this generation.
    pub(super) fn down_since(&self, generation: u64, why: &str) {
        let state = self.state.lock();
        if self.generation() == generation {
            self.change_locked(state, Condition::Down(why.to_owned()), None);
        }
    }

    pub(super) fn refused(&self, why: &str) {
        self.change(Condition::Refused(why.to_owned()), None);
    }

    /// Waits until it is not being loaded.
    pub(super) fn settled(&self) -> Condition {
        let mut state = self.state.lock();
        self.settled.wait_while(&mut state, |state| state.condition == Condition::Loading);
        state.condition.clone()
    }

    /// What has come since an executor looked, and the generation it belongs to.
    pub(super) fn take_fresh(&self) -> (u64, Option<Seat>) {
        let mut state = self.state.lock();
        (self.generation(), state.fresh.take())
    }

    pub(super) fn set_running(&self, process: Option<Arc<Process>>) {
        self.state.lock().running = process;
    }

    /// Kills the process in which a batch is running; nothing if none is.
    pub(super) fn interrupt(&self) {
        if let Some(process) = self.state.lock().running.as_ref() {
            process.kill("a batch was not done in time");
        }
    }

    fn change(&self, condition: Condition, fresh: Option<Seat>) {
        self.change_locked(self.state.lock(), condition, fresh);
    }

    fn change_locked(&self, mut state: MutexGuard<'_, State>, condition: Condition, fresh: Option<Seat>) {
        state.condition = condition;
        let unused = std::mem::replace(&mut state.fresh, fresh);
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
