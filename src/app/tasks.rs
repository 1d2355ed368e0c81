//! The one place that starts tasks: named, counted, joined.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error_span};

/// The server's tasks, and the token that tells the long-lived ones to stop.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task under a name, which stands in its log lines.
    #[expect(clippy::disallowed_methods, reason = "this is the place that starts tasks")]
    pub fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task.instrument(error_span!("task", name)));
    }

    /// Starts a task that ends, wherever it stands, when [`Tasks::stop`] is called.
    pub fn spawn_until_stop(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Ends the tasks that were started to end so.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for every task. Cancel safe.
    pub async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
