//! A device on a virtual clock, for simulations.

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Duration, timeout};

use super::executor::{Executor, Interrupt, Outcome, guarded};
use crate::types::Rows;

/// How long a batch takes; asked when it is given to the device.
pub(crate) type Timing = Box<dyn FnMut(&[Rows]) -> Duration + Send>;

/// Computes on the calling thread, and takes as much virtual time as it is told, or less where it is interrupted.
pub struct Simulated {
    executor: Box<dyn Executor>,
    timing: Timing,
    interrupted: Arc<Notify>,
    /// Had by the batch that is computed.
    turn: Arc<Semaphore>,
    /// Its second way in.
    pub(super) ahead: Option<Box<Self>>,
}

impl Simulated {
    /// A device that `interrupted` ends the batch of.
    pub(crate) fn new(executor: Box<dyn Executor>, timing: Timing, interrupted: Arc<Notify>) -> Self {
        Self { executor, timing, interrupted, turn: Arc::new(Semaphore::new(1)), ahead: None }
    }

    /// The same with a second way in, where the next batch waits for the one that is computed.
    pub(crate) fn with_ahead(mut self, executor: Box<dyn Executor>, timing: Timing) -> Self {
        let (interrupted, turn) = (Arc::clone(&self.interrupted), Arc::clone(&self.turn));
        self.ahead = Some(Box::new(Self { executor, timing, interrupted, turn, ahead: None }));
        self
    }

    pub(super) fn interrupt(&self) -> Interrupt {
        let interrupted = Arc::clone(&self.interrupted);
        Arc::new(move || interrupted.notify_waiters())
    }

    pub(super) async fn run(&mut self, parts: Vec<Rows>) -> Outcome {
        let takes = (self.timing)(&parts);
        let _turn = self.turn.acquire().await;
        let _either = timeout(takes, self.interrupted.notified()).await;
        let outcome = guarded(&mut *self.executor, &parts);
        (parts, outcome)
    }
}
