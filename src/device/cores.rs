//! The machine's cores for large models: a pool apart from the network's threads, that yields to them.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Niceness of computing threads: the network's short work goes first when cores are short.
const NICE: i32 = 5;

/// A pool with one thread a core; clones share it.
#[derive(Clone)]
pub struct Cores(Arc<ThreadPool>);

impl Cores {
    /// A pool of `threads` threads.
    ///
    /// Errors: the threads cannot be started.
    pub fn new(threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("compute-{index}"))
            .start_handler(|_| yield_to_the_network())
            .build()?;
        Ok(Self(Arc::new(pool)))
    }

    /// Runs `work` in the pool, which parallel loops inside it then use.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.install(work)
    }
}

fn yield_to_the_network() {
    // On Linux niceness belongs to the calling thread. Where it is refused the scheduler is fair, which is enough.
    let _refused = rustix::process::nice(NICE);
}
