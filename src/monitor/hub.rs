//! The monitor itself: every deployment's instruments, the server's own gauges, and the page that shows them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::export;
use super::instruments::Instruments;
use super::journey::Journey;
use super::loads::{LoadResult, Loads};
use super::process::unix_seconds;
use super::scores::ScorePlan;
use super::snapshot::Snapshot;
use super::traffic::Traffic;
use super::workers::{WorkerView, Workers};
use crate::types::{ModelName, Version};

/// Model and version of requests that reach no model, and version of a model that has none yet.
pub(super) const UNKNOWN: &str = "unknown";

/// How to monitor.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Count and time requests. Off only to measure what it costs. Default: on.
    pub recording: bool,
    /// Write an access line for each request; [`Monitor::set_access_log`] changes it later. Default: off.
    pub access_log: bool,
    /// Length of the sliding window for percentiles and class shares. Default: 60 s.
    pub window: Duration,
    /// How old a rendered page may be when it is served again, against storms of scrapes. Default: 1 s; 0 in tests.
    pub page_age_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let (window, page_age_max) = (Duration::from_mins(1), Duration::from_secs(1));
        Self { recording: true, access_log: false, window, page_age_max }
    }
}

/// A number about the whole server, which another room keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Requests that are being served.
    RequestsInFlight,
    /// Bytes of the requests that are being served, and of answers not read yet.
    BytesInFlight,
    /// Open client connections.
    Connections,
    /// Connections accepted since the start.
    ConnectionsAccepted,
    /// Connections closed at once because there were too many.
    ConnectionsRefused,
    /// Connections closed because they did not begin with HTTP/2's preface.
    ConnectionsWithoutPreface,
    /// Accepts that failed, such as for want of descriptors.
    AcceptErrors,
    /// Answers that were reset because their client did not read them.
    StalledAnswers,
    /// Lines of the log that were not written.
    LogLinesDropped,
    /// Bytes of memory that the server may use.
    MemoryLimit,
    /// How short memory is: 0, 1 or 2.
    MemoryPressure,
    /// Bytes of memory that the models may take.
    ModelsLimit,
}

impl Reading {
    /// Every reading.
    pub const ALL: [Self; 12] = [
        Self::RequestsInFlight,
        Self::BytesInFlight,
        Self::Connections,
        Self::ConnectionsAccepted,
        Self::ConnectionsRefused,
        Self::ConnectionsWithoutPreface,
        Self::AcceptErrors,
        Self::StalledAnswers,
        Self::LogLinesDropped,
        Self::MemoryLimit,
        Self::MemoryPressure,
        Self::ModelsLimit,
    ];
}

type Read = Box<dyn Fn() -> u64 + Send + Sync>;
/// Model and version.
type Key = (String, String);

/// Everything that is observed in one server.
pub struct Monitor {
    settings: Settings,
    access_log: AtomicBool,
    origin: Instant,
    started: f64,
    unknown: Traffic,
    panics: AtomicU64,
    readings: Mutex<[Option<Read>; Reading::ALL.len()]>,
    table: Mutex<Table>,
    workers: Mutex<Workers>,
    page: Mutex<Option<(Instant, String)>>,
}

#[derive(Default)]
struct Table {
    deployments: BTreeMap<Key, Deployment>,
    loads: BTreeMap<Key, Loads>,
}

struct Deployment {
    instruments: Arc<Instruments>,
    /// How often it was deployed and not yet retired: during a reload two deployments share the series.
    holders: usize,
}

