//! The models of a server: the table that requests look in, and what bringing them up and taking them out needs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::accelerators::Accelerators;
use super::budget::Budget;
use super::deployment::Deployment;
use super::lifecycle::{Event, State};
use super::table::Table;
use crate::batch::{Calls, Turns};
use crate::device::Cores;
use crate::monitor::Monitor;

/// Where a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// With the network's tasks.
    Network,
    /// Apart from them, so that it goes on when they are overloaded.
    Apart,
}

/// Starts a task under a name.
pub type Spawn = Arc<dyn Fn(Place, String, Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// What the models of a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Bytes of memory for all of them.
    pub models_bytes_max: u64,
    /// Longest time of a request whose model names none.
    pub timeout: Duration,
}

impl Default for Allowance {
    /// No limit of memory, and a minute for a request.
    fn default() -> Self {
        Self { models_bytes_max: u64::MAX, timeout: Duration::from_mins(1) }
    }
}

/// Where models compute.
pub struct Pools {
    /// Those that serve.
    pub computing: Cores,
    /// Those that are being loaded and warmed up.
    pub loading: Cores,
}

impl Pools {
    /// One pool for both.
    pub fn alike(cores: Cores) -> Self {
        Self { loading: cores.clone(), computing: cores }
    }
}

/// The models of a server.
pub struct Registry {
    pub(super) table: Table,
    pub(super) monitor: Arc<Monitor>,
    pub(super) pools: Pools,
    pub(super) accelerators: Accelerators,
    pub(super) spawn: Spawn,
    pub(super) calls: Arc<Calls>,
    /// At the cores, for models that compute on them in turn.
    pub(super) turns: Arc<Turns>,
    pub(super) budget: Arc<Budget>,
    pub(super) timeout: Duration,
    /// Wakes whoever compares the table with the sources.
    pub(super) nudge: Arc<Notify>,
    /// The server ends: what is brought up from now on is closed at once.
    pub(super) closing: CancellationToken,
    changed: watch::Sender<()>,
    /// Has everything been loaded once, or failed to?
    settled: AtomicBool,
}

impl Registry {
    /// A registry without models, whose models run in this process.
    pub fn new(monitor: Arc<Monitor>, pools: Pools, spawn: Spawn, allowance: Allowance) -> Arc<Self> {
        Self::with_accelerators(monitor, pools, Accelerators::default(), spawn, allowance)
    }

    /// A registry without models, whose models may run in these processes as well.
    pub fn with_accelerators(
        monitor: Arc<Monitor>,
        pools: Pools,
        accelerators: Accelerators,
        spawn: Spawn,
        allowance: Allowance,
    ) -> Arc<Self> {
        Arc::new(Self {
            table: Table::default(),
            monitor,
            pools,
            accelerators,
            spawn,
            calls: Arc::default(),
            turns: Arc::default(),
            budget: Budget::new(allowance.models_bytes_max),
            timeout: allowance.timeout,
            nudge: Arc::default(),
            closing: CancellationToken::new(),
            changed: watch::Sender::new(()),
            settled: AtomicBool::new(false),
        })
    }

    /// The server's calls in progress, which its queues watch.
    pub fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// The table that requests look in.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Tells when a model's state has changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Tells those who watch that readiness may have changed.
    pub fn tell_change(&self) {
        self.changed.send_replace(());
    }

    /// Everything that there was at the start has been loaded, or has failed to.
    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
        self.tell_change();
    }

    /// Has everything that there was at the start been loaded, or failed to, and has the server not begun to end? What
    /// is added later takes no server out of service.
    pub fn is_ready(&self) -> bool {
        self.settled.load(Ordering::Relaxed) && !self.closing.is_cancelled()
    }

    /// The processes that its models run in.
    pub fn accelerators(&self) -> &Accelerators {
        &self.accelerators
    }

    /// Takes every model out of service. What their queues have accepted is still answered.
    pub fn drain(&self) {
        // Before the table is read: what comes into it later is closed by whoever brings it.
        self.closing.cancel();
        for (name, model) in self.table.models().iter() {
            for (version, entry) in model.versions.iter().filter(|(_, entry)| entry.state != State::Draining) {
                if !self.table.advance(&(name.clone(), *version), Event::Drain, None) {
                    warn!(model = %name, %version, state = entry.state.label(), "cannot drain");
                }
                if let Some(deployment) = &entry.deployment {
                    close(deployment);
                }
            }
        }
        self.tell_change();
    }
}

/// Ends a deployment: its queue takes nothing more, and its worker ends when all that waits is answered.
pub(super) fn close(deployment: &Deployment) {
    deployment.instruments.set_ready(false);
    deployment.rungs.close();
}
