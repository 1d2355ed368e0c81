//! Whose batch runs next, where several models share a device.
//!
//! The device is given away when it becomes free, to one of the models that wait for it; only then does that model choose its
//! batch. While all can be in time, the model goes first whose oldest request has the earliest deadline: taking turns would
//! lose up to half of the answers in time where models differ in popularity. Once a request could not be in time, deadlines
//! say nothing any more, and shares count: for some time the device's time is divided by the models' weights, by start-time
//! fair queueing (as among clients, `batch/fair.rs`), so that no model has more than its share while others wait. In either
//! case urgent levels go before the rest, and no model is passed over for ever.

use std::num::NonZeroUsize;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::queue::Queue;

/// Times that a model may be passed over by more urgent levels before it goes next.
const PASSED_OVER_MAX: u32 = 16;
/// After a request that could not be in time, shares count for so long.
const OVERLOAD: Duration = Duration::from_millis(250);

/// A device that several models share.
#[derive(Debug, Default)]
pub struct Turns(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    order: Order,
    busy: bool,
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    account: Arc<Mutex<Account>>,
    /// What waits for it; `None` for what no request waits for.
    queue: Option<Arc<Queue>>,
    tell: oneshot::Sender<()>,
    passed_over: u32,
}

/// A model's place at a shared device.
#[derive(Debug)]
pub struct Seat {
    turns: Arc<Turns>,
    account: Arc<Mutex<Account>>,
}

/// The device, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    seat: &'a Seat,
    began: Instant,
}

impl Turns {
    /// A place for one more model, whose share under overload is its weight's part of all weights.
    pub fn seat(self: &Arc<Self>, weight: NonZeroUsize) -> Seat {
        let account = Account { weight, served: Duration::ZERO };
        Seat { turns: Arc::clone(self), account: Arc::new(Mutex::new(account)) }
    }

    /// Gives the device to the next, if there is one.
    fn pass_on(&self, now: Instant) {
        let mut state = self.0.lock();
        state.busy = false;
        while !state.waiting.is_empty() {
            let candidates: Vec<Candidate> = state.waiting.iter().map(|waiter| waiter.candidate(now)).collect();
            let chosen = state.order.choose(&candidates, now);
            let level = candidates.get(chosen).map_or(0, |candidate| candidate.level);
            for (waiter, candidate) in state.waiting.iter_mut().zip(&candidates) {
                waiter.passed_over = waiter.passed_over.saturating_add(u32::from(candidate.level > level));
            }
            let waiter = state.waiting.swap_remove(chosen);
            let served = waiter.account.lock().served;
            state.order.begins(served);
            // One that does not wait any more leaves the device to the next.
            if waiter.tell.send(()).is_ok() {
                state.busy = true;
                return;
            }
        }
    }
}

impl Seat {
    /// Waits until the device is free for `queue`.
    ///
    /// Not cancel safe: a device that is given to it in the moment of being dropped would be lost; the caller goes on to
    /// wait until it has it.
    pub(super) async fn turn(&self, queue: &Arc<Queue>) -> Turn<'_> {
        if let Some(told) = self.line_up(Some(queue)) {
            // The sender is kept until it tells.
            let _given = told.await;
        }
        Turn { seat: self, began: Instant::now() }
    }

    /// The same for a batch that no request waits for, such as one that warms a model up: after all that are waited for, but
    /// passed over no more often than others are. Blocks the thread, which must not be a runtime's.
    pub fn turn_aside(&self) -> Turn<'_> {
        if let Some(told) = self.line_up(None) {
            let _given = told.blocking_recv();
        }
        Turn { seat: self, began: Instant::now() }
    }

    /// Takes the device if it is free, else a place among those who wait, who are told.
    fn line_up(&self, queue: Option<&Arc<Queue>>) -> Option<oneshot::Receiver<()>> {
        let mut state = self.turns.0.lock();
        let mut account = self.account.lock();
        account.served = account.served.max(state.order.now);
        if !state.busy {
            state.busy = true;
            state.order.begins(account.served);
            return None;
        }
        let (tell, told) = oneshot::channel();
        let account = Arc::clone(&self.account);
        state.waiting.push(Waiter { account, queue: queue.map(Arc::clone), tell, passed_over: 0 });
        Some(told)
    }
}

impl Seat {
    /// Does another model wait for the device?
    pub(super) fn is_wanted(&self) -> bool {
        !self.turns.0.lock().waiting.is_empty()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        self.seat.account.lock().used(now.saturating_duration_since(self.began));
        self.seat.turns.pass_on(now);
    }
}

impl Waiter {
    fn candidate(&self, now: Instant) -> Candidate {
        let urgency = self.queue.as_ref().and_then(|queue| queue.urgency(now));
        let full_batch = self.queue.as_ref().map_or(Duration::ZERO, |queue| queue.full_batch());
        let latest = |deadline: Instant| deadline.checked_sub(full_batch).unwrap_or(now);
        Candidate {
            // A queue that has become empty meanwhile gives the device back at once.
            level: urgency.map_or(usize::MAX, |(level, _)| level),
            deadline: urgency.map(|(_, deadline)| deadline),
            latest_start: urgency.map(|(_, deadline)| latest(deadline)),
            served: self.account.lock().served,
            passed_over: self.passed_over,
        }
    }
}

/// What a model has had of the device.
#[derive(Debug)]
struct Account {
    weight: NonZeroUsize,
    /// Time by its weight: virtual time at which its next batch would begin if models took turns.
    served: Duration,
}

impl Account {
    fn used(&mut self, took: Duration) {
        self.served += took / u32::try_from(self.weight.get()).unwrap_or(u32::MAX);
    }
}

/// A model that waits for the device, as far as the order is concerned.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    level: usize,
    deadline: Option<Instant>,
    /// When its batch must begin for its oldest request to be in time.
    latest_start: Option<Instant>,
    served: Duration,
    passed_over: u32,
}

/// The rule, without clocks and queues.
#[derive(Debug, Default)]
struct Order {
    /// Virtual time: where the batch began that was served last.
    now: Duration,
    overloaded_until: Option<Instant>,
}

impl Order {
    /// Index of the one that goes next; there must be one.
    fn choose(&mut self, candidates: &[Candidate], now: Instant) -> usize {
        if candidates.iter().any(|candidate| candidate.latest_start.is_some_and(|start| start < now)) {
            self.overloaded_until = Some(now + OVERLOAD);
        }
        let overloaded = self.overloaded_until.is_some_and(|until| now < until);
        let each = candidates.iter().enumerate();
        let neglected = each.clone().filter(|(_, candidate)| candidate.passed_over >= PASSED_OVER_MAX);
        let most_neglected = neglected.max_by_key(|(_, candidate)| candidate.passed_over);
        let least_served = || each.clone().min_by_key(|(_, candidate)| (candidate.level, candidate.served));
        let most_urgent = || each.clone().min_by_key(|(_, candidate)| (candidate.level, candidate.deadline));
        let chosen = most_neglected.or_else(|| if overloaded { least_served() } else { most_urgent() });
        chosen.map_or(0, |(at, _)| at)
    }

    /// A batch begins of a model that has been served so much.
    fn begins(&mut self, served: Duration) {
        self.now = self.now.max(served);
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
