//! The memory that models may take together: asked for before a model is read, given back when it is gone.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::Needs;
use crate::types::{Error, Reason};

/// Bytes that models may take, and that they have taken.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: u64,
    held: Mutex<u64>,
}

/// Bytes of a budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: Mutex::new(0) })
    }

    /// Takes what a version needs while it is loaded. Errors: not so much is left.
    pub(super) fn take(self: &Arc<Self>, needs: &Needs) -> Result<Held, Error> {
        let mut held = self.held.lock();
        let left = self.bytes_max.saturating_sub(*held);
        let bytes = needs.total();
        if bytes > left {
            let detail = format!(
                "needs {} ({} of weights in FP32, {} to read its files), {} of the budget of {} for models are left",
                size(bytes),
                size(needs.weights),
                size(needs.files),
                size(left),
                size(self.bytes_max)
            );
            return Err(Error::new(Reason::Model, detail));
        }
        *held += bytes;
        Ok(Held { budget: Arc::clone(self), bytes })
    }
}

impl Held {
    /// Gives back all but `bytes`.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        *self.budget.held.lock() -= surplus;
        self.bytes -= surplus;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.budget.held.lock() -= self.bytes;
    }
}

/// A number of bytes as people read it, in the largest unit of which it is one or more.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((shift, unit)) = units.into_iter().find(|(shift, _)| bytes >> shift > 0) else {
        return format!("{bytes} B");
    };
    let (whole, tenths) = (bytes >> shift, ((bytes & ((1 << shift) - 1)) * 10) >> shift);
    if tenths == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenths} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::{Budget, size};
    use crate::model::Needs;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_does_not_fit_is_refused_and_what_goes_makes_room() {
        let budget = Budget::new(1000 * MIB);
        let needs = |weights, files| Needs { weights: weights * MIB, files: files * MIB };
        let mut first = budget.take(&needs(300, 300)).expect("room");
        let refused = budget.take(&needs(256, 256)).expect_err("no room");
        assert_eq!(
            refused.detail(),
            "needs 512 MiB (256 MiB of weights in FP32, 256 MiB to read its files), 400 MiB of the budget of 1000 MiB \
             for models are left"
        );
        first.shrink(300 * MIB);
        assert_eq!(first.bytes(), 300 * MIB);
        let second = budget.take(&needs(350, 350)).expect("room");
        assert!(budget.take(&needs(1, 0)).is_err());
        drop(second);
        drop(first);
        budget.take(&needs(500, 500)).expect("all of it");
        assert!(budget.take(&Needs { weights: u64::MAX, files: u64::MAX }).is_err());
    }

    #[test]
    fn sizes_are_read_by_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (2 << 30, "2 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
