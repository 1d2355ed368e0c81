//! The breaker's states step by step, and what holds whatever happens to it.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use proptest::prelude::*;
use tokio::time::{Duration, Instant};

use super::{Admit, Breaker, BreakerConfig, BreakerState, Call, PROBE_PATIENCE, Pass};

const SECOND: Duration = Duration::from_secs(1);

fn positive(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("not zero")
}

/// What a call that passes is known by.
fn pass(breaker: &mut Breaker, now: Instant) -> Pass {
    match breaker.admit(now) {
        Admit::Yes(pass) | Admit::Probe(pass) => pass,
        Admit::No { retry_in } => panic!("refused for {retry_in:?}"),
    }
}

fn call(breaker: &mut Breaker, call: Call, now: Instant) {
    let pass = pass(breaker, now);
    breaker.record(pass, call, now);
}

fn refused_for(breaker: &mut Breaker, now: Instant) -> Option<Duration> {
    match breaker.admit(now) {
        Admit::No { retry_in } => Some(retry_in),
        Admit::Yes(_) | Admit::Probe(_) => None,
    }
}

#[test]
fn it_opens_when_half_of_the_calls_failed_and_five_were_seen() {
    let (mut breaker, now) = (Breaker::new(&BreakerConfig::default()), Instant::now());
    for outcome in [Call::Good, Call::Failed, Call::Failed, Call::Failed] {
        call(&mut breaker, outcome, now);
    }
    assert_eq!(breaker.state(now), BreakerState::Closed, "four calls say nothing");
    call(&mut breaker, Call::Good, now);
    assert_eq!((breaker.state(now), breaker.opened_total()), (BreakerState::Open, 1));
    assert_eq!(refused_for(&mut breaker, now), Some(SECOND));
    assert_eq!(refused_for(&mut breaker, now + SECOND / 4), Some(SECOND * 3 / 4));
    assert_eq!(breaker.state(now + SECOND), BreakerState::Probing);
}

#[test]
fn slow_calls_open_it_at_their_own_rate_and_failed_ones_count_as_slow() {
    let (mut breaker, now) = (Breaker::new(&BreakerConfig::default()), Instant::now());
    for outcome in [Call::Good, Call::Good, Call::Slow, Call::Slow, Call::Slow, Call::Slow, Call::Slow, Call::Slow] {
        call(&mut breaker, outcome, now);
    }
    assert_eq!(breaker.state(now), BreakerState::Closed, "six of eight");
    call(&mut breaker, Call::Failed, now);
    assert_eq!(breaker.state(now), BreakerState::Closed, "seven of nine");
    call(&mut breaker, Call::Failed, now);
    assert_eq!(breaker.state(now), BreakerState::Open, "eight of ten");
}

#[test]
fn calls_that_left_the_window_are_forgotten() {
    let config = BreakerConfig { window: positive(6), ..BreakerConfig::default() };
    let (mut breaker, now) = (Breaker::new(&config), Instant::now());
    for round in 0..50 {
        // Never three of the last six, though a third of all.
        for outcome in [Call::Failed, Call::Good, Call::Good] {
            call(&mut breaker, outcome, now);
        }
        assert_eq!(breaker.state(now), BreakerState::Closed, "round {round}");
    }
    call(&mut breaker, Call::Failed, now);
    call(&mut breaker, Call::Failed, now);
    assert_eq!(breaker.state(now), BreakerState::Open);
}

#[test]
fn the_time_doubles_while_probes_fail_and_begins_anew_when_it_has_closed() {
    let (mut breaker, mut now) = (Breaker::new(&BreakerConfig::default()), Instant::now());
    breaker.trip(now);
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(refused_for(&mut breaker, now), Some(seconds * SECOND));
        now += seconds * SECOND;
        call(&mut breaker, Call::Failed, now);
    }
    now += 30 * SECOND;
    for _ in 0..3 {
        assert_eq!(breaker.state(now), BreakerState::Probing);
        call(&mut breaker, Call::Good, now);
    }
    assert_eq!((breaker.state(now), breaker.opened_total()), (BreakerState::Closed, 8));
    breaker.trip(now);
    assert_eq!(refused_for(&mut breaker, now), Some(SECOND));
}

