//! Ways to fail that the server may ask for, so that what follows can be tested and shown.

use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use sconce::device::wire::{Failure, FaultInjection};

use crate::device::Failed;
use crate::outputs::Outputs;

/// Bytes that are no frame.
const GARBAGE: [u8; 48] = [0xa5; 48];

/// The faults that are wanted now; none as a rule.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    garbage: bool,
    hang: bool,
    slow: Duration,
    memory_above: Option<u64>,
    non_finite: bool,
}

impl Faults {
    /// Obeys an order.
    pub(crate) fn order(&self, fault: &FaultInjection) {
        let mut wanted = self.0.lock();
        match fault {
            FaultInjection::Garbage => wanted.garbage = true,
            FaultInjection::Hang => wanted.hang = true,
            FaultInjection::Slow(longer) => wanted.slow = *longer,
            FaultInjection::OutOfMemoryAbove(size) => wanted.memory_above = Some(*size),
            FaultInjection::NonFinite => wanted.non_finite = true,
            FaultInjection::Exit(code) => crate::control::end(*code),
            FaultInjection::Clear => *wanted = Wanted::default(),
        }
    }

    /// What happens before a batch runs.
    pub(crate) fn before(&self) {
        let (hang, slow) = {
            let wanted = self.0.lock();
            (wanted.hang, wanted.slow)
        };
        if hang {
            hang_for_ever();
        }
        if !slow.is_zero() {
            #[expect(clippy::disallowed_methods, reason = "to be slow is what is asked for")]
            thread::sleep(slow);
        }
    }

    /// Whether a batch of this size runs at all.
    pub(crate) fn admits(&self, size: usize) -> Result<(), Failed> {
        match self.0.lock().memory_above {
            Some(most) if size as u64 > most => {
                Err(Failed::new(Failure::Memory, format!("out of memory, as was ordered, for a size of {size}")))
            }
            _ => Ok(()),
        }
    }

    /// What happens to the outputs of a batch that has run.
    pub(crate) fn after(&self, outputs: &mut Outputs<'_>) -> Result<(), Failed> {
        let spoil = self.0.lock().non_finite;
        if spoil { outputs.spoil() } else { Ok(()) }
    }

    /// What is said in the place of an answer.
    pub(crate) fn garbage(&self) -> Option<&'static [u8]> {
        self.0.lock().garbage.then_some(&GARBAGE)
    }
}

fn hang_for_ever() -> ! {
    loop {
        thread::park();
    }
}