impl Monitor {
    /// A monitor of a server that starts now.
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            access_log: AtomicBool::new(settings.access_log),
            settings,
            origin: Instant::now(),
            started: unix_seconds(),
            unknown: Traffic::new(),
            panics: AtomicU64::new(0),
            readings: Mutex::default(),
            table: Mutex::default(),
            workers: Mutex::default(),
            page: Mutex::default(),
        })
    }

    /// Instruments of a model and version; all their series are shown from now on, at zero.
    ///
    /// The same pair again (a reload) goes on counting where it stands; its scores start anew if `plan` is another
    /// one. Call [`Self::retire`] once for each call.
    pub fn deployment(&self, model: &ModelName, version: Version, plan: &ScorePlan) -> Arc<Instruments> {
        let key = (model.to_string(), version.to_string());
        let mut table = self.table.lock();
        table.loads.entry(key.clone()).or_default();
        if let Some(deployment) = table.deployments.get_mut(&key) {
            deployment.holders += 1;
            if deployment.instruments.plan != *plan {
                let anew = deployment.instruments.with_plan(plan, self.settings.window, self.origin);
                deployment.instruments = Arc::new(anew);
            }
            return deployment.instruments.clone();
        }
        let instruments = Arc::new(Instruments::new(key.clone(), plan, self.settings.window, self.origin));
        table.deployments.insert(key, Deployment { instruments: instruments.clone(), holders: 1 });
        instruments
    }

    /// Ends what [`Self::deployment`] began: when nothing is deployed under the pair any more, its series disappear.
    pub fn retire(&self, instruments: &Instruments) {
        let key = (instruments.model.clone(), instruments.version.clone());
        let mut table = self.table.lock();
        let Some(deployment) = table.deployments.get_mut(&key) else { return };
        deployment.holders -= 1;
        if deployment.holders == 0 {
            table.deployments.remove(&key);
            table.loads.remove(&key);
        }
    }

    /// Counts an attempt to load a model. `model` comes from the repository or the configuration, never from a client;
    /// `version` is `None` where the model failed before a version was found.
    pub fn model_loaded(
        &self,
        model: &str,
        version: Option<Version>,
        result: LoadResult,
        load: Duration,
        warmup: Duration,
    ) {
        let key = load_key(model, version);
        self.table.lock().loads.entry(key).or_default().book(result, load, warmup);
    }

    /// Drops the load series of a model that is not deployed and has left the repository.
    pub fn forget(&self, model: &str, version: Option<Version>) {
        let key = load_key(model, version);
        let mut table = self.table.lock();
        if !table.deployments.contains_key(&key) {
            table.loads.remove(&key);
        }
    }

    /// Reads a number about the whole server whenever it is shown. `read` must be quick and must not call the monitor.
    pub fn observe(&self, which: Reading, read: impl Fn() -> u64 + Send + Sync + 'static) {
        // One place for each, in order of declaration.
        self.readings.lock()[which as usize] = Some(Box::new(read));
    }

    /// Shows a worker's process from now on.
    pub fn watch_worker(&self, view: Arc<dyn WorkerView>) {
        self.workers.lock().views.push(view);
    }

    /// Shows that the server uses no GPU, though it looked for one, and what is missing.
    pub fn no_gpu(&self, missing: &'static str) {
        self.workers.lock().no_gpu = Some(missing);
    }

    /// Begins to observe a request.
    pub fn journey(self: &Arc<Self>, arrived: Instant, deadline: Option<Instant>) -> Journey {
        let observed = self.recording() || self.access_log();
        Journey::new(observed.then(|| self.clone()), arrived, deadline)
    }

    /// Counts a panic that was caught.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    /// Switches the access line on or off.
    pub fn set_access_log(&self, on: bool) {
        self.access_log.store(on, Relaxed);
    }

    /// The page for Prometheus, as [`super::CONTENT_TYPE`], at most [`Settings::page_age_max`] old.
    ///
    /// Blocks other callers while it renders: about 1 ms for each two models, so not for a runtime thread where there
    /// are many.
    pub fn render(&self, now: Instant) -> String {
        let mut page = self.page.lock();
        if let Some((rendered, text)) = &*page
            && now.saturating_duration_since(*rendered) < self.settings.page_age_max
        {
            return text.clone();
        }
        let text = export::render(self, now);
        *page = Some((now, text.clone()));
        text
    }

    pub(super) fn recording(&self) -> bool {
        self.settings.recording
    }

    pub(super) fn access_log(&self) -> bool {
        self.access_log.load(Relaxed)
    }

    pub(super) fn unknown(&self) -> &Traffic {
        &self.unknown
    }

    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// When the server started, in seconds since 1970.
    pub(super) fn started(&self) -> f64 {
        self.started
    }

    pub(super) fn read(&self, which: Reading) -> u64 {
        self.readings.lock()[which as usize].as_ref().map_or(0, |read| read())
    }

    pub(super) fn workers(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock()
    }

    pub(super) fn snapshots(&self, now: Instant) -> Vec<Snapshot> {
        // The lock is not held while reading: queues have locks of their own.
        let instruments: Vec<_> =
            self.table.lock().deployments.values().map(|entry| entry.instruments.clone()).collect();
        instruments.iter().map(|instruments| instruments.snapshot(now)).collect()
    }

    pub(super) fn loads(&self) -> Vec<(Key, Loads)> {
        self.table.lock().loads.iter().map(|(key, loads)| (key.clone(), *loads)).collect()
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Monitor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn load_key(model: &str, version: Option<Version>) -> Key {
    (model.to_owned(), version.map_or_else(|| UNKNOWN.to_owned(), |version| version.to_string()))
}
