//! Inputs that may have ended the process that computed them: tried alone, and refused for a while if they do it again.
//!
//! A batch that ends its process has one culprit at most. None of its inputs is blamed: they are suspects, and run alone the
//! next time. Who survives that is cleared. Who ends the process alone, twice, is refused; after that it is on probation, and
//! a third time is enough. Suspects are known by a keyed hash, so that nobody can make an input of which another's is
//! suspected.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

/// Deaths alone after which an input is refused.
const DEATHS_MAX: u32 = 2;
/// For so long it is refused, and for as long it is remembered before and after.
const REFUSED_FOR: Duration = Duration::from_mins(10);
const SUSPECTS_MAX: usize = 1024;

/// What is to be done with an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs with others.
    Clean,
    /// It runs, but in a batch of its own.
    Alone,
    /// It does not run.
    Refused {
        /// For so much longer.
        lasts: Duration,
    },
}

/// The suspects of one model.
#[derive(Debug, Default)]
pub struct Quarantine {
    key: RandomState,
    suspects: Mutex<HashMap<u64, Suspect>>,
    /// How many there are, so that nobody takes a lock, or hashes anything, while there are none.
    count: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    /// How often the process died while it ran alone.
    deaths: u32,
    /// When the process died last while it ran.
    died: Instant,
}

impl Suspect {
    fn refused_until(self) -> Option<Instant> {
        (self.deaths >= DEATHS_MAX).then(|| self.died + REFUSED_FOR)
    }

    fn remembered_until(self) -> Instant {
        self.refused_until().unwrap_or(self.died) + REFUSED_FOR
    }
}

