//! The closed loop: callers that each wait for their answer before they ask again.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::client::Ask;
use super::tally::Tally;

/// Callers, spread over the clients, that go on until the window ends. Those that heed the pushback wait after a refusal
/// for as long as the server asks, as gRPC's clients do before they try again; the others ask again at once.
pub(super) fn start<A: Ask>(
    clients: &[A],
    callers: NonZeroUsize,
    heeds_pushback: bool,
    tally: &Arc<Tally>,
) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for client in clients.iter().cycle().take(callers.get()) {
        running.spawn(call_on(client.clone(), heeds_pushback, Arc::clone(tally)));
    }
    running
}

async fn call_on<A: Ask>(mut client: A, heeds_pushback: bool, tally: Arc<Tally>) {
    let mut now = Instant::now();
    while now < tally.window.end {
        let due = now;
        tally.send(due, due);
        let outcome = client.ask(due).await;
        now = Instant::now();
        let pushback = outcome.pushback().filter(|_| heeds_pushback);
        tally.end(due, now, outcome);
        if let Some(pushback) = pushback {
            sleep_until((now + pushback).min(tally.window.end)).await;
            now = Instant::now();
        }
    }
}