#[test]
fn a_few_probes_pass_and_one_that_is_not_heard_of_blocks_nothing_for_ever() {
    let (mut breaker, now) = (Breaker::new(&BreakerConfig::default()), Instant::now());
    breaker.trip(now);
    let now = now + SECOND;
    let probes: Vec<Pass> = (0..3).map(|_| pass(&mut breaker, now)).collect();
    assert_eq!(refused_for(&mut breaker, now), Some(PROBE_PATIENCE));
    breaker.record(probes[0], Call::Good, now);
    assert_eq!(refused_for(&mut breaker, now), Some(PROBE_PATIENCE), "three are enough");
    // The others' callers went away: one says so, one does not.
    breaker.give_back(probes[1]);
    call(&mut breaker, Call::Good, now);
    assert_eq!(refused_for(&mut breaker, now + PROBE_PATIENCE / 2), Some(PROBE_PATIENCE / 2));
    call(&mut breaker, Call::Good, now + PROBE_PATIENCE);
    assert_eq!(breaker.state(now + PROBE_PATIENCE), BreakerState::Closed);
}

#[test]
fn slow_probes_do_not_close_it() {
    let (mut breaker, now) = (Breaker::new(&BreakerConfig::default()), Instant::now());
    breaker.trip(now);
    let now = now + SECOND;
    (0..3).for_each(|_| call(&mut breaker, Call::Slow, now));
    assert_eq!(refused_for(&mut breaker, now), Some(2 * SECOND));
    let now = now + 2 * SECOND;
    for outcome in [Call::Slow, Call::Good, Call::Slow] {
        call(&mut breaker, outcome, now);
    }
    assert_eq!(breaker.state(now), BreakerState::Closed, "two of three");
}

#[test]
fn outcomes_of_calls_from_before_say_nothing_of_the_probes() {
    let (mut breaker, now) = (Breaker::new(&BreakerConfig::default()), Instant::now());
    let before = pass(&mut breaker, now);
    breaker.trip(now);
    breaker.record(before, Call::Failed, now);
    breaker.half_open();
    assert_eq!(breaker.state(now), BreakerState::Probing, "without waiting");
    breaker.record(before, Call::Failed, now);
    assert_eq!(breaker.state(now), BreakerState::Probing);
    let probe = pass(&mut breaker, now);
    (0..3).for_each(|_| breaker.record(before, Call::Good, now));
    assert_eq!(breaker.state(now), BreakerState::Probing);
    (0..2).for_each(|_| call(&mut breaker, Call::Good, now));
    breaker.record(probe, Call::Good, now);
    assert_eq!(breaker.state(now), BreakerState::Closed);
    breaker.half_open();
    assert_eq!(breaker.state(now), BreakerState::Closed);
}

#[test]
fn while_it_is_open_another_death_begins_the_time_anew() {
    let (mut breaker, now) = (Breaker::new(&BreakerConfig::default()), Instant::now());
    breaker.trip(now);
    breaker.trip(now + SECOND / 2);
    assert_eq!(refused_for(&mut breaker, now + SECOND / 2), Some(SECOND));
    assert_eq!(breaker.opened_total(), 1);
    breaker.half_open();
    breaker.trip(now + SECOND);
    assert_eq!(refused_for(&mut breaker, now + SECOND), Some(2 * SECOND), "as if a probe had failed");
}

/// What may happen to a breaker.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Admit,
    /// The outcome of the call that has waited longest for one, if any.
    Record(Call),
    /// The oldest call is never heard of.
    Lose,
    GiveBack,
    Trip,
    HalfOpen,
}

fn outcome() -> impl Strategy<Value = Call> {
    prop_oneof![3 => Just(Call::Good), 1 => Just(Call::Slow), 2 => Just(Call::Failed)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1_u64..8_000).prop_map(Step::Wait),
        6 => Just(Step::Admit),
        6 => outcome().prop_map(Step::Record),
        1 => Just(Step::Lose),
        1 => Just(Step::GiveBack),
        1 => Just(Step::Trip),
        1 => Just(Step::HalfOpen),
    ]
}

fn config() -> impl Strategy<Value = BreakerConfig> {
    (1_usize..30, 1_usize..30, 1_usize..5, 0.01_f64..1.0, 0.01_f64..1.0, 0_u32..6).prop_map(
        |(first, second, probes, failure_rate, slow_rate, doublings)| BreakerConfig {
            window: positive(first.max(second)),
            calls_min: positive(first.min(second)),
            probes: positive(probes),
            failure_rate,
            slow_rate,
            open_for: SECOND,
            open_for_max: SECOND * 2_u32.pow(doublings) * 3 / 2,
        },
    )
}

