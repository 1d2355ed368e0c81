//! The one place that starts tasks: named, counted, joined.

use std::future::Future;

use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error_span};

/// The server's tasks. They end by themselves, told by tokens of their own.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    /// No tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task under a name, which stands in its log lines.
    pub fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task.instrument(error_span!("task", name)));
    }

    /// Waits for every task. Cancel safe.
    pub async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
