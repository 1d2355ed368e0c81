//! The rungs of a deployment's ladder: who answered, what failed, and where each breaker stands.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::types::RungKind;

/// What can go wrong on a rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RungFailure {
    /// The device or its process was lost.
    Lost,
    /// A batch took too long.
    Overdue,
    /// A batch did not fit the device's memory.
    Memory,
    /// Outputs held NaN or an infinity that the next rung's did not.
    NonFinite,
    /// Whatever else: the rung refused, was full, or is not there.
    Other,
}

impl RungFailure {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Lost, Self::Overdue, Self::Memory, Self::NonFinite, Self::Other];

    fn label(self) -> &'static str {
        match self {
            Self::Lost => "device_lost",
            Self::Overdue => "device_overdue",
            Self::Memory => "device_memory",
            Self::NonFinite => "non_finite",
            Self::Other => "other",
        }
    }
}

/// How a rung's answer to a trial compared with that of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It agreed.
    Agreed,
    /// It differed by more than is tolerated.
    Differed,
    /// There was none.
    Failed,
}

impl Trial {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Agreed, Self::Differed, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Differed => "differed",
            Self::Failed => "failed",
        }
    }
}

/// Counters of one rung. They outlive reloads.
#[derive(Debug, Default)]
pub struct RungCounts {
    answers: AtomicU64,
    failures: [AtomicU64; RungFailure::ALL.len()],
    trials: [AtomicU64; Trial::ALL.len()],
    /// 0 closed, 1 probing, 2 open.
    breaker: AtomicU8,
    opened: AtomicU64,
    batch_size_max: AtomicUsize,
}

impl RungCounts {
    /// It answered a request.
    pub fn answered(&self) {
        self.answers.fetch_add(1, Relaxed);
    }

    /// A request, or a batch, failed on it.
    pub fn failed(&self, how: RungFailure) {
        // One place for each, in order of declaration.
        self.failures[how as usize].fetch_add(1, Relaxed);
    }

    /// It was tried out.
    pub fn tried(&self, how: Trial) {
        self.trials[how as usize].fetch_add(1, Relaxed);
    }

    /// Where its breaker stands: 0 closed, 1 probing, 2 open.
    pub fn set_breaker(&self, state: u8) {
        let before = self.breaker.swap(state, Relaxed);
        if state == 2 && before != 2 {
            self.opened.fetch_add(1, Relaxed);
        }
    }

    /// Size of its largest batch, as configured or as the device has memory for.
    pub fn set_batch_size_max(&self, size: usize) {
        self.batch_size_max.store(size, Relaxed);
    }

    pub(super) fn snapshot(&self, kind: RungKind) -> RungSnapshot {
        let failures = RungFailure::ALL.iter().zip(&self.failures);
        let trials = Trial::ALL.iter().zip(&self.trials);
        RungSnapshot {
            name: kind.label(),
            is_device: matches!(kind, RungKind::Worker | RungKind::Cpu),
            answers: self.answers.load(Relaxed),
            failures: failures.map(|(how, count)| (how.label(), count.load(Relaxed))).collect(),
            trials: trials.map(|(how, count)| (how.label(), count.load(Relaxed))).collect(),
            breaker: self.breaker.load(Relaxed),
            opened: self.opened.load(Relaxed),
            batch_size_max: self.batch_size_max.load(Relaxed),
        }
    }
}

/// What a rung's counters showed.
#[derive(Clone, Debug)]
pub struct RungSnapshot {
    /// Its label.
    pub name: &'static str,
    /// Is it a device, with a breaker and batches of its own?
    pub is_device: bool,
    /// Requests that it answered.
    pub answers: u64,
    /// What failed on it, by label.
    pub failures: Vec<(&'static str, u64)>,
    /// How it compared with the first rung, by label.
    pub trials: Vec<(&'static str, u64)>,
    /// 0 closed, 1 probing, 2 open.
    pub breaker: u8,
    /// How often its breaker opened.
    pub opened: u64,
    /// Size of its largest batch.
    pub batch_size_max: usize,
}
