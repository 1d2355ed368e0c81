//! Runs a released batch on a device, and answers every item exactly once.

use std::pin::pin;

use tokio::time::{Duration, Instant};

use super::flight::{Flight, Place};
use super::item::Item;
use super::policy::Batch;
use super::queue::{PartAnswer, Queue, Waiting, expire};
use super::worker::{Listener, Ran, Suspects};
use crate::device::{Device, Fault, Outcome};
use crate::types::{BatchReport, Error, Reason, Release, Rows, Tensor};

/// What batches run on, and who hears of it.
pub(super) struct Run<'a> {
    pub(super) queue: &'a Queue,
    pub(super) device: &'a mut Device,
    pub(super) listener: &'a dyn Listener,
    /// What is with the device, by this way into it or another.
    pub(super) flight: &'a Flight,
}

/// What came of a batch on the device.
enum Ended {
    InTime(Outcome),
    /// Its requests were told that the device is overdue; what it gave later is of no use.
    Overdue,
}

/// A batch that the device failed.
struct Failed {
    parts: Vec<Rows>,
    fault: Fault,
    began: Instant,
    /// Was another with the device?
    beside: bool,
}

impl Run<'_> {
    /// Runs a batch. If the model fails on it, its halves are run, until the guilty items are alone with their errors; if the
    /// device has too little memory, its halves as well; if the device is lost or overdue, all items are told.
    pub(super) async fn batch(&mut self, batch: Batch<Waiting>, now: Instant) {
        let mut pending = vec![batch];
        let mut started = now;
        while let Some(mut batch) = pending.pop() {
            drop_expired(&mut batch, started);
            if batch.items.is_empty() {
                continue;
            }
            let place = self.flight.enter(is_alone(&batch));
            let ended = self.attempt(&mut batch, &place).await;
            let now = Instant::now();
            // While another was computed it had not begun.
            let began = place.reached().map_or(started, |reached| reached.max(started));
            let (beside, ahead) = (place.is_beside(), place.reached().is_some());
            drop(place);
            let took = now.saturating_duration_since(began);
            let (rows, size, release) = (batch.rows, batch.size, batch.release);
            self.listener.ran(Ran { rows, size, padding: self.device.padding(size), ahead, release }, now);
            match ended {
                Ended::InTime((_, Ok(outputs))) => {
                    self.queue.learn(size, took, now);
                    self.listener.computed(size, took);
                    answer(batch, outputs, began, took);
                }
                Ended::InTime((parts, Err(fault))) => {
                    self.failed(batch, Failed { parts, fault, began, beside }, &mut pending).await;
                }
                Ended::Overdue => self.queue.failed(now),
            }
            started = Instant::now();
        }
    }

    /// Runs the items' rows, answering what expires in the queue meanwhile. If the device takes too long, the items are
    /// answered without it, and it is stopped where it can be.
    async fn attempt(&mut self, batch: &mut Batch<Waiting>, place: &Place<'_>) -> Ended {
        let parts = batch.items.iter_mut().map(|item| std::mem::take(&mut item.payload.rows)).collect();
        let patience = self.listener.patience(batch.size);
        let interrupt = patience.and_then(|_| self.device.interrupt());
        let mut run = pin!(self.device.run(parts));
        let mut expiring = pin!(self.queue.expire());
        tokio::select! {
            biased;
            outcome = &mut run => return Ended::InTime(outcome),
            () = &mut expiring => {}
            () = overdue(place, patience) => {}
        }
        let waited = patience.unwrap_or_default().as_millis();
        let error = Error::new(Reason::DeviceOverdue, format!("the device did not answer within {waited} ms"));
        self.listener.device_failed(Suspects::default(), &error, Instant::now());
        fail(std::mem::take(&mut batch.items), &error);
        if let Some(interrupt) = interrupt {
            interrupt();
        }
        let (parts, _late) = tokio::select! {
            outcome = &mut run => outcome,
            () = &mut expiring => run.await,
        };
        self.listener.suspect(Suspects { rows: &parts, beside: place.is_beside() });
        Ended::Overdue
    }

    async fn failed(&mut self, mut batch: Batch<Waiting>, failed: Failed, pending: &mut Vec<Batch<Waiting>>) {
        let Failed { parts, fault, began, beside } = failed;
        let now = Instant::now();
        self.queue.failed(now);
        if fault.panicked {
            self.listener.panicked();
        }
        match fault.error.reason() {
            Reason::DeviceLost => {
                self.listener.device_failed(Suspects { rows: &parts, beside }, &fault.error, now);
                fail(batch.items, &fault.error);
            }
            Reason::DeviceMemory => {
                self.lacks_memory(batch.size, &fault.error, now);
                give_back(&mut batch, parts);
                if batch.items.len() > 1 {
                    halve(batch, Release::Memory, pending);
                } else {
                    self.cut(batch, fault, began).await;
                }
            }
            _ => {
                give_back(&mut batch, parts);
                blame(batch, &fault, self.listener, pending);
            }
        }
    }

    fn lacks_memory(&self, size: usize, error: &Error, now: Instant) {
        self.queue.lacks_memory(size, now);
        self.listener.device_failed(Suspects::default(), error, now);
    }

    /// Runs the one item of a batch in parts that the device has memory for.
    async fn cut(&mut self, mut batch: Batch<Waiting>, fault: Fault, began: Instant) {
        let _place = self.flight.enter(is_alone(&batch));
        let Some(item) = batch.items.first_mut() else { return };
        let outcome = match halves(std::mem::take(&mut item.payload.rows)) {
            Some(parts) => self.run_apart(parts).await,
            None => Err(fault.error),
        };
        match outcome {
            Ok(outputs) => answer(batch, outputs, began, began.elapsed()),
            Err(error) => fail(batch.items, &error),
        }
    }

    /// Runs rows part by part, each halved again where it is too large still, and joins what comes of them.
    async fn run_apart(&mut self, parts: [Rows; 2]) -> Result<Vec<Tensor>, Error> {
        let mut pending: Vec<Rows> = parts.into_iter().rev().collect();
        let mut done: Vec<Vec<Tensor>> = Vec::new();
        while let Some(rows) = pending.pop() {
            let size = rows.size();
            let (mut given, outcome) = self.device.run(vec![rows]).await;
            match outcome {
                Ok(outputs) => done.push(outputs),
                Err(fault) => {
                    if fault.error.reason() == Reason::DeviceMemory {
                        self.lacks_memory(size, &fault.error, Instant::now());
                    }
                    let smaller = given.pop().filter(|_| fault.error.reason() == Reason::DeviceMemory);
                    let [first, second] = smaller.and_then(halves).ok_or(fault.error)?;
                    pending.extend([second, first]);
                }
            }
        }
        let columns = done.first().map_or(0, Vec::len);
        let joined = (0..columns).map(|at| Tensor::join(done.iter().filter_map(|outputs| outputs.get(at))));
        let differ = || Error::new(Reason::Model, "the parts of a batch gave outputs of different shapes");
        joined.collect::<Option<_>>().ok_or_else(differ)
    }
}

