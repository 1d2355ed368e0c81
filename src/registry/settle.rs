//! What is being written is left alone until it has stayed as it is for a while.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::time::{Duration, Instant};

/// How things looked, and since when. A thing is whatever `K` names, its look a number; `None` if it is gone.
#[derive(Debug)]
pub(super) struct Settling<K> {
    time: Duration,
    seen: HashMap<K, Seen>,
    round: u64,
}

#[derive(Debug)]
struct Seen {
    look: Option<u64>,
    since: Instant,
    round: u64,
}

impl<K: Eq + Hash> Settling<K> {
    /// Things settle once they have stayed as they are for `time`.
    pub(super) fn new(time: Duration) -> Self {
        Self { time, seen: HashMap::new(), round: 0 }
    }

    /// A thing looks so now: has it settled?
    pub(super) fn observe(&mut self, thing: K, look: Option<u64>, now: Instant) -> bool {
        let fresh = Seen { look, since: now, round: self.round };
        let seen = self.seen.entry(thing).or_insert(fresh);
        if seen.look != look {
            (seen.look, seen.since) = (look, now);
        }
        seen.round = self.round;
        now >= seen.since + self.time
    }

    /// Everything has been observed once more: forgets what was not, and says when the next thing may have settled.
    pub(super) fn end_round(&mut self, now: Instant) -> Option<Instant> {
        let round = self.round;
        self.seen.retain(|_, seen| seen.round == round);
        self.round += 1;
        self.seen.values().map(|seen| seen.since + self.time).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, Instant};

    use super::Settling;

    #[test]
    fn things_settle_when_they_have_not_changed() {
        let second = Duration::from_secs(1);
        let mut settling = Settling::new(second);
        let start = Instant::now();
        let looks = [(0, Some(1), false), (5, Some(1), false), (9, Some(2), false), (18, Some(2), false)];
        let more =
            [(19, Some(2), true), (20, None, false), (30, None, true), (31, Some(2), false), (60, Some(2), true)];
        for (tenths, look, settled) in looks.into_iter().chain(more) {
            let now = start + second / 10 * tenths;
            assert_eq!(settling.observe("a", look, now), settled, "at {tenths}");
            settling.end_round(now);
        }
    }

    #[test]
    fn a_round_tells_when_to_look_again_and_forgets_what_is_not_seen() {
        let second = Duration::from_secs(1);
        let mut settling = Settling::new(second);
        let start = Instant::now();
        assert_eq!(settling.end_round(start), None);
        settling.observe("a", Some(1), start);
        assert_eq!(settling.end_round(start), Some(start + second));
        settling.observe("b", Some(1), start + second / 2);
        assert_eq!(settling.end_round(start + second / 2), Some(start + second / 2 + second));
        assert!(!settling.observe("a", Some(1), start + 2 * second), "it was away for a round");
        let mut at_once = Settling::new(Duration::ZERO);
        assert!(at_once.observe("a", Some(1), start));
        assert_eq!(at_once.end_round(start), None);
    }
}
