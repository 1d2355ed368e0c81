//! A model in a worker process, as batching sees it.

use std::sync::Arc;

use super::channel::Trouble;
use super::link::{Link, Seat};
use super::load::Registered;
use super::supervisor::Shared;
use crate::device::Lifeline as _;
use crate::device::executor::{Executor, Interrupt};
use crate::types::{Error, Reason, Rows, Tensor};

/// Runs a model in a worker process. Dropping it unloads the model there.
pub struct RemoteExecutor {
    registered: Arc<Registered>,
    supervisor: Arc<Shared>,
    /// In the worker that is alive, or was when a batch ran last.
    seat: Option<Seat>,
    /// The link's generation that it belongs to.
    generation: u64,
}

impl RemoteExecutor {
    pub(super) fn new(registered: Arc<Registered>, supervisor: Arc<Shared>) -> Self {
        Self { registered, supervisor, seat: None, generation: 0 }
    }

    /// Is the model loaded in a worker that is alive, as far as is known?
    pub fn is_up(&self) -> bool {
        self.registered.link().is_up()
    }

    /// Has the model loaded again, in a worker that was started again, only if `permission` agrees: its files may have become
    /// another version's, which nobody has verified.
    pub fn load_again_if(&self, permission: impl Fn() -> Result<(), Error> + Send + Sync + 'static) {
        self.registered.permit(Box::new(permission));
    }

    /// Tells whether the model is up.
    pub fn link(&self) -> Arc<Link> {
        Arc::clone(self.registered.link())
    }

    /// Takes the seat that has come since, or gives up the one that is gone.
    fn refresh(&mut self) {
        let link = self.registered.link();
        if link.generation() == self.generation {
            return;
        }
        let (generation, fresh) = link.take_fresh();
        (self.generation, self.seat) = (generation, fresh);
    }

    fn run_on(seat: &mut Seat, link: &Link, parts: &[Rows]) -> Result<Vec<Tensor>, Trouble> {
        link.set_running(Some(Arc::clone(&seat.process)));
        let outcome = seat.channel.run(parts);
        link.set_running(None);
        outcome
    }
}

impl Executor for RemoteExecutor {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        self.refresh();
        let link = self.registered.link();
        let Some(seat) = &mut self.seat else {
            let why = link.why().unwrap_or_else(|| "it has just been lost".to_owned());
            return Err(Error::new(Reason::DeviceLost, format!("the device's worker cannot run the model: {why}")));
        };
        match Self::run_on(seat, link, parts) {
            Ok(outputs) => Ok(outputs),
            Err(Trouble::Refused(error)) => Err(error),
            Err(Trouble::Lost(why)) => {
                seat.process.kill(&why);
                self.seat = None;
                self.registered.link().down_since(self.generation, &why);
                Err(Error::new(Reason::DeviceLost, format!("the device's worker was lost with the batch: {why}")))
            }
        }
    }

    /// Its batches compute on the worker's cores, not on those of the pool.
    fn is_parallel(&self) -> bool {
        false
    }

    fn interrupt(&self) -> Option<Interrupt> {
        let link = self.link();
        Some(Arc::new(move || link.interrupt()))
    }

    /// After a panic on this side, which may have left an answer unread: the model is loaded anew, on a new channel.
    fn rebuild(&mut self) -> Result<(), Error> {
        self.seat = None;
        self.registered.link().set_running(None);
        self.supervisor.load_again(&self.registered);
        Ok(())
    }
}

impl Drop for RemoteExecutor {
    fn drop(&mut self) {
        self.supervisor.forget(&self.registered);
    }
}
