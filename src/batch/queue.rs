//! A model's queue: the policy under one lock, tickets for those who wait, and an exact bound.

use std::hash::{BuildHasher, Hash as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Duration, Instant};

use super::calls::Calls;
use super::item::{Ask, Item, Limits, Unit, class};
use super::policy::{Batch, Next, Policy};
use super::refusal::Refusal;
use crate::stats::nanos;
use crate::types::{BatchReport, Error, Reason, Rows, Tensor};

/// While a batch runs, an expired item is answered at most so late.
const EXPIRY_NOTICED_WITHIN: Duration = Duration::from_millis(5);

/// Rows of one request, checked against the model's signature.
#[derive(Debug)]
pub struct Job {
    /// The rows, at least one.
    pub rows: Rows,
    /// Priority level, 0 the most urgent.
    pub level: usize,
    /// Number of the client whose rows they are.
    pub client: u64,
    /// When their answer stops being wanted.
    pub deadline: Option<Instant>,
    /// When the request arrived.
    pub arrived: Instant,
    /// Must they share no batch? They may make the device fail.
    pub alone: bool,
}

/// Outputs for the rows of a job.
#[derive(Debug)]
pub struct PartAnswer {
    /// Outputs in the signature's order.
    pub outputs: Vec<Tensor>,
    /// How the batch went.
    pub report: BatchReport,
}

/// What an item carries through the policy.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) rows: Rows,
    pub(super) reply: oneshot::Sender<Result<PartAnswer, Error>>,
    /// Must they be alone with the device?
    pub(super) alone: bool,
}

/// The rows that wait for one model.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    wake: Notify,
    limits: Limits,
    calls: Arc<Calls>,
    next_id: AtomicU64,
    hasher: RandomState,
    /// Learned cost of a full batch, nanoseconds.
    full_batch: AtomicU64,
    /// Size of the largest batch that the device has memory for.
    batch_size_max: AtomicUsize,
}

#[derive(Debug)]
struct State {
    policy: Policy<Waiting>,
    draining: bool,
    /// What all are told while the device is not to be asked.
    suspended: Option<Error>,
}

/// What the worker should do next.
pub(super) enum Step {
    Run(Batch<Waiting>, Instant),
    /// Wait for an arrival, or until this time.
    Wait(Option<Instant>),
    /// Closed and empty.
    End,
}

impl Queue {
    /// An empty queue of a server whose calls are counted by `calls`.
    pub fn new(limits: Limits, calls: Arc<Calls>) -> Arc<Self> {
        let state = Mutex::new(State { policy: Policy::new(limits.clone()), draining: false, suspended: None });
        let (wake, next_id, hasher) = (Notify::new(), AtomicU64::new(1), RandomState::new());
        let (full_batch, batch_size_max) = (AtomicU64::new(0), AtomicUsize::new(limits.batch_size_max));
        Arc::new(Self { state, wake, limits, calls, next_id, hasher, full_batch, batch_size_max })
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The server's calls in progress.
    #[cfg(test)]
    pub(super) fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.state.lock().policy.rows()
    }

    /// Arrival of the item that has waited longest.
    pub fn oldest(&self) -> Option<Instant> {
        self.state.lock().policy.oldest()
    }

    /// How urgent the rows are that go next: their level, and until when they are wanted, or should be had.
    pub(super) fn urgency(&self, now: Instant) -> Option<(usize, Instant)> {
        self.state.lock().policy.urgency(now)
    }

    /// Takes nothing more; what waits is released without a hold, then the worker ends.
    pub fn close(&self) {
        self.state.lock().draining = true;
        self.wake.notify_one();
    }

    /// Answers all that waits, and all that comes until [`Queue::resume`], with an error: the device is not to be asked.
    pub fn suspend(&self, why: &Error) {
        let mut state = self.state.lock();
        state.suspended = Some(why.clone());
        let waiting = state.policy.clear();
        drop(state);
        for item in waiting {
            let _gone = item.payload.reply.send(Err(why.clone()));
        }
    }

    /// Lets rows wait again.
    pub fn resume(&self) {
        self.state.lock().suspended = None;
    }

    /// Tells the worker that there is something to do.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Would rows that arrive now be let in? For a request that has not been read yet; [`Queue::submit`] decides.
    ///
    /// Errors: as of [`Queue::submit`]. Cost: one lock.
    pub fn outlook(&self, ask: &Ask, now: Instant) -> Result<(), Error> {
        let mut state = self.state.lock();
        let (expired, admitted) = self.admit(&mut state, ask, now);
        drop(state);
        answer_expired(expired, now);
        admitted
    }

