//! A device as the worker sees it: an executor inline, or on an OS thread of its own.

use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;
use tracing::error;

use super::cores::Cores;
use super::executor::{Executor, Fault, Interrupt, Outcome, guarded};
use crate::types::{Error, Reason, Rows};

/// Something that runs one batch at a time.
pub enum Device {
    /// On the calling thread: for models whose batches take less than the hop to another thread costs.
    Inline(Box<dyn Executor>),
    /// On its own thread, with the machine's cores behind it.
    Thread(DeviceThread),
    /// On the calling thread, in virtual time: for simulations.
    #[cfg(test)]
    Simulated(super::simulated::Simulated),
}

impl Device {
    /// A device on an OS thread of its own, that computes on `cores`.
    ///
    /// Errors: the thread cannot be started.
    pub fn on_thread(name: &str, executor: Box<dyn Executor>, cores: Cores) -> std::io::Result<Self> {
        Ok(Self::Thread(DeviceThread::start(name, executor, cores)?))
    }

    /// A second way into the same device, for the batch that comes next, which is copied there while one is computed; once,
    /// and only where something is gained by it.
    pub fn ahead(&mut self) -> Option<Self> {
        match self {
            Self::Thread(thread) => thread.ahead.take().map(|ahead| Self::Thread(*ahead)),
            Self::Inline(_) => None,
            #[cfg(test)]
            Self::Simulated(simulated) => simulated.ahead.take().map(|ahead| Self::Simulated(*ahead)),
        }
    }

    /// Does it compute on the machine's cores, which other models want as well?
    pub fn shares_cores(&self) -> bool {
        match self {
            Self::Thread(thread) => thread.is_parallel,
            // On the network's threads, whose turns are the runtime's.
            Self::Inline(_) => false,
            #[cfg(test)]
            Self::Simulated(_) => true,
        }
    }

    /// What ends a batch that takes too long, from outside; `None` where nothing can.
    pub fn interrupt(&self) -> Option<Interrupt> {
        match self {
            Self::Thread(thread) => thread.interrupt.clone(),
            Self::Inline(_) => None,
            #[cfg(test)]
            Self::Simulated(simulated) => Some(simulated.interrupt()),
        }
    }

    /// Elements that are computed beside those of a batch of this size, because only some sizes can be run: none on
    /// processors, where rows are packed.
    pub fn padding(&self, _size: usize) -> usize {
        0
    }

    /// Runs a batch.
    ///
    /// Not cancel safe: dropping it loses the answer; the device is free again when the batch has ended.
    pub async fn run(&mut self, parts: Vec<Rows>) -> Outcome {
        match self {
            Self::Inline(executor) => {
                let outcome = guarded(&mut **executor, &parts);
                (parts, outcome)
            }
            Self::Thread(thread) => thread.run(parts).await,
            #[cfg(test)]
            Self::Simulated(simulated) => simulated.run(parts).await,
        }
    }
}

/// The sending side of a device's thread.
pub struct DeviceThread {
    jobs: mpsc::SyncSender<Work>,
    is_parallel: bool,
    interrupt: Option<Interrupt>,
    /// The thread of the executor for batches ahead.
    ahead: Option<Box<Self>>,
}

struct Work {
    parts: Vec<Rows>,
    done: oneshot::Sender<Outcome>,
}

impl DeviceThread {
    fn start(name: &str, mut executor: Box<dyn Executor>, cores: Cores) -> std::io::Result<Self> {
        let ahead = executor.ahead().map(|ahead| Self::start(name, ahead, cores.clone())).transpose()?.map(Box::new);
        let (is_parallel, interrupt) = (executor.is_parallel(), executor.interrupt());
        // One batch at a time: the worker waits for each answer, so that one place is enough.
        let (jobs, inbox) = mpsc::sync_channel::<Work>(1);
        let run = move || serve(executor, &cores, &inbox);
        thread::Builder::new().name(format!("device-{name}")).spawn(run)?;
        Ok(Self { jobs, is_parallel, interrupt, ahead })
    }

    async fn run(&mut self, parts: Vec<Rows>) -> Outcome {
        let gone = || {
            let error = Error::new(Reason::Panic, "the model's thread has ended");
            (Vec::new(), Err(Fault { error, panicked: true }))
        };
        let (done, outcome) = oneshot::channel();
        match self.jobs.try_send(Work { parts, done }) {
            Ok(()) => outcome.await.unwrap_or_else(|_| gone()),
            Err(_) => gone(),
        }
    }
}

fn serve(mut executor: Box<dyn Executor>, cores: &Cores, inbox: &mpsc::Receiver<Work>) {
    while let Ok(Work { parts, done }) = inbox.recv() {
        let parallel = executor.is_parallel();
        let mut run = || guarded(&mut *executor, &parts);
        let outcome = if parallel { cores.install(run) } else { run() };
        if done.send((parts, outcome)).is_err() {
            error!("a batch ended after its worker had gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use super::{Cores, Device, Executor};
    use crate::types::{Error, Reason, Rows, Tensor};

    /// Panics, and panics again when it should begin anew.
    struct Hopeless;

    impl Executor for Hopeless {
        fn run(&mut self, _parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
            // Not `panic!`, whose message would fill the screen.
            resume_unwind(Box::new("on a batch"))
        }

        fn rebuild(&mut self) -> Result<(), Error> {
            resume_unwind(Box::new("for good"))
        }
    }

    #[tokio::test]
    async fn a_thread_that_has_ended_fails_every_batch() {
        let cores = Cores::new("test", 1).expect("a pool");
        let mut device = Device::on_thread("test", Box::new(Hopeless), cores).expect("a thread");
        for _ in 0..2 {
            let fault = device.run(Vec::new()).await.1.expect_err("no thread");
            let told = (fault.error.reason(), fault.error.detail());
            assert_eq!(told, (Reason::Panic, "the model's thread has ended"));
        }
    }
}