/// Ends when a batch has been computed for too long; while it waits for another's end it is not.
async fn overdue(place: &Place<'_>, patience: Option<Duration>) {
    match patience {
        Some(patience) => {
            place.turn().await;
            tokio::time::sleep(patience).await;
        }
        None => std::future::pending().await,
    }
}

/// Rows in two parts; `None` if they are one row.
fn halves(rows: Rows) -> Option<[Rows; 2]> {
    let half = rows.count().div_ceil(2);
    let parts = rows.cut(half, usize::MAX)?;
    <[Rows; 2]>::try_from(parts.into_vec()).ok()
}

fn give_back(batch: &mut Batch<Waiting>, parts: Vec<Rows>) {
    for (item, rows) in batch.items.iter_mut().zip(parts) {
        item.payload.rows = rows;
    }
}

fn fail(items: Vec<Item<Waiting>>, error: &Error) {
    for item in items {
        let _gone = item.payload.reply.send(Err(error.clone()));
    }
}

/// Has it rows that no other batch may be beside?
pub(super) fn is_alone(batch: &Batch<Waiting>) -> bool {
    batch.items.iter().any(|item| item.payload.alone)
}

fn drop_expired(batch: &mut Batch<Waiting>, now: Instant) {
    let late = |item: &mut Item<Waiting>| item.deadline.is_some_and(|deadline| deadline <= now);
    for item in batch.items.extract_if(.., late) {
        batch.rows -= item.rows;
        batch.size -= item.size;
        expire(item, now);
    }
    // A client that has gone is not computed for either.
    batch.items.retain(|item| {
        let wanted = !item.payload.reply.is_closed();
        if !wanted {
            batch.rows -= item.rows;
            batch.size -= item.size;
        }
        wanted
    });
}

/// One item alone is guilty; of several, each half is tried by itself.
fn blame(batch: Batch<Waiting>, fault: &Fault, listener: &dyn Listener, pending: &mut Vec<Batch<Waiting>>) {
    if batch.items.len() > 1 {
        listener.bisected();
        halve(batch, Release::Bisect, pending);
    } else {
        fail(batch.items, &fault.error);
    }
}

fn halve(mut batch: Batch<Waiting>, release: Release, pending: &mut Vec<Batch<Waiting>>) {
    let second = batch.items.split_off(batch.items.len() / 2);
    for items in [second, batch.items] {
        let rows = items.iter().map(|item| item.rows).sum();
        let size = items.iter().map(|item| item.size).sum();
        pending.push(Batch { items, rows, size, release });
    }
}

/// Gives each item its own rows of the outputs.
fn answer(batch: Batch<Waiting>, outputs: Vec<Tensor>, began: Instant, compute: Duration) {
    let (rows, size, release) = (batch.rows, batch.size, batch.release);
    let counts: Vec<usize> = batch.items.iter().map(|item| item.rows).collect();
    let Some(mut columns) = split(outputs, &counts) else {
        let error = Error::new(Reason::Model, format!("the model did not give {rows} rows for {rows} rows"));
        fail(batch.items, &error);
        return;
    };
    for item in batch.items {
        let outputs = columns.iter_mut().filter_map(Iterator::next).collect();
        let queue = began.saturating_duration_since(item.arrived);
        let report = BatchReport { rows, size, queue, compute, release };
        let _gone = item.payload.reply.send(Ok(PartAnswer { outputs, report }));
    }
}

/// For each output, its parts in the order of the items. Slices of shared bytes, no copies.
fn split(outputs: Vec<Tensor>, counts: &[usize]) -> Option<Vec<std::vec::IntoIter<Tensor>>> {
    outputs.into_iter().map(|output| output.split(counts).map(Vec::into_iter)).collect()
}
