//! The machine's cores for large models: a pool apart from the network's threads.
//!
//! Its threads are as nice as the network's. Giving the network's a precedence gains nothing that can be measured, for the
//! scheduler runs what slept first anyway; but under a storm of refusals it starves the models.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// A pool with one thread a core; clones share it.
#[derive(Clone)]
pub struct Cores(Arc<ThreadPool>);

impl Cores {
    /// A pool of `threads` threads.
    ///
    /// Errors: the threads cannot be started.
    pub fn new(threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let pool =
            ThreadPoolBuilder::new().num_threads(threads).thread_name(|index| format!("compute-{index}")).build()?;
        Ok(Self(Arc::new(pool)))
    }

    /// Runs `work` in the pool, which parallel loops inside it then use.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.install(work)
    }
}
