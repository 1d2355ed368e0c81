//! Wakes when the next request is due, more exactly than the runtime's timers, which count milliseconds.

use std::thread;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::arrivals::Arrivals;

/// Tells each arrival before `end` when it is due, counted from `begun`, on a thread of its own.
///
/// The thread ends with the last arrival, or when nobody listens. Errors: it cannot be started.
pub(super) fn start(
    arrivals: Arrivals,
    begun: Instant,
    end: Instant,
    due: mpsc::Sender<Instant>,
) -> std::io::Result<()> {
    let run = move || {
        for offset in arrivals {
            let Some(at) = begun.checked_add(offset).filter(|at| *at < end) else { break };
            wait_until(at);
            if due.blocking_send(at).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("pacer".to_owned()).spawn(run).map(drop)
}

fn wait_until(moment: Instant) {
    loop {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // May wake early, so the loop.
        thread::park_timeout(left);
    }
}
