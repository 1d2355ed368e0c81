//! The closed loop: callers that each wait for their answer before they ask again.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::Ask;
use super::tally::Tally;

/// Callers, spread over the clients, that go on until the window ends.
pub(super) fn start<A: Ask>(clients: &[A], callers: NonZeroUsize, tally: &Arc<Tally>) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for client in clients.iter().cycle().take(callers.get()) {
        running.spawn(call_on(client.clone(), Arc::clone(tally)));
    }
    running
}

async fn call_on<A: Ask>(mut client: A, tally: Arc<Tally>) {
    let mut now = Instant::now();
    while now < tally.window.end {
        let due = now;
        tally.send(due, due);
        let outcome = client.ask(due).await;
        now = Instant::now();
        tally.end(due, now, outcome);
    }
}