/// What the world outside knows of the breaker.
struct World {
    breaker: Breaker,
    now: Instant,
    out: VecDeque<(Pass, bool, Instant)>,
    /// Outcomes of calls since it was last closed anew.
    seen: Vec<Call>,
}

impl World {
    fn take(&mut self, step: Step, config: &BreakerConfig) -> Result<(), TestCaseError> {
        let (before, now) = (self.breaker.state(self.now), self.now);
        match step {
            Step::Wait(millis) => self.now += Duration::from_millis(millis),
            Step::Admit => self.admit(config)?,
            Step::Record(call) => {
                let Some((pass, _, _)) = self.out.pop_front() else { return Ok(()) };
                let counts = before == BreakerState::Closed && pass.term == self.breaker.term;
                self.breaker.record(pass, call, now);
                if counts {
                    self.seen.push(call);
                    let opened = self.breaker.state(now) == BreakerState::Open;
                    prop_assert_eq!(opened, is_bad(&self.seen, config), "after {:?}", &self.seen);
                }
            }
            Step::Lose => drop(self.out.pop_front()),
            Step::GiveBack => {
                if let Some((pass, _, _)) = self.out.pop_front() {
                    self.breaker.give_back(pass);
                }
            }
            Step::Trip => {
                self.breaker.trip(now);
                prop_assert_eq!(self.breaker.state(now), BreakerState::Open);
            }
            Step::HalfOpen => self.breaker.half_open(),
        }
        let after = self.breaker.state(self.now);
        if after != BreakerState::Closed {
            self.seen.clear();
        }
        let leaves_closed = before == BreakerState::Closed && after != BreakerState::Closed;
        prop_assert!(!leaves_closed || matches!(step, Step::Record(_) | Step::Trip));
        prop_assert!(
            before == BreakerState::Closed || after != BreakerState::Closed || matches!(step, Step::Record(_))
        );
        Ok(())
    }

    fn admit(&mut self, config: &BreakerConfig) -> Result<(), TestCaseError> {
        let (state, now) = (self.breaker.state(self.now), self.now);
        match self.breaker.admit(now) {
            Admit::Yes(pass) => {
                prop_assert_eq!(state, BreakerState::Closed);
                self.out.push_back((pass, false, now));
            }
            Admit::Probe(pass) => {
                prop_assert_eq!(state, BreakerState::Probing);
                let current = |(other, is_probe, begun): &&(Pass, bool, Instant)| {
                    *is_probe && other.term == pass.term && now < *begun + PROBE_PATIENCE
                };
                prop_assert!(self.out.iter().filter(current).count() < config.probes.get());
                self.out.push_back((pass, true, now));
            }
            Admit::No { retry_in } => {
                prop_assert_ne!(state, BreakerState::Closed);
                prop_assert!(retry_in > Duration::ZERO && retry_in <= config.open_for_max.max(PROBE_PATIENCE));
            }
        }
        Ok(())
    }
}

/// The definition: of the last calls, enough failed, or enough failed or were slow.
#[expect(clippy::cast_precision_loss, reason = "few")]
fn is_bad(seen: &[Call], config: &BreakerConfig) -> bool {
    let last = &seen[seen.len().saturating_sub(config.window.get())..];
    let count = |calls: &[Call]| last.iter().filter(|call| calls.contains(call)).count() as f64;
    last.len() >= config.calls_min.get()
        && (count(&[Call::Failed]) >= config.failure_rate * last.len() as f64
            || count(&[Call::Failed, Call::Slow]) >= config.slow_rate * last.len() as f64)
}

proptest! {
    #[test]
    fn it_opens_only_for_a_reason_lets_few_probes_through_and_always_comes_back(
        config in config(),
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let (breaker, now) = (Breaker::new(&config), Instant::now());
        let mut world = World { breaker, now, out: VecDeque::new(), seen: Vec::new() };
        for step in steps {
            world.take(step, &config)?;
        }
        // Whatever was: good calls close it. Slow probes before them may have it wait once more.
        let World { mut breaker, mut now, .. } = world;
        for _ in 0..2 * config.probes.get() {
            if breaker.state(now) == BreakerState::Closed {
                break;
            }
            now += config.open_for_max.max(PROBE_PATIENCE);
            call(&mut breaker, Call::Good, now);
        }
        prop_assert_eq!(breaker.state(now), BreakerState::Closed);
    }
}
