//! The worker processes that models can run in, and which model goes to which.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::batch::Turns;
use crate::device::{Supervisor, WorkerState};

/// The worker processes of a server; none where models run in the server's own process only.
#[derive(Default)]
pub struct Accelerators {
    workers: Vec<Worker>,
    start_timeout: Duration,
}

struct Worker {
    supervisor: Arc<Supervisor>,
    /// At its device, for the models that share it.
    turns: Arc<Turns>,
    /// Models that were given to it.
    models: AtomicUsize,
}

impl Accelerators {
    /// These processes, each of which is waited for so long while it starts.
    pub fn new(supervisors: Vec<Arc<Supervisor>>, start_timeout: Duration) -> Self {
        let worker = |supervisor| Worker { supervisor, turns: Arc::default(), models: AtomicUsize::new(0) };
        Self { workers: supervisors.into_iter().map(worker).collect(), start_timeout }
    }

    /// The process that has been given the fewest models. Waits for one that is just starting.
    pub(super) fn pick(&self) -> Option<(&Arc<Supervisor>, &Arc<Turns>)> {
        let worker = self.workers.iter().min_by_key(|worker| worker.models.load(Relaxed))?;
        worker.models.fetch_add(1, Relaxed);
        if worker.supervisor.state() == WorkerState::Starting {
            let _up = worker.supervisor.wait_up(self.start_timeout);
        }
        Some((&worker.supervisor, &worker.turns))
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
