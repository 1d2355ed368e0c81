//! Where answered requests spent their time: a histogram of each phase, since the start and over the window.

use std::time::Duration;

use tokio::time::Instant;

use super::snapshot::PhaseSnapshot;
use crate::stats::{BUCKETS, Distribution, Histogram, Window};

/// Steps in which the window moves on.
pub(super) const SLICES: u32 = 6;

/// A part of a request's time in the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// From arrival to the encoded answer.
    Total,
    /// Waiting for a batch.
    Queue,
    /// Execution of the batch.
    Compute,
    /// From arrival to the decoded request.
    Decode,
    /// Making the model's rows: of texts and images only.
    Prepare,
    /// From the model's answer to the encoded one.
    Encode,
}

/// Every phase.
pub const PHASES: [Phase; 6] =
    [Phase::Total, Phase::Queue, Phase::Compute, Phase::Decode, Phase::Prepare, Phase::Encode];

impl Phase {
    /// The label under which it is exposed.
    pub fn label(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Queue => "queue",
            Self::Compute => "compute",
            Self::Decode => "decode",
            Self::Prepare => "prepare",
            Self::Encode => "encode",
        }
    }
}

/// Histograms of every phase and the window over them.
#[derive(Debug)]
pub(super) struct Latency {
    phases: [Histogram; PHASES.len()],
    window: Window,
}

impl Latency {
    pub(super) fn new(window: Duration, origin: Instant) -> Self {
        let window = Window::new(PHASES.len() * BUCKETS, window, SLICES, origin);
        Self { phases: std::array::from_fn(|_| Histogram::new()), window }
    }

    #[inline]
    pub(super) fn record(&self, phase: Phase, took_nanos: u64) {
        // One histogram for each phase, in order of declaration.
        self.phases[phase as usize].record(took_nanos);
    }

    /// Has a slice of the window ended? If so, [`Self::turn`] before recording.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.window.is_due(now)
    }

    pub(super) fn turn(&self, now: Instant) {
        self.window.turn(now, self.cells());
    }

    fn cells(&self) -> impl Iterator<Item = u64> {
        self.phases.iter().flat_map(Histogram::counts)
    }

    pub(super) fn snapshot(&self, now: Instant) -> Vec<PhaseSnapshot> {
        let recent = self.window.recent(now, self.cells());
        let each = PHASES.into_iter().zip(&self.phases).zip(recent.chunks(BUCKETS));
        each.map(|((phase, histogram), recent)| PhaseSnapshot {
            phase,
            recent: Distribution::from_counts(recent.to_vec()),
            total: histogram.distribution(),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::PHASES;

    #[test]
    fn phases_are_numbered_in_order() {
        assert!(PHASES.into_iter().enumerate().all(|(position, phase)| phase as usize == position));
    }
}
