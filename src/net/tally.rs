//! What is counted of a listener's connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one listener. Each is read without a lock.
#[derive(Debug, Default)]
pub struct Tally {
    pub(super) open: Count,
    pub(super) accepted: Count,
    pub(super) refused: Count,
    pub(super) without_preface: Count,
    pub(super) accept_errors: Count,
    pub(super) stalled_answers: Count,
}

impl Tally {
    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.open.get()
    }

    /// Connections that were accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Connections closed at once because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Connections closed because they did not begin with HTTP/2's preface in time.
    pub fn without_preface(&self) -> u64 {
        self.without_preface.get()
    }

    /// Accepts that failed.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.get()
    }

    /// Answers that were reset because their client did not read them.
    pub fn stalled_answers(&self) -> u64 {
        self.stalled_answers.get()
    }
}

/// One counter.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
