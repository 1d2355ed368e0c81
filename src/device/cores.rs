//! The machine's cores for what takes long: pools apart from the network's threads.
//!
//! Its threads are as nice as the network's. Giving the network's a precedence gains nothing that can be measured, for the
//! scheduler runs what slept first anyway; but under a storm of refusals it starves the models.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use rustix::process::setpriority_process;

/// How nice threads aside are: beside serving threads they get next to nothing of a core.
const ASIDE_NICE: i32 = 19;

/// A pool of threads; clones share it.
#[derive(Clone)]
pub struct Cores(Arc<ThreadPool>);

impl Cores {
    /// A pool of `threads` threads that are called `name`.
    ///
    /// Errors: the threads cannot be started.
    pub fn new(name: &'static str, threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(move |index| format!("{name}-{index}"));
        Ok(Self(Arc::new(pool.build()?)))
    }

    /// The same for work that nobody waits for, such as loading a model: its threads give way to all others. Threads that
    /// they start are as nice, and stay so.
    pub fn aside(name: &'static str, threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(move |index| format!("{name}-{index}"));
        Ok(Self(Arc::new(pool.start_handler(|_| be_nice()).build()?)))
    }

    /// Has `work` done by a thread of the pool, after all that was given to it before.
    pub fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        self.0.spawn_fifo(work);
    }

    /// Runs `work` in the pool, which parallel loops inside it then use.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.install(work)
    }
}

/// Makes this thread give way to others; on Linux a priority belongs to a thread.
fn be_nice() {
    if let Err(error) = setpriority_process(None, ASIDE_NICE) {
        tracing::warn!(%error, "lower the priority of a loading thread");
    }
}
