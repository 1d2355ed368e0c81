//! How loading the models went, those that failed included.

use std::time::Duration;

/// How an attempt to load a model ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadResult {
    /// It was loaded and warmed up.
    Success,
    /// It was not, and does not serve.
    Failure,
}

/// Attempts to load one version of a model.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loads {
    pub(super) successes: u64,
    pub(super) failures: u64,
    /// Of the last attempt.
    pub(super) load: Duration,
    /// Of the last attempt that came so far.
    pub(super) warmup: Duration,
}

impl Loads {
    pub(super) fn book(&mut self, result: LoadResult, load: Duration, warmup: Duration) {
        self.load = load;
        match result {
            LoadResult::Success => {
                self.successes += 1;
                self.warmup = warmup;
            }
            LoadResult::Failure => self.failures += 1,
        }
    }
}
