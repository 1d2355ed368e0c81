//! A breaker: a device that fails is left alone for a while, and asked again with care.
//!
//! The state machine and its settings are resilience4j's, with its window of the last calls, its slow calls beside the failed
//! ones and its few calls that probe. Two things are not. The time for which it is open doubles while probes fail, as
//! Envoy's outlier detection does it; and it can be told what needs no statistics ([`Breaker::trip`], [`Breaker::half_open`]).
//!
//! Each call that is let through gets a [`Pass`], by which its outcome is known. So an outcome that comes late, of a call from
//! before the breaker opened, is not taken for that of a probe; and a probe whose caller went away blocks nothing for ever.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

use crate::config::BreakerConfig;

/// After so long, another call may take the place of a probe that has not been heard of. Its outcome counts all the same.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// Where a breaker stands: `Closed → Open → Probing → Closed`, or from `Probing` to `Open` again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// None do.
    Open,
    /// A few do, and their outcome decides.
    Probing,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::Probing];

    /// The label under which it is shown and counted.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

/// May a call be made?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Yes, and its outcome is to be recorded.
    Yes(Pass),
    /// Yes, as a probe: the device should get this one, whatever else could answer it.
    Probe(Pass),
    /// No.
    No {
        /// After so long it may be asked again.
        retry_in: Duration,
    },
}

/// What a call that was let through is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Changes of state before it was given.
    term: u64,
    /// Number of the probe in its term; 0 for a call that is none.
    probe: u32,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Well, and in time.
    Good,
    /// Well, but it took too long.
    Slow,
    /// The device failed, was lost, was overdue, had too little memory or gave no numbers.
    Failed,
}

/// The breaker of one model on one device, without a clock.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    phase: Phase,
    term: u64,
    /// For how long it is open, or will be when a probe fails.
    open_for: Duration,
    opened: u64,
}

#[derive(Debug)]
enum Phase {
    Closed(Recent),
    Open { until: Instant },
    Probing(Probes),
}

impl Breaker {
    /// A closed one.
    pub fn new(config: &BreakerConfig) -> Self {
        let (config, open_for) = (config.clone(), config.open_for);
        Self { config, phase: Phase::Closed(Recent::default()), term: 0, open_for, opened: 0 }
    }

    /// Where it stands.
    pub fn state(&self, now: Instant) -> BreakerState {
        match &self.phase {
            Phase::Closed(_) => BreakerState::Closed,
            Phase::Open { until } if now < *until => BreakerState::Open,
            // Nobody has come to probe since the time was over.
            Phase::Open { .. } | Phase::Probing(_) => BreakerState::Probing,
        }
    }

    /// How often it has opened.
    pub fn opened_total(&self) -> u64 {
        self.opened
    }

    /// May a call be made? If so, its outcome is to be recorded, or the pass given back.
    pub fn admit(&mut self, now: Instant) -> Admit {
        if let Phase::Open { until } = self.phase {
            if now < until {
                return Admit::No { retry_in: until - now };
            }
            self.enter(Phase::Probing(Probes::default()));
        }
        match &mut self.phase {
            Phase::Probing(probes) => match probes.begin(self.config.probes.get(), now) {
                Ok(probe) => Admit::Probe(Pass { term: self.term, probe }),
                Err(retry_in) => Admit::No { retry_in },
            },
            Phase::Closed(_) | Phase::Open { .. } => Admit::Yes(Pass { term: self.term, probe: 0 }),
        }
    }

    /// A call that was let through went so. The outcome of a call from before the last change of state says nothing more.
    pub fn record(&mut self, pass: Pass, call: Call, now: Instant) {
        if pass.term != self.term {
            return;
        }
        match &mut self.phase {
            Phase::Closed(recent) => {
                recent.push(call, self.config.window.get());
                let seen = recent.tally;
                if seen.calls() >= self.config.calls_min.get() && seen.is_bad(&self.config) {
                    self.open(self.config.open_for, now);
                }
            }
            Phase::Probing(probes) => match probes.end(pass.probe, call, &self.config) {
                Verdict::Undecided => {}
                Verdict::Well => self.enter(Phase::Closed(Recent::default())),
                Verdict::Ill => self.open_longer(now),
            },
            Phase::Open { .. } => {}
        }
    }

