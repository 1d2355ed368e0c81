//! What a model may take of a device's memory, and whether a batch would take more: told before the driver has to.

/// Batches of fewer elements tell nothing of larger ones.
const LEARNED_FROM: usize = 8;

/// A model's memory: its weights, which stay, and what a batch takes for a while, which is learned from those that have run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Budget {
    /// Bytes of the weights.
    weights: u64,
    /// Bytes that it may take, if there is a limit.
    most: Option<u64>,
    /// The largest share of a batch's bytes that one of its elements has taken.
    bytes_each: f64,
}

impl Budget {
    /// A budget for weights of so many bytes, on a device that has `free`. Errors: they take more than there is, or may be.
    pub(crate) fn new(weights: u64, most: Option<u64>, free: u64) -> Result<Self, String> {
        if let Some(most) = most.filter(|most| weights > *most) {
            return Err(format!("its weights take {}; `device.memory_max` is {}", mib(weights), mib(most)));
        }
        if weights > free {
            return Err(format!("its weights take {}; the device has {} free", mib(weights), mib(free)));
        }
        Ok(Self { weights, most, bytes_each: 0.0 })
    }

    /// Is there room for a batch of this size? `free` is asked how much the device has: this much at least, or all. A model whose
    /// batches have told nothing yet is let in. Errors: how much it would take, and what there is.
    pub(crate) fn admit(&self, size: usize, free: impl FnOnce(u64) -> u64) -> Result<(), String> {
        let wanted = self.predict(size);
        let left = self.most.map(|most| most.saturating_sub(self.weights));
        if let Some(left) = left.filter(|left| wanted > *left) {
            let (wanted, left) = (mib(wanted), mib(left));
            return Err(format!(
                "a batch of size {size} takes {wanted}; `device.memory_max` leaves {left} beside the weights"
            ));
        }
        let free = if wanted > 0 { free(wanted) } else { u64::MAX };
        if wanted > free {
            return Err(format!("a batch of size {size} takes {}; the device has {} free", mib(wanted), mib(free)));
        }
        Ok(())
    }

    /// A batch of this size has taken so many bytes at once.
    pub(crate) fn learn(&mut self, size: usize, bytes: u64) {
        #[expect(clippy::cast_precision_loss, reason = "sizes and bytes are far below 2^52")]
        let each = bytes as f64 / size.max(1) as f64;
        // What any batch takes is not to be multiplied.
        if size >= LEARNED_FROM {
            self.bytes_each = self.bytes_each.max(each);
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sizes and bytes are far below 2^52, and none is negative"
    )]
    fn predict(&self, size: usize) -> u64 {
        (self.bytes_each * size as f64) as u64
    }
}

/// Bytes as people read them.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::Budget;

    const MIB: u64 = 1 << 20;

    #[test]
    fn weights_that_do_not_fit_are_refused() {
        let told = |most, free| Budget::new(100 * MIB, most, free).expect_err("too large");
        assert_eq!(told(Some(64 * MIB), 1000 * MIB), "its weights take 100 MiB; `device.memory_max` is 64 MiB");
        assert_eq!(told(None, 99 * MIB), "its weights take 100 MiB; the device has 99 MiB free");
        assert!(Budget::new(100 * MIB, Some(100 * MIB), 100 * MIB).is_ok());
    }

    #[test]
    fn batches_are_refused_by_what_others_have_taken() {
        let mut budget = Budget::new(100 * MIB, Some(200 * MIB), 1000 * MIB).expect("room");
        assert_eq!(budget.admit(1 << 20, |_| 0), Ok(()), "nothing has been learned");
        budget.learn(1, 10 * MIB);
        assert_eq!(budget.admit(1 << 20, |_| 0), Ok(()), "a single row tells nothing of many");
        budget.learn(10, 10 * MIB);
        budget.learn(50, 20 * MIB);
        assert_eq!(budget.admit(100, |_| 100 * MIB), Ok(()));
        let told = "a batch of size 101 takes 101 MiB; `device.memory_max` leaves 100 MiB beside the weights";
        assert_eq!(budget.admit(101, |_| 1000 * MIB), Err(told.to_owned()));
        let told = "a batch of size 50 takes 50 MiB; the device has 49 MiB free";
        assert_eq!(budget.admit(50, |_| 49 * MIB), Err(told.to_owned()));
    }
}
