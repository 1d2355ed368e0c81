//! Runs a released batch on a device, and answers every item exactly once.

use std::pin::pin;

use tokio::time::{Duration, Instant};

use super::item::Item;
use super::policy::Batch;
use super::queue::{PartAnswer, Queue, Waiting, expire};
use super::worker::{Listener, Ran};
use crate::device::{Device, Fault, Outcome};
use crate::types::{BatchReport, Error, Reason, Release, Rows, Tensor};

/// Runs a batch; if it fails, its halves, until the guilty items are alone with their errors.
pub(super) async fn run(
    queue: &Queue,
    device: &mut Device,
    listener: &dyn Listener,
    batch: Batch<Waiting>,
    now: Instant,
) {
    let mut pending = vec![batch];
    let mut started = now;
    while let Some(mut batch) = pending.pop() {
        drop_expired(&mut batch, started);
        if batch.items.is_empty() {
            continue;
        }
        let parts = batch.items.iter_mut().map(|item| std::mem::take(&mut item.payload.rows)).collect();
        let (parts, outcome) = execute(queue, device, parts).await;
        let ended = Instant::now();
        let took = ended.saturating_duration_since(started);
        let padding = device.padding(batch.size);
        let ran = Ran { rows: batch.rows, size: batch.size, padding, release: batch.release };
        listener.ran(ran, ended);
        match outcome {
            Ok(outputs) => {
                queue.learn(batch.size, took, ended);
                answer(batch, outputs, started, took);
            }
            Err(fault) => {
                queue.failed(ended);
                if fault.panicked {
                    listener.panicked();
                }
                for (item, rows) in batch.items.iter_mut().zip(parts) {
                    item.payload.rows = rows;
                }
                blame(batch, &fault, listener, &mut pending);
            }
        }
        started = ended;
    }
}

/// Runs the parts, answering what expires in the queue meanwhile.
async fn execute(queue: &Queue, device: &mut Device, parts: Vec<Rows>) -> Outcome {
    let mut run = pin!(device.run(parts));
    tokio::select! {
        biased;
        outcome = &mut run => outcome,
        () = queue.expire() => run.await,
    }
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
fn blame(mut batch: Batch<Waiting>, fault: &Fault, listener: &dyn Listener, pending: &mut Vec<Batch<Waiting>>) {
    if batch.items.len() > 1 {
        listener.bisected();
        let items = batch.items.split_off(batch.items.len() / 2);
        for items in [items, batch.items] {
            let rows = items.iter().map(|item| item.rows).sum();
            let size = items.iter().map(|item| item.size).sum();
            pending.push(Batch { items, rows, size, release: Release::Bisect });
        }
        return;
    }
    for item in batch.items {
        let _gone = item.payload.reply.send(Err(fault.error.clone()));
    }
}

/// Gives each item its own rows of the outputs.
fn answer(batch: Batch<Waiting>, outputs: Vec<Tensor>, started: Instant, compute: Duration) {
    let (rows, release) = (batch.rows, batch.release);
    let counts: Vec<usize> = batch.items.iter().map(|item| item.rows).collect();
    let Some(mut columns) = split(outputs, &counts) else {
        let error = Error::new(Reason::Model, format!("the model did not give {rows} rows for {rows} rows"));
        for item in batch.items {
            let _gone = item.payload.reply.send(Err(error.clone()));
        }
        return;
    };
    for item in batch.items {
        let outputs = columns.iter_mut().filter_map(Iterator::next).collect();
        let queue = started.saturating_duration_since(item.arrived);
        let report = BatchReport { rows, queue, compute, release };
        let _gone = item.payload.reply.send(Ok(PartAnswer { outputs, report }));
    }
}

/// For each output, its parts in the order of the items. Slices of shared bytes, no copies.
fn split(outputs: Vec<Tensor>, counts: &[usize]) -> Option<Vec<std::vec::IntoIter<Tensor>>> {
    outputs.into_iter().map(|output| output.split(counts).map(Vec::into_iter)).collect()
}
