//! The life of a version: `Loading → Warming → Ready → Draining → Retired`, and `Failed` from the first two, from where
//! another try begins at `Loading`. A version that is loaded again stays `Ready` all the while.

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its files are being read and checked.
    Loading,
    /// It runs on made-up rows, so that the first real ones find everything ready.
    Warming,
    /// It serves.
    Ready,
    /// It finishes what it has accepted.
    Draining,
    /// It could not be loaded.
    Failed,
    /// It serves no more.
    Retired,
}

/// What happens to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its files were read and are sound.
    Loaded,
    /// Warm-up ended, or its time did.
    Warmed,
    /// Loading or warm-up failed.
    Broke,
    /// Its files are others now.
    Retry,
    /// It should stop serving.
    Drain,
    /// What it had accepted is answered.
    Emptied,
}

impl State {
    /// The one transition table; `None` where an event cannot happen.
    #[must_use]
    pub fn next(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Loading, Event::Loaded) => Some(Self::Warming),
            (Self::Warming, Event::Warmed) => Some(Self::Ready),
            (Self::Loading | Self::Warming, Event::Broke) => Some(Self::Failed),
            (Self::Failed, Event::Retry) => Some(Self::Loading),
            (Self::Ready, Event::Drain) => Some(Self::Draining),
            (Self::Loading | Self::Warming | Self::Failed, Event::Drain) | (Self::Draining, Event::Emptied) => {
                Some(Self::Retired)
            }
            _ => None,
        }
    }

    /// The word for it in readiness details.
    pub fn label(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Warming => "warming up",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Retired => "retired",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, State};

    const STATES: [State; 6] =
        [State::Loading, State::Warming, State::Ready, State::Draining, State::Failed, State::Retired];
    const EVENTS: [Event; 6] = [Event::Loaded, Event::Warmed, Event::Broke, Event::Retry, Event::Drain, Event::Emptied];

    #[test]
    fn every_pair_of_state_and_event() {
        let table: Vec<Vec<&str>> = STATES
            .iter()
            .map(|state| EVENTS.iter().map(|event| state.next(*event).map_or("-", State::label)).collect())
            .collect();
        let expected = [
            ["warming up", "-", "failed", "-", "retired", "-"],
            ["-", "ready", "failed", "-", "retired", "-"],
            ["-", "-", "-", "-", "draining", "-"],
            ["-", "-", "-", "-", "-", "retired"],
            ["-", "-", "-", "loading", "retired", "-"],
            ["-", "-", "-", "-", "-", "-"],
        ];
        assert_eq!(table, expected);
    }
}
