//! Starts a worker process, watches it, starts it again when it has died, and loads its models again.
//!
//! Two threads: one lives the worker's lives, one after the other (`life.rs`), one loads models in it (`load.rs`). Both end
//! with the supervisor.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use parking_lot::{Condvar, Mutex};
use tokio::time::{Duration, Instant};
use tracing::error;

use super::backoff::random;
use super::executor::RemoteExecutor;
use super::life;
use super::link::Condition;
use super::load::{Registered, first_outcome, load_all};
use super::process::{Process, WorkerSettings};
use crate::device::wire::{FaultInjection, Hello, LoadSettings, Order};
use crate::model::Files;
use crate::types::{Error, Reason};

/// How long the end of a worker is waited for, which was killed.
const END_MAX: Duration = Duration::from_secs(2);
/// How long a worker may take to obey an order to fail.
const OBEY_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether a model that was refused may be tried again.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The device behind a worker.
pub type DeviceInfo = Hello;

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// Its process has been started and has not said what it is.
    Starting,
    /// It is there.
    Up(DeviceInfo),
    /// It has died, or could not be started.
    Down {
        /// Why.
        why: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// It has ended with its supervisor.
    Stopped,
}

/// Hears of a worker's changes, on its supervisor's thread, which must not be kept waiting.
pub trait WorkerEvents: Send + Sync {
    /// The worker is in another state.
    fn changed(&self, state: &WorkerState);
}

/// Keeps one worker process alive. Dropping it ends the process.
pub struct Supervisor {
    shared: Arc<Shared>,
    /// The thread on which events are told: it cannot wait for itself.
    watching: Option<ThreadId>,
}

/// What the supervisor's threads and the executors share.
pub(super) struct Shared {
    settings: WorkerSettings,
    events: Arc<dyn WorkerEvents>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    state: WorkerState,
    /// From its start to its end.
    process: Option<Arc<Process>>,
    /// Counts processes that were started.
    life: u64,
    stopped: bool,
    /// Orders to fail that were obeyed.
    obeyed: u64,
    models: BTreeMap<u64, Arc<Registered>>,
    next_id: u64,
}

impl Supervisor {
    /// Starts a worker, now and whenever it has died. Never waits and never fails: the states tell.
    pub fn start(settings: WorkerSettings, events: Arc<dyn WorkerEvents>) -> Arc<Self> {
        let inner = Inner {
            state: WorkerState::Starting,
            process: None,
            life: 0,
            stopped: false,
            obeyed: 0,
            models: BTreeMap::new(),
            next_id: 0,
        };
        let shared = Arc::new(Shared { settings, events, inner: Mutex::new(inner), changed: Condvar::new() });
        let watching = shared.start_threads().unwrap_or_else(|error| {
            error!(%error, "start the threads that watch a worker");
            shared.become_stopped();
            None
        });
        Arc::new(Self { shared, watching })
    }

    /// The device that the worker computes on.
    pub fn device(&self) -> &str {
        &self.shared.settings.device
    }

