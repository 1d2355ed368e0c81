//! The machine's cores for what takes long: pools apart from the network's threads.
//!
//! Its threads are as nice as the network's. Giving the network's a precedence gains nothing that can be measured, for the
//! scheduler runs what slept first anyway; but under a storm of refusals it starves the models.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

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
    /// they start do so as well.
    pub fn aside(name: &'static str, threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(move |index| format!("{name}-{index}"));
        Ok(Self(Arc::new(pool.start_handler(|_| stand_aside()).build()?)))
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

/// Has this thread run only where no other wants to. Being nice is not enough: threads that wait for a moment yield (rayon's
/// do), and a yield hands the core to a nice thread for a whole time slice.
fn stand_aside() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        tracing::warn!(?error, "lower the priority of a loading thread");
    }
}
