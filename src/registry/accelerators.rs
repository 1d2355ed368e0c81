//! The worker processes that models can run in, and which model goes to which.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::batch::Turns;
use crate::device::{Supervisor, WorkerState};

/// The worker processes of a server; none where models run in the server's own process only.
#[derive(Default)]
pub struct Accelerators {
    workers: Vec<Worker>,
    /// Devices that have no process, and why.
    left_out: Vec<(String, String)>,
    start_timeout: Duration,
    /// Held while a process is chosen: two models that are loaded at once are to see each other.
    choosing: Mutex<()>,
}

struct Worker {
    supervisor: Arc<Supervisor>,
    /// At its device, for the models that share it: each holds it.
    turns: Arc<Turns>,
}

/// Where a device stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// Its name.
    pub device: String,
    /// Can models run on it?
    pub ready: bool,
    /// Why not; empty if they can.
    pub detail: String,
}

/// What decides between the processes, the best first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_down: bool,
    models: usize,
    memory_free: Reverse<u64>,
}

impl Accelerators {
    /// These processes, each of which is waited for so long while it starts, and what was left out, with the reasons.
    pub fn new(supervisors: Vec<Arc<Supervisor>>, left_out: Vec<(String, String)>, start_timeout: Duration) -> Self {
        let worker = |supervisor| Worker { supervisor, turns: Arc::default() };
        let workers = supervisors.into_iter().map(worker).collect();
        Self { workers, left_out, start_timeout, choosing: Mutex::default() }
    }

    /// The process that has the fewest models, and of several the one whose device has the most memory free; one that is down
    /// only where all are. Waits for those that are just starting.
    pub(super) fn pick(&self) -> Option<(&Arc<Supervisor>, Arc<Turns>)> {
        for worker in &self.workers {
            if worker.supervisor.state() == WorkerState::Starting {
                let _up = worker.supervisor.wait_up(self.start_timeout);
            }
        }
        let _choosing = self.choosing.lock();
        let worker = self.workers.iter().min_by_key(|worker| worker.rank())?;
        Some((&worker.supervisor, Arc::clone(&worker.turns)))
    }

    /// Where each device stands beside the server's own cores, also those that were left out.
    pub fn states(&self) -> Vec<DeviceState> {
        let workers = self.workers.iter().map(|worker| (worker.supervisor.device(), worker.why_down()));
        let left_out = self.left_out.iter().map(|(device, why)| (device.as_str(), Some(why.clone())));
        let state = |(device, why): (&str, Option<String>)| DeviceState {
            device: device.to_owned(),
            ready: why.is_none(),
            detail: why.unwrap_or_default(),
        };
        workers.chain(left_out).map(state).collect()
    }

    /// What keeps each process alive.
    pub fn supervisors(&self) -> impl Iterator<Item = &Arc<Supervisor>> {
        self.workers.iter().map(|worker| &worker.supervisor)
    }

    /// Ends every process: when nothing runs in them any more.
    pub fn stop(&self) {
        for worker in &self.workers {
            worker.supervisor.stop();
        }
    }
}

impl Worker {
    fn rank(&self) -> Rank {
        // One is our own.
        let models = Arc::strong_count(&self.turns) - 1;
        let memory_free =
            if let WorkerState::Up(about) = self.supervisor.state() { Some(about.memory_free) } else { None };
        Rank { is_down: memory_free.is_none(), models, memory_free: Reverse(memory_free.unwrap_or_default()) }
    }

    /// Why no model can run in it; `None` if it is up.
    fn why_down(&self) -> Option<String> {
        match self.supervisor.state() {
            WorkerState::Up(_) => None,
            WorkerState::Starting => Some("starting".to_owned()),
            WorkerState::Down { why, .. } => Some(format!("down, {why}")),
            WorkerState::Stopped => Some("stopped".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Accelerators, DeviceState, Rank};
    use crate::device::{Supervisor, WorkerEvents, WorkerSettings, WorkerState};

    #[test]
    fn the_fewest_models_come_first_then_the_most_memory_and_those_down_last() {
        let rank = |is_down, models, memory_free| Rank { is_down, models, memory_free: Reverse(memory_free) };
        let sorted = [rank(false, 0, 9), rank(false, 0, 2), rank(false, 1, 99), rank(true, 0, 0)];
        assert!(sorted.is_sorted(), "{sorted:?}");
    }

    /// Hears nothing.
    struct Deaf;

    impl WorkerEvents for Deaf {
        fn changed(&self, _state: &WorkerState) {}
    }

    /// The supervisor of a worker that cannot be started, once that is known.
    fn down(device: &str) -> Arc<Supervisor> {
        let (path, start_timeout) = ("/nonexistent/sconce-worker".into(), Duration::ZERO);
        let settings = WorkerSettings { path, device: device.to_owned(), allow_faults: false, start_timeout };
        let supervisor = Supervisor::start(settings, Arc::new(Deaf));
        while supervisor.state() == WorkerState::Starting {
            std::thread::yield_now();
        }
        supervisor
    }

    #[test]
    fn models_are_spread_and_those_that_have_gone_do_not_count() {
        let accelerators = Accelerators::new(vec![down("cuda:0"), down("cuda:1")], Vec::new(), Duration::ZERO);
        let pick = || accelerators.pick().map(|(supervisor, turns)| (supervisor.device(), turns)).expect("a worker");
        let (first, second) = (pick(), pick());
        assert_eq!((first.0, second.0), ("cuda:0", "cuda:1"));
        let _third = pick();
        drop(second);
        assert_eq!((pick().0, accelerators.states().len()), ("cuda:1", 2));
        assert!(accelerators.states().iter().all(|state| !state.ready && state.detail.starts_with("down, start ")));
        accelerators.stop();
        assert!(accelerators.states().iter().all(|state| state.detail == "stopped"));
    }

    #[test]
    fn what_was_left_out_is_told() {
        let left_out = vec![("cuda".to_owned(), "no GPU".to_owned())];
        let accelerators = Accelerators::new(Vec::new(), left_out, Duration::ZERO);
        let state = DeviceState { device: "cuda".to_owned(), ready: false, detail: "no GPU".to_owned() };
        assert_eq!(accelerators.states(), [state]);
        assert!(accelerators.pick().is_none());
    }
}