    /// Lets a job wait, cut into parts of at most a batch (but for single rows that are larger). All of it is taken, or none. Wakes nobody.
    ///
    /// Errors: queue full, more than the client's share, predicted answer too late, deadline passed, draining. Cost: one
    /// lock.
    pub fn submit(self: &Arc<Self>, job: Job) -> Result<Ticket, Error> {
        let Job { rows, level, client, deadline, arrived, alone } = job;
        let group = self.group(&rows, alone);
        let ask = Ask { size: rows.size(), class: self.class(&rows), level, client, deadline };
        let parts = rows.cut(self.limits.batch_rows_max, self.batch_size_max());
        let parts = parts.ok_or_else(|| Error::invalid("inputs differ in their number of rows"))?;
        let mut ticket = Ticket { queue: Arc::clone(self), group, level, parts: SmallVec::new() };
        let mut state = self.state.lock();
        if let Some(why) = &state.suspended {
            return Err(why.clone());
        }
        let (expired, admitted) = self.admit(&mut state, &ask, arrived);
        if admitted.is_ok() {
            for part in parts {
                let (reply, answer) = oneshot::channel();
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                ticket.parts.push(Part { id, answer });
                let (rows, size, class) = (part.count(), part.size(), self.class(&part));
                let payload = Waiting { rows: part, reply, alone };
                let item = Item { id, rows, size, class, group, level, client, tag: 0, arrived, deadline, payload };
                state.policy.push(item);
            }
        }
        drop(state);
        answer_expired(expired, arrived);
        admitted.map(|()| ticket)
    }

    /// Asks the policy; where the queue is full, once more without what has expired in it, which is returned.
    fn admit(&self, state: &mut State, ask: &Ask, now: Instant) -> (Vec<Item<Waiting>>, Result<(), Error>) {
        if state.draining {
            return (Vec::new(), Err(Error::new(Reason::Draining, "the server is shutting down")));
        }
        let (mut expired, mut admitted) = (Vec::new(), state.policy.admit(ask, now));
        if matches!(admitted, Err(Refusal::Full { .. } | Refusal::Share { .. })) {
            expired = state.policy.sweep(now);
            if !expired.is_empty() {
                admitted = state.policy.admit(ask, now);
            }
        }
        (expired, admitted.map_err(|refusal| refusal.error(ask.size, &self.limits)))
    }

    /// What the worker should do, the device being free.
    pub(super) fn step(&self) -> Step {
        let now = Instant::now();
        let mut state = self.state.lock();
        let expired = state.policy.sweep(now);
        let draining = state.draining;
        let step = match state.policy.next(now, draining) {
            Next::Run(batch) => Step::Run(batch, now),
            Next::Hold(until) => Step::Wait(Some(state.policy.next_expiry().map_or(until, |at| at.min(until)))),
            Next::Empty if draining => Step::End,
            Next::Empty => Step::Wait(None),
        };
        drop(state);
        answer_expired(expired, now);
        step
    }

