//! The one place that starts tasks: named, counted, joined.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error_span};

/// The server's tasks. They end by themselves, told by tokens of their own.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    apart: Arc<Apart>,
}

/// A thread that runs tasks apart from the network's.
struct Apart(Option<Runtime>);

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // The last holder may be a task, which must not wait for a thread.
            runtime.shutdown_background();
        }
    }
}

impl Tasks {
    /// No tasks. Errors: the thread for those that run apart cannot be started.
    pub fn new() -> anyhow::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("batch").enable_time();
        let apart = Arc::new(Apart(Some(builder.build().context("start the thread for batches")?)));
        Ok(Self { tracker: TaskTracker::new(), apart })
    }

    /// Starts a task under a name, which stands in its log lines.
    pub fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task.instrument(error_span!("task", name)));
    }

    /// The same, on a thread of its own.
    pub fn spawn_apart(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        let task = task.instrument(error_span!("task", name));
        if let Some(runtime) = &self.apart.0 {
            self.tracker.spawn_on(task, runtime.handle());
        }
    }

    /// Waits for every task. Cancel safe.
    pub async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
