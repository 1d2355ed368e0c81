//! How requests ended, and how many bytes they carried.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::types::Reason;

/// Answered, or one of the reasons.
const OUTCOMES: usize = 1 + Reason::ALL.len();

/// Counters of one deployment's requests, or of those that reached none.
#[derive(Debug)]
pub(super) struct Traffic {
    outcomes: [AtomicU64; OUTCOMES],
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
}

impl Traffic {
    pub(super) fn new() -> Self {
        let outcomes = [const { AtomicU64::new(0) }; OUTCOMES];
        Self { outcomes, request_bytes: AtomicU64::new(0), response_bytes: AtomicU64::new(0) }
    }

    /// Counts one request that was answered (`None`) or failed, with the bytes it brought and took.
    pub(super) fn book(&self, failure: Option<Reason>, request_bytes: usize, response_bytes: usize) {
        // Reasons are numbered from 0 in the order of `Reason::ALL`, as a test holds; get() rather than trust in it.
        if let Some(outcome) = self.outcomes.get(failure.map_or(0, |reason| 1 + reason as usize)) {
            outcome.fetch_add(1, Relaxed);
        }
        self.request_bytes.fetch_add(request_bytes as u64, Relaxed);
        self.response_bytes.fetch_add(response_bytes as u64, Relaxed);
    }

    /// How many requests were answered without an error.
    pub(super) fn answered(&self) -> u64 {
        self.outcomes[0].load(Relaxed)
    }

    /// How many requests failed, by reason.
    pub(super) fn failed(&self) -> Vec<(Reason, u64)> {
        Reason::ALL.iter().zip(&self.outcomes[1..]).map(|(reason, count)| (*reason, count.load(Relaxed))).collect()
    }

    pub(super) fn request_bytes(&self) -> u64 {
        self.request_bytes.load(Relaxed)
    }

    pub(super) fn response_bytes(&self) -> u64 {
        self.response_bytes.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Traffic;
    use crate::types::Reason;

    #[test]
    fn every_reason_has_its_own_counter() {
        let traffic = Traffic::new();
        traffic.book(None, 3, 4);
        for (position, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
            (0..=position).for_each(|_| traffic.book(Some(reason), 0, 0));
        }
        let counts: Vec<u64> = traffic.failed().into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, (1..=Reason::ALL.len() as u64).collect::<Vec<u64>>());
        assert_eq!((traffic.answered(), traffic.request_bytes(), traffic.response_bytes()), (1, 3, 4));
    }
}
