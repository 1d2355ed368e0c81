//! What the server does as its memory runs out, in two steps: connections are sent away, then requests are refused.
//!
//! The steps are those of Envoy's overload manager: it is better to answer fewer requests than to be killed with all.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::types::{Error, Reason};

/// Hundredths of the limit from which connections are sent away.
const DRAIN_AT: usize = 92;
/// Hundredths of the limit from which requests are refused.
const REFUSE_AT: usize = 95;
/// Hundredths below a step that have to be free again before it is taken back.
const SLACK: usize = 2;
/// While requests are refused, those in flight may hold one part in so many of what they may hold else.
const SPARED_ONE_IN: usize = 16;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How short memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is enough.
    Normal,
    /// Connections are told to go elsewhere.
    Draining,
    /// Requests are refused as well, save for those that need next to nothing.
    Refusing,
}

/// A limit of memory, and how near it is.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    resident: AtomicUsize,
    pressure: AtomicU8,
}

impl Memory {
    /// A process that may use `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, resident: AtomicUsize::new(0), pressure: AtomicU8::new(Pressure::Normal as u8) }
    }

    /// Bytes that may be used.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The process takes so many bytes now: the step that this puts it on.
    pub fn observe(&self, resident: usize) -> Pressure {
        let pressure = step(resident, self.limit, self.pressure());
        self.resident.store(resident, Relaxed);
        self.pressure.store(pressure as u8, Relaxed);
        pressure
    }

    /// The step that it is on.
    pub fn pressure(&self) -> Pressure {
        match self.pressure.load(Relaxed) {
            0 => Pressure::Normal,
            1 => Pressure::Draining,
            _ => Pressure::Refusing,
        }
    }

    /// Is there memory for requests that then hold `held` of at most `held_max` bytes?
    ///
    /// While memory is nearly used up they may hold a sixteenth. That much is found in what earlier requests have given
    /// back: the allocator keeps it, and the system counts it as used, until it is asked for again. Errors:
    /// [`Reason::Memory`].
    pub(super) fn admit(&self, held: usize, held_max: usize) -> Result<(), Error> {
        if self.pressure() < Pressure::Refusing || held <= held_max / SPARED_ONE_IN {
            return Ok(());
        }
        let (resident, limit) = (self.resident.load(Relaxed), self.limit);
        let detail =
            format!("the server takes {resident} bytes of memory, {REFUSE_AT} % or more of its limit of {limit}");
        Err(Error::new(Reason::Memory, detail).retry_after(RETRY_AFTER))
    }
}

/// The step for `resident` bytes of `limit`, coming from `before`: taken at once, and back with some slack.
fn step(resident: usize, limit: usize, before: Pressure) -> Pressure {
    let at = |hundredths: usize| limit / 100 * hundredths;
    let slack = |step: Pressure| if before >= step { SLACK } else { 0 };
    if resident >= at(REFUSE_AT - slack(Pressure::Refusing)) {
        Pressure::Refusing
    } else if resident >= at(DRAIN_AT - slack(Pressure::Draining)) {
        Pressure::Draining
    } else {
        Pressure::Normal
    }
}

#[cfg(test)]
mod tests {
    use super::{Memory, Pressure};
    use crate::types::Reason;

    #[test]
    fn steps_are_taken_at_once_and_back_with_slack() {
        let memory = Memory::new(1000);
        let steps = [(919, 0), (920, 1), (949, 1), (950, 2), (935, 2), (929, 1), (901, 1), (899, 0), (999, 2), (0, 0)];
        for (resident, expected) in steps {
            assert_eq!(memory.observe(resident) as u8, expected, "{resident} bytes");
            assert_eq!(memory.admit(17, 160).is_err(), expected == 2);
        }
        assert_eq!(memory.observe(980), Pressure::Refusing);
        memory.admit(10, 160).expect("what the allocator keeps");
        let refused = memory.admit(11, 160).expect_err("no memory");
        assert_eq!(refused.reason(), Reason::Memory);
        assert_eq!(refused.detail(), "the server takes 980 bytes of memory, 95 % or more of its limit of 1000");
        assert!(refused.pushback().is_some());
    }
}