    /// A batch that waiting could not improve, for a device that takes it while another is computed; `None` if what waits is
    /// less.
    pub(super) fn step_ahead(&self) -> Option<(Batch<Waiting>, Instant)> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let expired = state.policy.sweep(now);
        let batch = state.policy.next_ahead(now);
        drop(state);
        answer_expired(expired, now);
        batch.map(|batch| (batch, now))
    }

    /// Has a call begun that does not wait yet, and so may be about to join?
    pub(super) fn expects_company(&self) -> bool {
        self.calls.count() > self.state.lock().policy.items()
    }

    /// Is there anything that only the worker's task will do?
    pub(super) fn needs_worker(&self) -> bool {
        let state = self.state.lock();
        state.draining || state.policy.items() > 0
    }

    /// Waits for an arrival, or until `until`. Cancel safe.
    pub(super) async fn wait(&self, until: Option<Instant>) {
        match until {
            Some(until) => {
                let _elapsed = tokio::time::timeout_at(until, self.wake.notified()).await;
            }
            None => self.wake.notified().await,
        }
    }

    /// Answers what expires while the device is busy; never ends. Cancel safe.
    pub(super) async fn expire(&self) {
        loop {
            // What arrives meanwhile may expire earlier than all that waits now: look again soon.
            let soon = Instant::now() + EXPIRY_NOTICED_WITHIN;
            let next = self.state.lock().policy.next_expiry();
            tokio::time::sleep_until(next.map_or(soon, |at| at.min(soon))).await;
            let now = Instant::now();
            let expired = self.state.lock().policy.sweep(now);
            answer_expired(expired, now);
        }
    }

    /// A batch of this size took so long and ended `now`.
    pub fn learn(&self, size: usize, took: Duration, now: Instant) {
        let mut state = self.state.lock();
        state.policy.learn(size, took, now);
        let full_batch = state.policy.predict(state.policy.full_size()).unwrap_or_default();
        self.batch_size_max.store(state.policy.size_max(), Ordering::Relaxed);
        drop(state);
        self.full_batch.store(nanos(full_batch), Ordering::Relaxed);
    }

    /// A request that had time enough was answered, or expired: in time, or late?
    pub fn ended(&self, late: bool, now: Instant) {
        self.state.lock().policy.ended(late, now);
    }

    /// Size of what may wait now: rows, or tokens.
    pub fn size_limit(&self) -> usize {
        self.state.lock().policy.size_limit()
    }

    /// Learned cost of a full batch; zero until enough batches ran.
    pub fn full_batch(&self) -> Duration {
        Duration::from_nanos(self.full_batch.load(Ordering::Relaxed))
    }

    pub(super) fn failed(&self, now: Instant) {
        self.state.lock().policy.failed(now);
    }

    /// The device has too little memory for a batch of this size: later ones are smaller.
    pub(super) fn lacks_memory(&self, size: usize, now: Instant) {
        let mut state = self.state.lock();
        state.policy.lacks_memory(size, now);
        self.batch_size_max.store(state.policy.size_max(), Ordering::Relaxed);
    }

    /// Size of the largest batch, as configured or as the device has memory for.
    pub fn batch_size_max(&self) -> usize {
        self.batch_size_max.load(Ordering::Relaxed)
    }

    /// Rows are told apart by their lengths where these differ.
    fn class(&self, rows: &Rows) -> u8 {
        match self.limits.unit {
            Unit::Rows => 0,
            Unit::Tokens => class(rows.longest()),
        }
    }

    /// Rows share a batch when they have the same inputs, each of the same element type and row shape.
    /// Those that share no batch have a group of their own.
    fn group(&self, rows: &Rows, alone: bool) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        if alone {
            self.next_id.fetch_add(1, Ordering::Relaxed).hash(&mut hasher);
        }
        rows.lengths().is_some().hash(&mut hasher);
        for input in rows.inputs() {
            input.dtype().hash(&mut hasher);
            input.shape().row_dims().hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// A job's place in the queue. Dropping it takes back what has not begun.
#[derive(Debug)]
pub struct Ticket {
    queue: Arc<Queue>,
    group: u64,
    level: usize,
    parts: SmallVec<[Part; 1]>,
}

#[derive(Debug)]
struct Part {
    id: u64,
    answer: oneshot::Receiver<Result<PartAnswer, Error>>,
}

impl Ticket {
    /// Waits for the answer to all parts and joins them.
    ///
    /// Not cancel safe: dropping it withdraws the job.
    pub async fn answer(mut self) -> Result<PartAnswer, Error> {
        let mut answers: SmallVec<[PartAnswer; 1]> = SmallVec::new();
        while let Some(part) = self.parts.first_mut() {
            let gone = || Error::new(Reason::Panic, "the model's worker ended without an answer");
            let answer = (&mut part.answer).await.unwrap_or_else(|_| Err(gone()));
            self.parts.remove(0);
            answers.push(answer?);
        }
        join(answers)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        let mut state = self.queue.state.lock();
        for part in &self.parts {
            state.policy.withdraw(part.id, self.group, self.level);
        }
    }
}

fn join(answers: SmallVec<[PartAnswer; 1]>) -> Result<PartAnswer, Error> {
    let count = answers.len();
    let mut parts = answers.iter();
    let Some(report) = parts.next_back().map(|part| part.report) else {
        return Err(Error::new(Reason::Model, "no rows to answer"));
    };
    if count == 1 {
        return answers.into_iter().next().ok_or_else(|| Error::new(Reason::Model, "no rows to answer"));
    }
    let outputs = answers.first().map_or(0, |part| part.outputs.len());
    let joined: Option<Vec<Tensor>> = (0..outputs)
        .map(|at| {
            let column: Option<Vec<&Tensor>> = answers.iter().map(|part| part.outputs.get(at)).collect();
            Tensor::join(column?.into_iter())
        })
        .collect();
    let differ = || Error::new(Reason::Model, "the parts of the request gave outputs of different shapes");
    Ok(PartAnswer { outputs: joined.ok_or_else(differ)?, report })
}

fn answer_expired(expired: Vec<Item<Waiting>>, now: Instant) {
    for item in expired {
        expire(item, now);
    }
}

/// Answers an item whose deadline passed before it could run.
pub(super) fn expire(item: Item<Waiting>, now: Instant) {
    let waited = now.saturating_duration_since(item.arrived).as_millis();
    let detail = format!("the deadline passed after {waited} ms in the queue");
    // The receiver may have gone; then nobody wants to know.
    let _gone = item.payload.reply.send(Err(Error::new(Reason::Deadline, detail)));
}