    /// What the worker is doing.
    pub fn state(&self) -> WorkerState {
        self.shared.inner.lock().state.clone()
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.shared.inner.lock().process.as_ref().map(|process| process.pid())
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u64 {
        self.shared.inner.lock().life.saturating_sub(1)
    }

    /// Waits until the worker is up; false if it is not within this time, or never will be.
    pub fn wait_up(&self, at_most: Duration) -> bool {
        let waits = |inner: &mut Inner| !matches!(inner.state, WorkerState::Up(_) | WorkerState::Stopped);
        let mut inner = self.shared.inner.lock();
        self.shared.changed.wait_while_for(&mut inner, waits, at_most);
        matches!(inner.state, WorkerState::Up(_))
    }

    /// Has a model loaded whenever the worker is up, and does not wait for it: until it is there, batches fail with
    /// [`Reason::DeviceLost`].
    pub fn register(&self, name: &str, files: &Files, settings: LoadSettings) -> RemoteExecutor {
        let registered = self.shared.register(name, files, settings);
        RemoteExecutor::new(registered, Arc::clone(&self.shared))
    }

    /// As [`Supervisor::register`], but waits until the model is there.
    ///
    /// Errors: the worker refused it ([`Reason::Model`], with the file and what is wrong), or is not up
    /// ([`Reason::DeviceLost`]).
    pub fn load(&self, name: &str, files: &Files, settings: LoadSettings) -> Result<RemoteExecutor, Error> {
        let registered = self.shared.register(name, files, settings);
        let executor = RemoteExecutor::new(Arc::clone(&registered), Arc::clone(&self.shared));
        match first_outcome(&registered) {
            Condition::Refused(why) => Err(Error::new(Reason::Model, why)),
            Condition::Down(why) => {
                Err(Error::new(Reason::DeviceLost, format!("the device's worker is not up: {why}")))
            }
            Condition::Loading | Condition::Up => Ok(executor),
        }
    }

    /// Has the worker fail, and waits until it does. Errors: it was not started for that, or is not up.
    pub fn inject(&self, fault: FaultInjection) -> Result<(), Error> {
        if !self.shared.settings.allow_faults {
            return Err(Error::new(Reason::Unsupported, "the worker was not started with faults allowed"));
        }
        let process = self.shared.process()?;
        let (obeyed, life) = {
            let inner = self.shared.inner.lock();
            (inner.obeyed, inner.life)
        };
        process.order(&Order::Fault(fault)).map_err(|broken| lost(&broken.to_string()))?;
        let mut inner = self.shared.inner.lock();
        let waits = |inner: &mut Inner| inner.obeyed == obeyed && inner.life == life && inner.process.is_some();
        if self.shared.changed.wait_while_for(&mut inner, waits, OBEY_MAX).timed_out() {
            return Err(lost("it did not obey an order to fail"));
        }
        Ok(())
    }

    /// Says to the worker what no frame is: it ends, and is started again. Errors: it is not up.
    pub fn send_garbage(&self) -> Result<(), Error> {
        let garbage: Vec<u8> = (0..8).flat_map(|_| random().to_le_bytes()).collect();
        self.shared.process()?.send_garbage(&garbage).map_err(|broken| lost(&broken.to_string()))
    }

    /// Ends the process at once, as a watchdog does; it is started again.
    pub fn kill(&self) {
        if let Ok(process) = self.shared.process() {
            process.kill("it was told to");
        }
    }

    /// Ends the process, and waits for a moment until it has ended; it is not started again.
    pub fn stop(&self) {
        let mut inner = self.shared.inner.lock();
        inner.stopped = true;
        if let Some(process) = &inner.process {
            process.kill("its supervisor has stopped");
        }
        self.shared.changed.notify_all();
        if self.watching != Some(thread::current().id()) {
            let waits = |inner: &mut Inner| inner.state != WorkerState::Stopped;
            self.shared.changed.wait_while_for(&mut inner, waits, END_MAX);
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lost(why: &str) -> Error {
    Error::new(Reason::DeviceLost, format!("the device's worker is not up: {why}"))
}

impl Shared {
    fn start_threads(self: &Arc<Self>) -> io::Result<Option<ThreadId>> {
        let (watching, loading) = (Arc::clone(self), Arc::clone(self));
        let name = format!("worker-{}", self.settings.device);
        let thread = thread::Builder::new().name(name).spawn(move || life::live(&watching))?;
        thread::Builder::new().name("worker-load".to_owned()).spawn(move || load_all(&loading))?;
        Ok(Some(thread.thread().id()))
    }

    pub(super) fn settings(&self) -> &WorkerSettings {
        &self.settings
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.inner.lock().stopped
    }

    /// A process has been started: kills it if nobody wants it any more.
    pub(super) fn started(&self, process: &Arc<Process>) {
        let mut inner = self.inner.lock();
        inner.life += 1;
        inner.process = Some(Arc::clone(process));
        if inner.stopped {
            process.kill("its supervisor has stopped");
        }
    }

    pub(super) fn become_starting(&self) {
        self.change(&WorkerState::Starting);
    }

    pub(super) fn become_up(&self, hello: Hello) {
        self.change(&WorkerState::Up(hello));
    }

    /// It is going down: nobody may begin with it any more.
    pub(super) fn lose(&self, why: &str) {
        let models: Vec<_> = {
            let mut inner = self.inner.lock();
            inner.process = None;
            inner.models.values().cloned().collect()
        };
        self.changed.notify_all();
        for model in models {
            model.link().down(why);
        }
    }

    /// It is down; waits until it is to be started again, or never.
    pub(super) fn become_down(&self, why: String, retry_in: Duration) {
        self.change(&WorkerState::Down { why, retry_in });
        let mut inner = self.inner.lock();
        self.changed.wait_while_for(&mut inner, |inner| !inner.stopped, retry_in);
    }

    pub(super) fn become_stopped(&self) {
        self.inner.lock().stopped = true;
        self.lose("the worker has been stopped");
        self.change(&WorkerState::Stopped);
    }

    pub(super) fn obeyed(&self) {
        self.inner.lock().obeyed += 1;
        self.changed.notify_all();
    }

    fn change(&self, state: &WorkerState) {
        self.inner.lock().state = state.clone();
        self.changed.notify_all();
        self.events.changed(state);
    }

    /// The life of a worker that is up.
    pub(super) fn life(&self) -> Option<u64> {
        let inner = self.inner.lock();
        inner.process.as_ref().map(|_| inner.life)
    }

    fn process(&self) -> Result<Arc<Process>, Error> {
        let inner = self.inner.lock();
        inner.process.clone().ok_or_else(|| lost("it is being started"))
    }

    fn register(&self, name: &str, files: &Files, settings: LoadSettings) -> Arc<Registered> {
        let mut inner = self.inner.lock();
        inner.next_id += 1;
        let registered = Arc::new(Registered::new(inner.next_id, name, files, settings));
        match &inner.state {
            WorkerState::Up(_) if inner.process.is_some() => {}
            WorkerState::Down { why, .. } => registered.link().down(why),
            _ => registered.link().down("it is being started"),
        }
        inner.models.insert(registered.id, Arc::clone(&registered));
        self.changed.notify_all();
        registered
    }

    pub(super) fn forget(&self, registered: &Registered) {
        self.inner.lock().models.remove(&registered.id);
    }

    pub(super) fn load_again(&self, registered: &Registered) {
        registered.load_again();
        self.changed.notify_all();
    }

    /// Waits for a model to load, and the worker in which; `None` when the supervisor has stopped.
    pub(super) fn next_due(&self) -> Option<(Arc<Registered>, Arc<Process>, u64)> {
        let mut inner = self.inner.lock();
        loop {
            if inner.stopped {
                return None;
            }
            if let Some((registered, process)) = inner.due(Instant::now()) {
                return Some((registered, process, inner.life));
            }
            self.changed.wait_for(&mut inner, LOOK_EVERY);
        }
    }
}

impl Inner {
    fn due(&self, now: Instant) -> Option<(Arc<Registered>, Arc<Process>)> {
        let WorkerState::Up(_) = self.state else { return None };
        let process = self.process.as_ref()?;
        let due = self.models.values().filter(|model| model.is_due(self.life, now));
        due.min_by_key(|model| model.deaths()).map(|model| (Arc::clone(model), Arc::clone(process)))
    }
}
