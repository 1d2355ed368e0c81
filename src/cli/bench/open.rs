//! The open loop: requests are sent when they are due, whether or not answers come.
//!
//! A caller that waits for a slow answer asks nothing meanwhile, so that a closed loop measures a stall once, where users
//! who come on their own would have met it each (Gil Tene's coordinated omission). Here every arrival has its due time, and
//! its latency counts from there, even if it could only be sent later.

use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::arrivals::Arrivals;
use super::client::Ask;
use super::pace;
use super::tally::Tally;

/// Due arrivals that may wait to be sent. The pacer blocks beyond; due times are not moved by that.
const WAITING_MAX: usize = 1024;

/// Sends from now on until the window ends, with at most so many calls unanswered at once, and then waits for the answers.
///
/// There must be a client. Errors: the pacer's thread cannot be started.
pub(super) fn start<A: Ask>(
    clients: &[A],
    arrivals: Arrivals,
    in_flight_max: NonZeroUsize,
    tally: &Arc<Tally>,
    begun: Instant,
) -> anyhow::Result<JoinSet<()>> {
    let (due, inbox) = mpsc::channel(WAITING_MAX);
    pace::start(arrivals, begun, tally.window.end, due).context("start the pacer's thread")?;
    let sender = Sender {
        clients: clients.to_vec(),
        tally: Arc::clone(tally),
        places: Arc::new(Semaphore::new(in_flight_max.get().min(Semaphore::MAX_PERMITS))),
        held_until: begun,
    };
    let mut running = JoinSet::new();
    running.spawn(sender.run(inbox));
    Ok(running)
}

struct Sender<A> {
    clients: Vec<A>,
    tally: Arc<Tally>,
    places: Arc<Semaphore>,
    /// When the sender last got a place that it had to wait for; what was due before waited behind.
    held_until: Instant,
}

impl<A: Ask> Sender<A> {
    /// Cancel safe: dropping it gives the calls up.
    async fn run(mut self, mut inbox: mpsc::Receiver<Instant>) {
        let mut calls = JoinSet::new();
        let mut turn = 0;
        while let Some(due) = inbox.recv().await {
            let Some(place) = self.place(due).await else { break };
            turn = (turn + 1) % self.clients.len();
            calls.spawn(call(self.clients[turn].clone(), due, Arc::clone(&self.tally), place));
            // What has ended is forgotten, so that memory does not grow with the run.
            while calls.try_join_next().is_some() {}
        }
        drop(inbox);
        while calls.join_next().await.is_some() {}
    }

    /// A place among the unanswered calls; `None` if there is none before the window ends.
    async fn place(&mut self, due: Instant) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            if due < self.held_until {
                self.tally.hold_back(due);
            }
            return Some(place);
        }
        self.tally.hold_back(due);
        let place = timeout_at(self.tally.window.end, Arc::clone(&self.places).acquire_owned()).await;
        self.held_until = Instant::now();
        place.ok()?.ok()
    }
}

async fn call<A: Ask>(mut client: A, due: Instant, tally: Arc<Tally>, place: OwnedSemaphorePermit) {
    tally.send(due, Instant::now());
    let outcome = client.ask(due).await;
    tally.end(due, Instant::now(), outcome);
    drop(place);
}
