//! How large a batch the device has memory for, as it has shown.

use tokio::time::{Duration, Instant};

/// After so long without a failure a larger batch is tried again: what filled the memory may have gone.
const PATIENCE: Duration = Duration::from_mins(1);
/// By which part of itself the limit grows then.
const GROWTH_ONE_IN: usize = 8;

/// The learned limit of a batch's size. Pure.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room(Option<Learned>);

#[derive(Clone, Copy, Debug)]
struct Learned {
    size: usize,
    since: Instant,
}

impl Room {
    /// The largest batch, where larger ones have failed.
    pub(super) fn limit(&self) -> Option<usize> {
        self.0.map(|learned| learned.size)
    }

    /// There was too little memory for a batch of this size: half of it is the limit.
    pub(super) fn failed(&mut self, size: usize, now: Instant) {
        let half = (size / 2).max(1);
        let size = self.limit().map_or(half, |limit| limit.min(half));
        self.0 = Some(Learned { size, since: now });
    }

    /// A batch ended well; `most` is the configured limit.
    pub(super) fn succeeded(&mut self, most: usize, now: Instant) {
        let Some(learned) = &mut self.0 else { return };
        if now.saturating_duration_since(learned.since) < PATIENCE {
            return;
        }
        learned.size += learned.size / GROWTH_ONE_IN + 1;
        learned.since = now;
        if learned.size >= most {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::{Duration, Instant};

    use super::{PATIENCE, Room};

    proptest! {
        #[test]
        fn it_finds_what_fits_and_is_forgotten_when_all_fits(fits in 1_usize..500, most in 1_usize..1000) {
            let (mut room, mut now) = (Room::default(), Instant::now());
            let mut failures = 0;
            for _ in 0..200 {
                let size = room.limit().unwrap_or(most).min(most);
                prop_assert!(size >= 1);
                if size > fits {
                    room.failed(size, now);
                    failures += 1;
                } else {
                    room.succeeded(most, now);
                }
                now += Duration::from_secs(1);
            }
            // Ten halvings at most, and a try of more each minute, each of which may fail once.
            prop_assert!(failures <= 15, "{failures} failures");
            for _ in 0..200 {
                now += PATIENCE;
                room.succeeded(most, now);
            }
            prop_assert_eq!(room.limit(), None);
        }
    }
}
