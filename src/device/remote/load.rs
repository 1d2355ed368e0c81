//! Loads models in a worker: each that is registered, in each of the worker's lives.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};
use tracing::{info, warn};

use super::channel::Channel;
use super::link::{Condition, Link, Seat};
use super::process::Process;
use super::staging::{Filling, Staging};
use super::supervisor::Shared;
use crate::device::wire::{Broken, Contents, LoadOrder, LoadSettings, Opening, Order, Socket};
use crate::model::Files;
use crate::types::{Error, printable};

/// How long a worker may take to load a model before it is asked again.
const LOAD_MAX: Duration = Duration::from_mins(10);
/// A model that was refused is tried again after so long: memory may be free by then, or a file be back.
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// Deaths while a model was loaded that make it the suspect.
const DEATHS_MAX: u32 = 3;
/// How long a model that seems to kill its worker is left out.
const LEFT_OUT_FOR: Duration = Duration::from_mins(5);
/// Characters of a name or a reason.
const CHARS_MAX: usize = 1024;

/// Tells whether a model may be loaded again from the files that it was loaded from.
pub(super) type Permission = Box<dyn Fn() -> Result<(), Error> + Send + Sync>;

/// A model that is to be in the worker.
pub(super) struct Registered {
    pub(super) id: u64,
    name: String,
    files: Files,
    settings: LoadSettings,
    link: Arc<Link>,
    attempts: Mutex<Attempts>,
    permission: Mutex<Option<Permission>>,
}

/// When a model is due to be loaded.
#[derive(Debug, Default)]
struct Attempts {
    /// The worker's life in which it was last tried.
    life: u64,
    failed: bool,
    not_before: Option<Instant>,
    deaths: u32,
}

impl Attempts {
    fn is_due(&self, life: u64, now: Instant) -> bool {
        (self.life != life || self.failed) && self.not_before.is_none_or(|not_before| not_before <= now)
    }

    fn begin(&mut self, life: u64) {
        (self.life, self.failed, self.not_before) = (life, false, None);
    }

    fn refused(&mut self, now: Instant) {
        (self.failed, self.not_before) = (true, Some(now + REFUSED_FOR));
    }

    fn lost(&mut self, now: Instant) {
        self.deaths += 1;
        (self.failed, self.not_before) = (true, (self.deaths >= DEATHS_MAX).then(|| now + LEFT_OUT_FOR));
    }
}

/// Why a model is not loaded.
enum Unloaded {
    Refused(String),
    /// The worker was lost over it.
    Lost(String),
}