impl Quarantine {
    /// One without suspects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Are there no suspects? Cost: one load. Ask before hashing.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// How many suspects there are, the refused among them.
    pub fn suspects(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// What an input is known by. Cost: a pass of `SipHash` over its bytes.
    pub fn hash(&self, input: &impl Hash) -> u64 {
        self.key.hash_one(input)
    }

    /// What is to be done with this input?
    pub fn verdict(&self, hash: u64, now: Instant) -> Verdict {
        let mut suspects = self.suspects.lock();
        let Some(suspect) = suspects.get(&hash).copied() else { return Verdict::Clean };
        if now >= suspect.remembered_until() {
            suspects.remove(&hash);
            self.counted(&suspects);
            return Verdict::Clean;
        }
        match suspect.refused_until() {
            Some(until) if now < until => Verdict::Refused { lasts: until - now },
            _ => Verdict::Alone,
        }
    }

    /// The process died while a batch of these inputs ran; `beside` others that it had been given?
    pub fn died(&self, hashes: &[u64], beside: bool, now: Instant) {
        let Some((first, rest)) = hashes.split_first() else { return };
        // The same input twice is alone as well.
        let alone = u32::from(!beside && rest.iter().all(|other| other == first));
        let mut suspects = self.suspects.lock();
        suspects.retain(|_, suspect| now < suspect.remembered_until());
        for (at, hash) in hashes.iter().enumerate() {
            let before = suspects.get(hash).map_or(0, |suspect| suspect.deaths);
            let once = if at == 0 { alone } else { 0 };
            suspects.insert(*hash, Suspect { deaths: before + once, died: now });
        }
        drop_oldest(&mut suspects);
        self.counted(&suspects);
    }

    /// A batch of this input alone was answered: it is no suspect any more.
    pub fn survived(&self, hash: u64) {
        let mut suspects = self.suspects.lock();
        suspects.remove(&hash);
        self.counted(&suspects);
    }

    fn counted(&self, suspects: &HashMap<u64, Suspect>) {
        self.count.store(suspects.len(), Ordering::Relaxed);
    }
}

/// Forgets those whose batch died longest ago where there are too many.
fn drop_oldest(suspects: &mut HashMap<u64, Suspect>) {
    let Some(excess) = suspects.len().checked_sub(SUSPECTS_MAX) else { return };
    let mut by_age: Vec<(Instant, u64)> = suspects.iter().map(|(hash, suspect)| (suspect.died, *hash)).collect();
    by_age.sort_unstable();
    for (_, hash) in by_age.iter().take(excess) {
        suspects.remove(hash);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Duration, Instant, Quarantine, REFUSED_FOR, SUSPECTS_MAX, Verdict};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_input_that_kills_alone_twice_is_refused_for_a_while_and_then_on_probation() {
        let (quarantine, now) = (Quarantine::new(), Instant::now());
        assert!(quarantine.is_empty());
        quarantine.died(&[1, 2, 3], false, now);
        assert_eq!(quarantine.suspects(), 3);
        quarantine.died(&[2], false, now);
        assert_eq!(quarantine.verdict(2, now), Verdict::Alone, "once may be chance");
        quarantine.died(&[2], false, now + SECOND);
        assert_eq!(quarantine.verdict(2, now + SECOND), Verdict::Refused { lasts: REFUSED_FOR });
        assert_eq!(quarantine.verdict(2, now + REFUSED_FOR), Verdict::Refused { lasts: SECOND });
        let later = now + SECOND + REFUSED_FOR;
        assert_eq!(quarantine.verdict(2, later), Verdict::Alone);
        quarantine.died(&[2], false, later);
        assert_eq!(quarantine.verdict(2, later), Verdict::Refused { lasts: REFUSED_FOR }, "at once");
        assert_eq!(quarantine.verdict(2, later + 2 * REFUSED_FOR), Verdict::Clean);
        assert!(quarantine.is_empty(), "what was not heard of again is forgotten");
    }

    #[test]
    fn who_shared_a_batch_is_tried_alone_and_cleared() {
        let (quarantine, now) = (Quarantine::new(), Instant::now());
        for _ in 0..10 {
            quarantine.died(&[1, 2], false, now);
        }
        assert_eq!(quarantine.verdict(1, now), Verdict::Alone, "company is no proof, however often");
        assert_eq!(quarantine.verdict(3, now), Verdict::Clean);
        quarantine.survived(1);
        quarantine.survived(3);
        assert_eq!((quarantine.verdict(1, now), quarantine.verdict(2, now)), (Verdict::Clean, Verdict::Alone));
        quarantine.died(&[], false, now);
        quarantine.died(&[6], true, now);
        quarantine.died(&[6], true, now);
        assert_eq!(quarantine.verdict(6, now), Verdict::Alone, "another batch may have been the guilty one");
        quarantine.survived(6);
        quarantine.died(&[5, 5], false, now);
        quarantine.died(&[5, 5], false, now);
        assert!(matches!(quarantine.verdict(5, now), Verdict::Refused { .. }), "the same twice is alone");
    }

    #[test]
    fn the_oldest_suspects_make_room() {
        let (quarantine, now) = (Quarantine::new(), Instant::now());
        quarantine.died(&[0], false, now);
        let many: Vec<u64> = (1..=SUSPECTS_MAX as u64).collect();
        quarantine.died(&many, false, now + SECOND);
        assert_eq!(quarantine.suspects(), SUSPECTS_MAX);
        assert_eq!(quarantine.verdict(0, now + SECOND), Verdict::Clean);
    }

    #[test]
    fn no_two_servers_hash_alike() {
        let (one, other) = (Quarantine::new(), Quarantine::new());
        assert_eq!(one.hash(&[1_u8, 2]), one.hash(&[1_u8, 2]));
        assert_ne!(one.hash(&[1_u8, 2]), other.hash(&[1_u8, 2]));
    }

    /// What may happen to inputs that are known by small numbers.
    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Died(Vec<u64>),
        Survived(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1_u64..900).prop_map(Step::Wait),
            prop::collection::vec(0_u64..6, 1..4).prop_map(Step::Died),
            (0_u64..6).prop_map(Step::Survived),
        ]
    }

    /// What is known of one input, told as it was lived.
    #[derive(Clone, Copy, Default)]
    struct Life {
        alone: u32,
        died: Option<Instant>,
    }

    impl Life {
        fn verdict(self, now: Instant) -> Verdict {
            let Some(died) = self.died else { return Verdict::Clean };
            let age = now - died;
            match self.alone {
                0 | 1 if age < REFUSED_FOR => Verdict::Alone,
                0 | 1 => Verdict::Clean,
                _ if age < REFUSED_FOR => Verdict::Refused { lasts: REFUSED_FOR.saturating_sub(age) },
                _ if age < 2 * REFUSED_FOR => Verdict::Alone,
                _ => Verdict::Clean,
            }
        }
    }

    proptest! {
        #[test]
        fn verdicts_follow_from_what_happened(steps in prop::collection::vec(step(), 0..60)) {
            let (quarantine, mut now) = (Quarantine::new(), Instant::now());
            let mut lives = [Life::default(); 6];
            for step in steps {
                match step {
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                    Step::Died(mut hashes) => {
                        quarantine.died(&hashes, false, now);
                        hashes.sort_unstable();
                        hashes.dedup();
                        for hash in &hashes {
                            let life = &mut lives[usize::try_from(*hash).expect("small")];
                            let known = if life.verdict(now) == Verdict::Clean { 0 } else { life.alone };
                            *life = Life { alone: known + u32::from(hashes.len() == 1), died: Some(now) };
                        }
                    }
                    Step::Survived(hash) => {
                        quarantine.survived(hash);
                        lives[usize::try_from(hash).expect("small")] = Life::default();
                    }
                }
                for (hash, life) in (0_u64..).zip(lives) {
                    prop_assert_eq!(quarantine.verdict(hash, now), life.verdict(now), "{}", hash);
                }
                let suspects = lives.iter().filter(|life| life.verdict(now) != Verdict::Clean).count();
                prop_assert_eq!(quarantine.suspects(), suspects);
            }
        }
    }
}
