//! How far a device is trusted with a version's batches: what its failures teach, and whom they are told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::batch::{Listener, Queue, Ran, Suspects};
use crate::config::BreakerConfig;
use crate::device::Lifeline;
use crate::guard::{Admit, Breaker, BreakerState, Call, Pass, Quarantine, Verdict, Watchdog};
use crate::monitor::{BatchCounts, Instruments, RungCounts, RungFailure};
use crate::types::{BatchReport, Error, Reason, Rows, RungKind};

/// A batch that takes longer than this part of the time after which it is overdue is slow.
const SLOW_ONE_IN: u32 = 2;

/// Of slow batches one in so many is learned from: what is slow for a moment must not become usual, what stays slow must.
const SLOW_LEARNED_ONE_IN: u64 = 64;

/// The health of one device, for one version of a model.
pub(super) struct Health {
    name: RungKind,
    instruments: Arc<Instruments>,
    counts: Arc<RungCounts>,
    breaker: Mutex<Breaker>,
    watchdog: Mutex<Watchdog>,
    quarantine: Quarantine,
    /// The process that it is, if it is one.
    link: Option<Arc<dyn Lifeline>>,
    /// The process that its breaker knows.
    generation: AtomicU64,
    /// Is there another rung for its requests?
    has_next: bool,
    queue: OnceLock<Weak<Queue>>,
    /// Slow batches.
    slow: AtomicU64,
    suspended: AtomicBool,
}

/// What a device is known by.
pub(super) struct Identity {
    pub(super) name: RungKind,
    pub(super) link: Option<Arc<dyn Lifeline>>,
    /// Is there another rung for its requests?
    pub(super) has_next: bool,
}

impl Health {
    pub(super) fn new(identity: Identity, instruments: &Arc<Instruments>, config: &BreakerConfig) -> Self {
        let Identity { name, link, has_next } = identity;
        Self {
            name,
            instruments: Arc::clone(instruments),
            counts: instruments.rung(name),
            breaker: Mutex::new(Breaker::new(config)),
            watchdog: Mutex::new(Watchdog::default()),
            quarantine: Quarantine::default(),
            generation: AtomicU64::new(link.as_ref().map_or(0, |link| link.generation())),
            link,
            has_next,
            queue: OnceLock::new(),
            slow: AtomicU64::new(0),
            suspended: AtomicBool::new(false),
        }
    }

    /// Its rows wait here; called once.
    pub(super) fn serves(&self, queue: &Arc<Queue>) {
        self.counts.set_batch_size_max(queue.batch_size_max());
        let _once = self.queue.set(Arc::downgrade(queue));
    }

    pub(super) fn counts(&self) -> &Arc<RungCounts> {
        &self.counts
    }

    /// Why its process is not there, if it is one that is not.
    pub(super) fn down(&self) -> Option<String> {
        self.link.as_ref().filter(|link| !link.is_up()).map(|link| link.why_down())
    }

    pub(super) fn is_process(&self) -> bool {
        self.link.is_some()
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        self.breaker.lock().state(now)
    }

    /// May it be asked? `None` is yes, whatever its breaker says: there is nobody else.
    ///
    /// Errors: its process is down, or its breaker is open.
    pub(super) fn admit(&self, now: Instant) -> Result<Option<Pass>, Error> {
        self.meet_process()?;
        let admit = self.breaker.lock().admit(now);
        let pass = match admit {
            Admit::Yes(pass) | Admit::Probe(pass) => Some(pass),
            Admit::No { .. } if !self.has_next => None,
            Admit::No { retry_in } => {
                return Err(self.left_alone().retry_after(retry_in));
            }
        };
        if self.suspended.swap(false, Relaxed)
            && let Some(queue) = self.queue()
        {
            queue.resume();
        }
        Ok(pass)
    }

    /// Its process must be up; one that has come back is asked again at once, with care.
    fn meet_process(&self) -> Result<(), Error> {
        let Some(link) = &self.link else { return Ok(()) };
        if !link.is_up() {
            let detail = format!("the device's process is down: {}", link.why_down());
            return Err(Error::new(Reason::DeviceLost, detail));
        }
        let generation = link.generation();
        if self.generation.swap(generation, Relaxed) != generation {
            self.breaker.lock().half_open();
        }
        Ok(())
    }

    /// A request was answered in a batch that went so.
    pub(super) fn answered(&self, pass: Option<Pass>, report: &BatchReport, now: Instant) {
        let call = if self.is_slow(report.size, report.compute) { Call::Slow } else { Call::Good };
        self.record(pass, call, now);
    }

    /// A request failed, and the device is to blame.
    pub(super) fn failed(&self, pass: Option<Pass>, now: Instant) {
        self.record(pass, Call::Failed, now);
    }

    /// A request ended in a way that tells nothing of the device.
    pub(super) fn give_back(&self, pass: Option<Pass>) {
        if let Some(pass) = pass {
            self.breaker.lock().give_back(pass);
        }
    }

