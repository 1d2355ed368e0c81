//! A limit that many share, so that none can take it whole.
//!
//! The rule is that of dynamic thresholds (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
//! switches", 1998): one holder may hold at most α times what is free. A lone holder gets α / (1 + α) of the limit and
//! leaves the rest for others; greedy ones get equal parts. Nothing has to be known of how many there are.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// α of the least urgent level. Alone, such a holder gets four fifths.
const ALPHA_MIN: usize = 4;
/// Each level more urgent has an α so many times as large, so that it finds room where those below find none.
const ALPHA_STEP: u32 = 4;
const STEPS_MAX: usize = 8;

/// α of `level` (0 the most urgent) of `levels`.
pub fn alpha(level: usize, levels: usize) -> usize {
    let steps = levels.saturating_sub(level + 1).min(STEPS_MAX);
    // Eight steps at most: 2^18.
    ALPHA_MIN * (ALPHA_STEP as usize).pow(u32::try_from(steps).unwrap_or(0))
}

/// May one who holds `held` take `amount` more, where `free` are left? What counts is what is free before the last unit
/// of it is taken: one at a time a short queue can be filled, and at once nobody takes most of a limit.
///
/// Who holds nothing may take whatever is free.
pub fn may_take(amount: usize, held: usize, free: usize, alpha: usize) -> bool {
    let last = free.saturating_sub(amount).saturating_add(1);
    amount <= free && (held == 0 || held.saturating_add(amount) <= alpha.saturating_mul(last))
}

/// So much of something, shared by all.
#[derive(Debug)]
pub(super) struct Pool {
    max: usize,
    used: AtomicUsize,
}

/// What one holder has of a pool.
#[derive(Debug, Default)]
pub(super) struct Account(AtomicUsize);

impl Pool {
    pub(super) fn new(max: usize) -> Self {
        Self { max, used: AtomicUsize::new(0) }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    pub(super) fn free(&self) -> usize {
        self.max.saturating_sub(self.used())
    }

    /// Takes `amount`; tells what was free before. Errors: what was used, where that leaves too little.
    pub(super) fn take(&self, amount: usize) -> Result<usize, usize> {
        let used = self.used.fetch_add(amount, Relaxed);
        let free = self.max.saturating_sub(used);
        if amount > free {
            self.give(amount);
            return Err(used);
        }
        Ok(free)
    }

    /// Takes `amount` whatever is free.
    pub(super) fn force(&self, amount: usize) {
        self.used.fetch_add(amount, Relaxed);
    }

    pub(super) fn give(&self, amount: usize) {
        self.used.fetch_sub(amount, Relaxed);
    }
}

impl Account {
    pub(super) fn held(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Takes `amount` where `free` were left before, for something that has `own` of what is held already and is judged
    /// as a whole. Errors: what is held, where that is too much.
    pub(super) fn take(&self, amount: usize, own: usize, free: usize, alpha: usize) -> Result<(), usize> {
        let held = self.0.fetch_add(amount, Relaxed);
        let (whole, others) = (amount.saturating_add(own), held.saturating_sub(own));
        if may_take(whole, others, free.saturating_add(own), alpha) {
            return Ok(());
        }
        self.give(amount);
        Err(held)
    }

    pub(super) fn force(&self, amount: usize) {
        self.0.fetch_add(amount, Relaxed);
    }

    pub(super) fn give(&self, amount: usize) {
        self.0.fetch_sub(amount, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{alpha, may_take};
    use proptest::prelude::*;

    #[test]
    fn urgent_levels_find_room_where_others_find_none() {
        assert_eq!((alpha(1, 2), alpha(0, 2), alpha(0, 1), alpha(0, 16)), (4, 16, 4, 1 << 18));
        // 100 in all, 81 held by one.
        assert!(!may_take(1, 81, 19, alpha(1, 2)));
        assert!(may_take(1, 81, 19, alpha(0, 2)));
    }

    #[test]
    fn a_few_large_parts_are_not_all() {
        let taken = |parts: usize| (0..parts).filter(|part| may_take(100, part * 100, (parts - part) * 100, 4)).count();
        assert_eq!((taken(1), taken(2), taken(4), taken(8)), (1, 1, 3, 6));
        assert!(may_take(100, 0, 100, 4), "who holds nothing");
    }

    proptest! {
        /// Whatever is asked by whom, the limit holds, and who holds it alone leaves a fifth for others.
        #[test]
        fn nobody_takes_it_whole(asks in prop::collection::vec((0_usize..4, 1_usize..9), 1..400)) {
            let max = 90;
            let mut held = [0_usize; 4];
            for (who, amount) in asks {
                let free = max - held.iter().sum::<usize>();
                if amount <= free && may_take(amount, held[who], free, 4) {
                    held[who] += amount;
                }
                let all: usize = held.iter().sum();
                prop_assert!(all <= max && held.iter().all(|held| *held <= max * 4 / 5 + 8));
                if held[who] == all {
                    prop_assert!(may_take(1, 0, max - all, 4), "a newcomer finds room: {held:?}");
                }
            }
        }
    }
}
