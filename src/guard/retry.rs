//! A budget for second tries, so that a failing device is not met with twice the load.
//!
//! The rule is that of the SRE book (chapter 22, "Addressing Cascading Failures") and of Envoy's retry budgets: retries may be
//! a fifth of first tries. It is kept as Finagle keeps it, as a bucket of tokens that first tries fill.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// First tries that earn one retry.
const TRIES_PER_RETRY: u32 = 5;
/// Retries that can be saved up, so that one lost batch after a quiet time can be tried again whole.
const RETRIES_MAX: u32 = 512;
const EARNED_MAX: u32 = RETRIES_MAX * TRIES_PER_RETRY;

/// The budget of one model. Cost: one load for each first try while it is full, else an atomic addition.
#[derive(Debug)]
pub struct RetryBudget {
    /// First tries that were not spent yet.
    earned: AtomicU32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl RetryBudget {
    /// A full one.
    pub fn new() -> Self {
        Self { earned: AtomicU32::new(EARNED_MAX) }
    }

    /// A request is tried for the first time.
    pub fn earn(&self) {
        // A full budget is the rule, and so is only read: no two processors contend for it.
        let more = |earned: u32| (earned < EARNED_MAX).then_some(earned + 1);
        let _was_full = self.earned.fetch_update(Relaxed, Relaxed, more);
    }

    /// May a request be tried once more? If so, that is paid for.
    pub fn try_spend(&self) -> bool {
        self.earned.fetch_update(Relaxed, Relaxed, |earned| earned.checked_sub(TRIES_PER_RETRY)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{RETRIES_MAX, RetryBudget, TRIES_PER_RETRY};

    fn spend(budget: &RetryBudget, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(budget.try_spend())).sum()
    }

    #[test]
    fn a_full_budget_is_spent_and_first_tries_earn_a_fifth() {
        let budget = RetryBudget::new();
        budget.earn();
        assert_eq!(spend(&budget, 1000), RETRIES_MAX);
        (0..TRIES_PER_RETRY - 1).for_each(|_| budget.earn());
        assert!(!budget.try_spend());
        budget.earn();
        assert!(budget.try_spend() && !budget.try_spend());
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!(spend(&budget, 1000), RETRIES_MAX, "no more can be saved up");
    }

    #[test]
    fn threads_do_not_spend_the_same_token() {
        let budget = RetryBudget::new();
        let spent: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| spend(&budget, RETRIES_MAX))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(spent, RETRIES_MAX);
    }

    proptest! {
        /// Retries are at most what was saved and a fifth of the first tries.
        #[test]
        fn retries_are_a_fifth_of_first_tries(tries in prop::collection::vec(any::<bool>(), 0..6000)) {
            let budget = RetryBudget::new();
            let (mut first, mut retries) = (0_u32, 0_u32);
            for is_first in tries {
                if is_first {
                    budget.earn();
                    first += 1;
                } else if budget.try_spend() {
                    retries += 1;
                } else {
                    prop_assert!(retries >= RETRIES_MAX, "what was saved is there to be spent");
                }
                prop_assert!(retries <= RETRIES_MAX + first / TRIES_PER_RETRY);
            }
        }
    }
}