    /// A call that was let through told nothing of the device: it was cancelled, or refused before it ran.
    pub fn give_back(&mut self, pass: Pass) {
        if let Phase::Probing(probes) = &mut self.phase
            && pass.term == self.term
        {
            probes.forget(pass.probe);
        }
    }

    /// The device is known to be gone: opens at once.
    pub fn trip(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Closed(_) => self.open(self.config.open_for, now),
            Phase::Probing(_) => self.open_longer(now),
            // The time begins anew.
            Phase::Open { until } => *until = (*until).max(now + self.open_for),
        }
    }

    /// The device is known to be back: probes it now, without waiting for the end of the time.
    pub fn half_open(&mut self) {
        if matches!(self.phase, Phase::Open { .. }) {
            self.enter(Phase::Probing(Probes::default()));
        }
    }

    fn open_longer(&mut self, now: Instant) {
        self.open(self.open_for.saturating_mul(2).min(self.config.open_for_max), now);
    }

    fn open(&mut self, open_for: Duration, now: Instant) {
        self.open_for = open_for;
        self.opened += 1;
        self.enter(Phase::Open { until: now + open_for });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.term += 1;
    }
}

/// The last calls, and how many of them went how.
#[derive(Debug, Default)]
struct Recent {
    calls: VecDeque<Call>,
    tally: Tally,
}

impl Recent {
    fn push(&mut self, call: Call, window: usize) {
        if self.calls.len() >= window
            && let Some(oldest) = self.calls.pop_front()
        {
            *self.tally.of(oldest) -= 1;
        }
        *self.tally.of(call) += 1;
        self.calls.push_back(call);
    }
}

/// How many calls went how.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    good: usize,
    slow: usize,
    failed: usize,
}

impl Tally {
    fn of(&mut self, call: Call) -> &mut usize {
        match call {
            Call::Good => &mut self.good,
            Call::Slow => &mut self.slow,
            Call::Failed => &mut self.failed,
        }
    }

    fn calls(&self) -> usize {
        self.good + self.slow + self.failed
    }

    /// As in resilience4j, a call that took its time and then failed was slow as well: whoever fails counts for both.
    fn is_bad(&self, config: &BreakerConfig) -> bool {
        self.reaches(self.failed, config.failure_rate) || self.reaches(self.failed + self.slow, config.slow_rate)
    }

    #[expect(clippy::cast_precision_loss, reason = "a window has some thousand calls at most")]
    fn reaches(&self, part: usize, rate: f64) -> bool {
        part as f64 >= rate * self.calls() as f64
    }
}

/// What the probes of one term have told.
#[derive(Debug, Default)]
struct Probes {
    begun: u32,
    /// Number of each that has not been heard of, and until when it is waited for.
    out: Vec<(u32, Instant)>,
    tally: Tally,
}

/// What probes say of a device.
enum Verdict {
    Undecided,
    Well,
    Ill,
}

impl Probes {
    /// The number of a probe more, of `probes` in all. Errors: there are enough; after so long, one may be missing.
    fn begin(&mut self, probes: usize, now: Instant) -> Result<u32, Duration> {
        self.out.retain(|(_, until)| now < *until);
        if self.out.len() + self.tally.calls() >= probes {
            let first = self.out.iter().map(|(_, until)| *until - now).min();
            return Err(first.unwrap_or(PROBE_PATIENCE));
        }
        self.begun += 1;
        self.out.push((self.begun, now + PROBE_PATIENCE));
        Ok(self.begun)
    }

    fn forget(&mut self, probe: u32) {
        self.out.retain(|(number, _)| *number != probe);
    }

    fn end(&mut self, probe: u32, call: Call, config: &BreakerConfig) -> Verdict {
        self.forget(probe);
        *self.tally.of(call) += 1;
        match call {
            Call::Failed => Verdict::Ill,
            _ if self.tally.calls() < config.probes.get() => Verdict::Undecided,
            _ if self.tally.is_bad(config) => Verdict::Ill,
            _ => Verdict::Well,
        }
    }
}

#[cfg(test)]
mod tests;