    fn record(&self, pass: Option<Pass>, call: Call, now: Instant) {
        let Some(pass) = pass else { return };
        let mut breaker = self.breaker.lock();
        let before = breaker.state(now);
        breaker.record(pass, call, now);
        let after = breaker.state(now);
        drop(breaker);
        self.tell(before, after);
        if after == BreakerState::Open && before != after {
            self.suspend();
        }
    }

    fn is_slow(&self, size: usize, took: Duration) -> bool {
        self.patience(size).is_some_and(|patience| took > patience / SLOW_ONE_IN)
    }

    /// What is known of these rows: whether they made the device fail. Cost: nothing while no rows did.
    pub(super) fn verdict(&self, rows: &Rows, now: Instant) -> Verdict {
        if self.quarantine.is_empty() {
            Verdict::Clean
        } else {
            self.quarantine.verdict(self.quarantine.hash(rows), now)
        }
    }

    /// These rows were computed alone, and the device is well.
    pub(super) fn survived(&self, rows: &Rows) {
        self.quarantine.survived(self.quarantine.hash(rows));
    }

    fn queue(&self) -> Option<Arc<Queue>> {
        self.queue.get().and_then(Weak::upgrade)
    }

    /// What waits takes the next rung, if there is one.
    fn suspend(&self) {
        if !self.has_next || self.suspended.swap(true, Relaxed) {
            return;
        }
        if let Some(queue) = self.queue() {
            queue.suspend(&self.left_alone());
        }
    }

    fn left_alone(&self) -> Error {
        let detail = format!("the device \"{}\" has failed and is left alone for a while", self.name.label());
        Error::new(Reason::BreakerOpen, detail)
    }

    fn trip(&self, now: Instant) {
        let mut breaker = self.breaker.lock();
        let before = breaker.state(now);
        breaker.trip(now);
        let after = breaker.state(now);
        drop(breaker);
        self.tell(before, after);
        self.suspend();
    }

    fn tell(&self, before: BreakerState, after: BreakerState) {
        self.counts.set_breaker(match after {
            BreakerState::Closed => 0,
            BreakerState::Probing => 1,
            BreakerState::Open => 2,
        });
        let (model, version) = self.instruments.labels();
        match (before, after) {
            (BreakerState::Open, BreakerState::Open) => {}
            (_, BreakerState::Open) => {
                warn!(%model, %version, rung = self.name.label(), "breaker open: requests take the next rung");
            }
            (BreakerState::Open | BreakerState::Probing, BreakerState::Closed) => {
                info!(%model, %version, rung = self.name.label(), "breaker closed: the device serves again");
            }
            _ => {}
        }
    }
}

impl Listener for Health {
    fn ran(&self, batch: Ran, now: Instant) {
        let Ran { rows, size, padding, ahead, release } = batch;
        self.instruments.batch_ran(BatchCounts { rows, size, padding, ahead }, release, now);
    }

    fn bisected(&self) {
        self.instruments.bisected();
    }

    fn panicked(&self) {
        self.instruments.rebuilt();
    }

    /// Only where somebody else can answer, or the device can be stopped.
    fn patience(&self, size: usize) -> Option<Duration> {
        (self.has_next || self.link.is_some()).then(|| self.watchdog.lock().overdue_after(size))
    }

    fn computed(&self, size: usize, took: Duration) {
        if !self.has_next && self.link.is_none() {
            return;
        }
        let slow = self.is_slow(size, took);
        if !slow || self.slow.fetch_add(1, Relaxed) % SLOW_LEARNED_ONE_IN == SLOW_LEARNED_ONE_IN - 1 {
            self.watchdog.lock().record(size, took);
        }
    }

    fn device_failed(&self, suspects: Suspects<'_>, error: &Error, now: Instant) {
        let (model, version) = self.instruments.labels();
        warn!(%model, %version, rung = self.name.label(), reason = error.reason().label(), %error, "a batch failed on the device");
        match error.reason() {
            Reason::DeviceMemory => {
                self.counts.failed(RungFailure::Memory);
                if let Some(queue) = self.queue() {
                    self.counts.set_batch_size_max(queue.batch_size_max());
                }
            }
            reason => {
                let overdue = reason == Reason::DeviceOverdue;
                self.counts.failed(if overdue { RungFailure::Overdue } else { RungFailure::Lost });
                self.suspect(suspects);
                self.trip(now);
            }
        }
    }

    fn suspect(&self, suspects: Suspects<'_>) {
        let hashes: Vec<u64> = suspects.rows.iter().map(|rows| self.quarantine.hash(rows)).collect();
        self.quarantine.died(&hashes, suspects.beside, Instant::now());
    }

    /// One that is tried is given one batch at a time: two would be lost.
    fn permits_ahead(&self, now: Instant) -> bool {
        self.state(now) == BreakerState::Closed
    }
}
