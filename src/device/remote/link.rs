//! What an executor and the supervisor of its worker share: whether the model is up, and its channel when it is new.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use super::channel::Channel;
use super::process::Process;
use crate::device::Lifeline;

/// Who is told whether a model is up, and what it was told last.
struct Watcher {
    tell: Box<dyn Fn(bool) + Send + Sync>,
    told: bool,
}

/// Whether a model is loaded in its worker.
#[derive(Default)]
pub struct Link {
    state: Mutex<State>,
    settled: Condvar,
    /// Grows with each change of what an executor has to know, so that a look at it need not lock.
    generation: AtomicU64,
    watchers: Mutex<Vec<Watcher>>,
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

    /// Has `tell` called with whether the model is up: now, and whenever that changes, from threads of the supervisor or of the
    /// device. It must not wait for anything.
    pub fn watch(&self, tell: impl Fn(bool) + Send + Sync + 'static) {
        let mut watchers = self.watchers.lock();
        let told = self.is_up();
        tell(told);
        watchers.push(Watcher { tell: Box::new(tell), told });
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
        if self.generation() == generation {
            self.down(why);
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
        let mut state = self.state.lock();
        state.condition = condition;
        let unused = std::mem::replace(&mut state.fresh, fresh);
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(state);
        drop(unused);
        self.settled.notify_all();
        self.tell_watchers();
    }

    /// Changes may come from two threads at once: what is told is how it is, and not what this one made of it.
    fn tell_watchers(&self) {
        let mut watchers = self.watchers.lock();
        let is_up = self.is_up();
        for watcher in watchers.iter_mut().filter(|watcher| watcher.told != is_up) {
            watcher.told = is_up;
            (watcher.tell)(is_up);
        }
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
