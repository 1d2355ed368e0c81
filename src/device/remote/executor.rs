//! A model in a worker process, as batching sees it.

use std::sync::Arc;

use super::channel::Trouble;
use super::link::{Link, Seat};
use super::load::Registered;
use super::supervisor::Shared;
use crate::device::Lifeline as _;
use crate::device::executor::{Executor, Interrupt};
use crate::types::{Error, Reason, Rows, Tensor};

/// Runs a model in a worker process. Dropping it, and the one that it has given for batches ahead, unloads the model there.
pub struct RemoteExecutor {
    registration: Arc<Registration>,
    /// Of the model's channel.
    lane: usize,
    /// The one for batches ahead, until it is asked for.
    ahead: Option<Box<Self>>,
    /// In the worker that is alive, or was when a batch ran last.
    seat: Option<Seat>,
    /// The link's generation that it belongs to.
    generation: u64,
}

impl RemoteExecutor {
    pub(super) fn new(registered: Arc<Registered>, supervisor: Arc<Shared>) -> Self {
        let registration = Arc::new(Registration { registered, supervisor });
        let ahead = Self { registration: Arc::clone(&registration), lane: 1, ahead: None, seat: None, generation: 0 };
        Self { registration, lane: 0, ahead: Some(Box::new(ahead)), seat: None, generation: 0 }
    }

    /// Is the model loaded in a worker that is alive, as far as is known?
    pub fn is_up(&self) -> bool {
        self.registration.link().is_up()
    }

    /// Has the model loaded again, in a worker that was started again, only if `permission` agrees: its files may have become
    /// another version's, which nobody has verified.
    pub fn load_again_if(&self, permission: impl Fn() -> Result<(), Error> + Send + Sync + 'static) {
        self.registration.registered.permit(Box::new(permission));
    }

    /// Tells whether the model is up.
    pub fn link(&self) -> Arc<Link> {
        Arc::clone(self.registration.link())
    }

    /// Takes the seat that has come since, or gives up the one that is gone.
    fn refresh(&mut self) {
        let link = self.registration.link();
        if link.generation() == self.generation {
            return;
        }
        let (generation, fresh) = link.take_fresh(self.lane);
        (self.generation, self.seat) = (generation, fresh);
    }

    fn run_on(&mut self, mut seat: Seat, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        let link = self.registration.link();
        link.set_running(self.lane, Some(Arc::clone(&seat.process)));
        let outcome = seat.lane.run(parts);
        link.set_running(self.lane, None);
        let answered = match outcome {
            Ok(outputs) => Ok(outputs),
            Err(Trouble::Refused(error)) => Err(error),
            Err(Trouble::Lost(why)) => {
                seat.process.kill(&why);
                link.down_since(self.generation, &why);
                let detail = format!("the device's worker was lost with the batch: {why}");
                return Err(Error::new(Reason::DeviceLost, detail));
            }
        };
        self.seat = Some(seat);
        answered
    }
}

impl Executor for RemoteExecutor {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        self.refresh();
        let Some(seat) = self.seat.take() else {
            let why = self.registration.link().why().unwrap_or_else(|| "it has just been lost".to_owned());
            return Err(Error::new(Reason::DeviceLost, format!("the device's worker cannot run the model: {why}")));
        };
        self.run_on(seat, parts)
    }

    fn ahead(&mut self) -> Option<Box<dyn Executor>> {
        self.ahead.take().map(|ahead| ahead as Box<dyn Executor>)
    }

    /// Its batches compute on the worker's cores, not on those of the pool.
    fn is_parallel(&self) -> bool {
        false
    }

    fn interrupt(&self) -> Option<Interrupt> {
        let (link, lane) = (self.link(), self.lane);
        Some(Arc::new(move || link.interrupt(lane)))
    }

    /// After a panic on this side, which may have left an answer unread: the model is loaded anew, on a new channel.
    fn rebuild(&mut self) -> Result<(), Error> {
        self.seat = None;
        let Registration { registered, supervisor } = &*self.registration;
        registered.link().set_running(self.lane, None);
        supervisor.load_again(registered);
        Ok(())
    }
}

/// A model's place in its worker, for the executors that share it.
struct Registration {
    registered: Arc<Registered>,
    supervisor: Arc<Shared>,
}

impl Registration {
    fn link(&self) -> &Arc<Link> {
        self.registered.link()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.supervisor.forget(&self.registered);
        self.link().abandon();
    }
}
