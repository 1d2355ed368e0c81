//! A request that a version's first device answered, by which its other rungs are tried out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::monitor::Trial;
use crate::types::{Rows, RungKind, Tensor};

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The inputs as they came, in the signature's order; empty where only the rows are known.
    pub inputs: Vec<Option<Tensor>>,
    /// The rows that were made of them.
    pub rows: Rows,
    /// What the first device gave; empty if it gave nothing.
    pub outputs: Vec<Tensor>,
    /// Did no client send it?
    pub made_up: bool,
}

/// Takes a sample of a version's traffic now and then, and keeps what came of trials.
#[derive(Debug)]
pub struct Sampler {
    wanted: AtomicBool,
    taken: Mutex<Option<Sample>>,
    last: Mutex<BTreeMap<RungKind, Trial>>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { wanted: AtomicBool::new(true), taken: Mutex::default(), last: Mutex::default() }
    }
}

impl Sampler {
    /// Takes the sample if one is wanted. Cost: a load, unless one is.
    pub fn offer(&self, sample: impl FnOnce() -> Sample) {
        if self.wanted.load(Relaxed) && self.wanted.swap(false, Relaxed) {
            *self.taken.lock() = Some(sample());
        }
    }

    /// The last sample that was taken; from now on another is wanted.
    pub fn take(&self) -> Option<Sample> {
        let sample = self.taken.lock().clone();
        self.wanted.store(true, Relaxed);
        sample
    }

    /// What came of a trial; true if the one before ended otherwise.
    pub fn tried(&self, rung: RungKind, trial: Trial) -> bool {
        self.last.lock().insert(rung, trial) != Some(trial)
    }

    /// Rungs whose last trial did not end well.
    pub fn troubled(&self) -> Vec<(RungKind, Trial)> {
        let last = self.last.lock();
        last.iter().filter(|(_, trial)| **trial != Trial::Agreed).map(|(rung, trial)| (*rung, *trial)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Sample, Sampler};
    use crate::monitor::Trial;
    use crate::types::{Rows, RungKind};

    #[test]
    fn one_sample_is_taken_for_each_trial() {
        let sampler = Sampler::default();
        let sample = || Sample { inputs: Vec::new(), rows: Rows::default(), outputs: Vec::new(), made_up: false };
        assert!(sampler.take().is_none());
        sampler.offer(sample);
        sampler.offer(|| panic!("one is enough"));
        assert!(sampler.take().is_some());
        let mut taken = false;
        sampler.offer(|| {
            taken = true;
            sample()
        });
        assert!(taken);
        assert!(sampler.tried(RungKind::Cpu, Trial::Differed) && !sampler.tried(RungKind::Cpu, Trial::Differed));
        assert_eq!(sampler.troubled(), [(RungKind::Cpu, Trial::Differed)]);
        assert!(sampler.tried(RungKind::Cpu, Trial::Agreed) && sampler.troubled().is_empty());
    }
}
