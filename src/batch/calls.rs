//! Calls that have begun: who has begun and does not wait yet may be about to join a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the calls in progress of a server, from their first bytes to their answers.
#[derive(Debug, Default)]
pub struct Calls(AtomicUsize);

/// A call in progress, until it is dropped.
#[derive(Debug)]
pub struct Begun(Arc<Calls>);

impl Calls {
    /// A call has begun.
    pub fn begin(self: &Arc<Self>) -> Begun {
        self.0.fetch_add(1, Ordering::Relaxed);
        Begun(Arc::clone(self))
    }

    /// Calls in progress.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