impl From<Broken> for Unloaded {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::TooLong(_) => Self::Refused(broken.to_string()),
            other => Self::Lost(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Unloaded {
    fn from(error: std::io::Error) -> Self {
        Self::Refused(format!("make a channel for the model: {error}"))
    }
}

impl Registered {
    pub(super) fn new(id: u64, name: &str, files: &Files, settings: LoadSettings) -> Self {
        let name = printable(name, CHARS_MAX);
        let (attempts, permission) = (Mutex::default(), Mutex::default());
        Self { id, name, files: files.clone(), settings, link: Arc::default(), attempts, permission }
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(super) fn permit(&self, permission: Permission) {
        *self.permission.lock() = Some(permission);
    }

    pub(super) fn is_due(&self, life: u64, now: Instant) -> bool {
        self.attempts.lock().is_due(life, now)
    }

    /// How often the worker has died while it was loaded: those that never did it come first.
    pub(super) fn deaths(&self) -> u32 {
        self.attempts.lock().deaths
    }

    pub(super) fn load_again(&self) {
        self.attempts.lock().failed = true;
    }

    /// Loads it in the worker of this life. Blocks until the worker has answered or died.
    fn load(&self, process: &Arc<Process>, life: u64) {
        self.attempts.lock().begin(life);
        self.link.loading();
        let begun = Instant::now();
        match self.try_load(process) {
            Ok(channel) => {
                let (took_ms, pid) = (begun.elapsed().as_millis(), process.pid());
                info!(model = self.name, took_ms, pid, "the worker has loaded a model");
                self.attempts.lock().deaths = 0;
                self.link.up(Seat { channel, process: Arc::clone(process) });
            }
            Err(Unloaded::Refused(why)) => {
                warn!(model = self.name, why, "the worker does not load a model");
                self.attempts.lock().refused(Instant::now());
                self.link.refused(&why);
            }
            Err(Unloaded::Lost(why)) => {
                warn!(model = self.name, why, "the worker was lost while it loaded a model");
                process.kill(&format!("{}: {why}", self.name));
                self.attempts.lock().lost(Instant::now());
                self.link.down(&why);
            }
        }
    }

    fn try_load(&self, process: &Arc<Process>) -> Result<Channel, Unloaded> {
        if let Some(permission) = &*self.permission.lock() {
            permission().map_err(|error| Unloaded::Refused(error.detail().to_owned()))?;
        }
        let (mut ours, theirs) = Socket::pair()?;
        let mut staging = Staging::new()?;
        let contents = match &self.files {
            Files::Folder(folder) => {
                let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
                let roots = folder.roots().iter().map(|root| bytes(root)).collect();
                Contents::Folder { path: bytes(folder.path()), roots }
            }
            Files::Memory(files) => stage(files, &mut staging)?,
        };
        let order = Order::Load(LoadOrder { name: self.name.clone(), contents, settings: self.settings.clone() });
        process.order_with(&order, &[theirs.as_fd(), staging.as_fd()])?;
        // Else the channel would not close when the worker dies.
        drop(theirs);
        match ours.receive_within(LOAD_MAX)? {
            Some(Opening::Loaded(signature)) => Ok(Channel::new(ours, staging, signature)),
            Some(Opening::Refused(why)) => Err(Unloaded::Refused(printable(&why, CHARS_MAX))),
            None => Err(Unloaded::Lost(format!("it was not loaded within {LOAD_MAX:?}"))),
        }
    }
}

fn stage(files: &BTreeMap<String, Cow<'static, [u8]>>, staging: &mut Staging) -> Result<Contents, Unloaded> {
    let mut filling = Filling::default();
    let mut places = Vec::with_capacity(files.len());
    for (name, bytes) in files {
        places.push((name.clone(), filling.add(std::iter::once(&**bytes))));
    }
    staging.write(&mut filling)?;
    Ok(Contents::Staged(places))
}

/// Loads what is due, and waits for what will be, until the supervisor is stopped.
pub(super) fn load_all(shared: &Shared) {
    while let Some((registered, process, life)) = shared.next_due() {
        registered.load(&process, life);
        // It may have died since; whoever took the other models down did not see this one.
        if shared.life() != Some(life) {
            registered.link.down("the worker has ended");
        }
    }
}

/// What came of the first load of a model.
pub(super) fn first_outcome(registered: &Registered) -> Condition {
    registered.link.settled()
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{Attempts, LEFT_OUT_FOR, REFUSED_FOR};

    #[test]
    fn a_model_is_loaded_once_in_each_life() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        assert!(attempts.is_due(1, now));
        attempts.begin(1);
        assert!(!attempts.is_due(1, now) && attempts.is_due(2, now));
    }

    #[test]
    fn one_that_was_refused_waits_in_every_life() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        attempts.begin(1);
        attempts.refused(now);
        assert!(!attempts.is_due(1, now) && !attempts.is_due(2, now));
        assert!(attempts.is_due(1, now + REFUSED_FOR));
    }

    #[test]
    fn one_that_kills_its_worker_is_left_out_after_three_deaths() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for life in 1..=2 {
            attempts.begin(life);
            attempts.lost(now);
            assert!(attempts.is_due(life + 1, now));
        }
        attempts.begin(3);
        attempts.lost(now);
        assert!(!attempts.is_due(4, now));
        assert!(attempts.is_due(4, now + LEFT_OUT_FOR));
    }
}
