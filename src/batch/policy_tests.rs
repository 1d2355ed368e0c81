//! The policy on a virtual clock: invariants over random traffic, and each rule by itself.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use tokio::time::{Duration, Instant};

use super::{Ask, Batch, Item, Limits, Next, Policy, Refusal, Release, Unit};

fn limits() -> Limits {
    Limits {
        unit: Unit::Rows,
        batch_rows_max: 8,
        batch_size_max: 8,
        preferred_sizes: Vec::new(),
        hold_max: Duration::from_millis(2),
        queue_size_max: 64,
        levels: 2,
        overtake_max: 4,
    }
}

fn item(id: u64, rows: usize, level: usize, arrived: Instant) -> Item<u64> {
    Item { id, rows, size: rows, class: 0, group: 0, level, client: 0, tag: 0, arrived, deadline: None, payload: id }
}

fn ask(rows: usize, deadline: Option<Instant>) -> Ask {
    Ask { size: rows, class: 0, level: 0, client: 0, deadline }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn run(policy: &mut Policy<u64>, now: Instant) -> Batch<u64> {
    match policy.next(now, false) {
        Next::Run(batch) => batch,
        other => panic!("expected a batch, got {other:?}"),
    }
}

fn ids(batch: &Batch<u64>) -> Vec<u64> {
    batch.items.iter().map(|item| item.id).collect()
}

/// Teaches a cost of `fixed + per_row · rows`.
fn teach(policy: &mut Policy<u64>, fixed: Duration, per_row: Duration) {
    for round in 0..64_u32 {
        let rows = 1 + round % 8;
        policy.learn(rows as usize, fixed + per_row * rows, Instant::now());
    }
}

#[test]
fn a_free_device_does_not_wait() {
    let now = Instant::now();
    let mut policy = Policy::new(limits());
    assert!(matches!(policy.next(now, false), Next::Empty));
    policy.push(item(1, 1, 0, now));
    let batch = run(&mut policy, now);
    assert_eq!((batch.rows, batch.release), (1, Release::Idle));
}

#[test]
fn what_waits_shares_a_batch_up_to_its_limit() {
    let now = Instant::now();
    let mut policy = Policy::new(limits());
    for id in 1..=10 {
        policy.push(item(id, 1, 0, now));
    }
    let batch = run(&mut policy, now);
    assert_eq!((ids(&batch), batch.release), ((1..=8).collect(), Release::Full));
    assert_eq!(ids(&run(&mut policy, now)), [9, 10]);
}

#[test]
fn a_misfit_never_closes_a_batch() {
    let now = Instant::now();
    let mut policy = Policy::new(limits());
    for id in 1..=6 {
        policy.push(Item { group: id % 2, ..item(id, 1, 0, now) });
    }
    assert_eq!(ids(&run(&mut policy, now)), [1, 3, 5]);
    assert_eq!(ids(&run(&mut policy, now)), [2, 4, 6]);
}

#[test]
fn preferred_sizes_cut_batches() {
    let now = Instant::now();
    let mut policy = Policy::new(Limits { preferred_sizes: vec![2, 4], ..limits() });
    for id in 1..=7 {
        policy.push(item(id, 1, 0, now));
    }
    let batch = run(&mut policy, now);
    assert_eq!((batch.rows, batch.release), (4, Release::Preferred));
    assert_eq!(run(&mut policy, now).rows, 2);
    assert_eq!(run(&mut policy, now).rows, 1);
}

#[test]
fn urgent_rows_go_first_but_overtake_only_so_often() {
    let now = Instant::now();
    let mut policy = Policy::new(Limits { batch_rows_max: 1, batch_size_max: 1, ..limits() });
    policy.push(item(0, 1, 1, now));
    let mut batches = 0;
    for id in 1.. {
        policy.push(item(id, 1, 0, now));
        batches += 1;
        if ids(&run(&mut policy, now)) == [0] {
            break;
        }
    }
    assert_eq!(batches, limits().overtake_max + 1);
}

/// Teaches that `count` requests arrive half a millisecond after each batch, and gives the time of the last end.
fn teach_arrivals(policy: &mut Policy<u64>, fixed: Duration, count: u64) -> Instant {
    let mut now = Instant::now();
    for round in 0..100 {
        policy.learn(1, fixed, now);
        for id in 0..count {
            policy.push(item(1000 * (round + 1) + id, 1, 0, now + Duration::from_micros(500)));
        }
        while let Next::Run(_) = policy.next(now + ms(1), true) {}
        now += ms(10);
    }
    policy.learn(1, fixed, now);
    now
}

#[test]
fn a_hold_pays_only_when_the_fixed_cost_exceeds_the_wait() {
    let mut dear = Policy::new(limits());
    let mut cheap = Policy::new(limits());
    let now = teach_arrivals(&mut dear, ms(4), 3);
    dear.push(item(1, 1, 0, now));
    assert!(matches!(dear.next(now, false), Next::Hold(_)), "three are expected within half a millisecond");
    assert!(matches!(dear.next(now, true), Next::Run(batch) if batch.release == Release::Drain));
    let now = teach_arrivals(&mut cheap, Duration::from_micros(150), 3);
    for id in 1..=3 {
        cheap.push(item(id, 1, 0, now));
    }
    assert_eq!(run(&mut cheap, now).release, Release::Idle);
}

#[test]
fn a_hold_never_exceeds_its_bound() {
    let mut policy = Policy::new(limits());
    let now = teach_arrivals(&mut policy, ms(40), 3);
    policy.push(item(1, 1, 0, now));
    let mut at = now;
    while let Next::Hold(due) = policy.next(at, false) {
        assert!(due > at && due <= now + limits().hold_max);
        at = due;
    }
    assert!(at > now, "it was held");
}

#[test]
fn a_hold_that_ends_without_company_says_so() {
    let mut policy = Policy::new(limits());
    let now = teach_arrivals(&mut policy, ms(40), 3);
    policy.push(item(1, 1, 0, now));
    assert!(matches!(policy.next(now, false), Next::Hold(_)));
    assert_eq!(run(&mut policy, now + limits().hold_max).release, Release::Delay);
}

#[test]
fn a_hold_puts_no_deadline_at_risk() {
    let mut policy = Policy::new(Limits { hold_max: ms(50), ..limits() });
    let now = teach_arrivals(&mut policy, ms(40), 3);
    policy.push(Item { deadline: Some(now + ms(42)), ..item(1, 1, 0, now) });
    let Next::Hold(due) = policy.next(now, false) else { panic!("expected a hold") };
    assert!(due <= now + ms(2), "must start 40 ms before the deadline");
    assert_eq!(run(&mut policy, now + ms(3)).release, Release::Deadline);
}

#[test]
fn dear_rows_are_taken_only_as_far_as_the_heads_deadline_allows() {
    let now = Instant::now();
    let mut policy = Policy::new(limits());
    teach(&mut policy, ms(1), ms(1));
    policy.push(Item { deadline: Some(now + Duration::from_micros(5_500)), ..item(1, 1, 0, now) });
    for id in 2..=8 {
        policy.push(item(id, 1, 0, now));
    }
    let batch = run(&mut policy, now);
    assert_eq!((batch.rows, batch.release), (4, Release::Deadline));
}

#[test]
fn rows_that_would_wait_too_long_are_refused_at_once() {
    let now = Instant::now();
    let mut policy = Policy::new(limits());
    teach(&mut policy, ms(10), Duration::from_micros(1));
    for id in 1..=16 {
        policy.push(item(id, 1, 0, now));
    }
    let _running = run(&mut policy, now);
    // One batch runs, one is full and waits: the answer comes after three.
    assert_eq!(policy.admit(&ask(1, Some(now + ms(34))), now), Ok(()));
    let refused = policy.admit(&ask(1, Some(now + ms(32))), now);
    assert!(matches!(refused, Err(Refusal::TooLate { .. })), "a tenth is kept free: {refused:?}");
    assert_eq!(policy.admit(&ask(1, Some(now)), now), Err(Refusal::Expired));
    assert_eq!(policy.admit(&ask(57, None), now), Err(Refusal::Full { waiting: 8 }));
    let urgent = Ask { level: 0, client: 1, ..ask(1, Some(now + ms(24))) };
    assert_eq!(policy.admit(&urgent, now), Ok(()), "another client's turn comes before the rest of the queue");
}

#[test]
fn a_cost_that_was_not_seen_for_a_while_is_put_to_the_test() {
    let now = Instant::now();
    let mut policy = Policy::new(limits());
    teach(&mut policy, ms(1000), ms(1));
    let hopeless = |now| ask(1, Some(now + ms(1)));
    assert!(matches!(policy.admit(&hopeless(now), now), Err(Refusal::TooLate { .. })));
    let later = now + ms(1500);
    assert_eq!(policy.admit(&hopeless(later), later), Ok(()));
    policy.push(item(1, 1, 0, later));
    let second = policy.admit(&hopeless(later), later);
    assert!(matches!(second, Err(Refusal::TooLate { .. })), "one is enough: {second:?}");
}

#[test]
fn clients_take_turns_and_none_takes_the_whole_queue() {
    let now = Instant::now();
    let mut policy = Policy::new(limits());
    let of = |client| Ask { client, ..ask(1, None) };
    let mut id = 0;
    let refused = loop {
        match policy.admit(&Ask { level: 1, ..of(1) }, now) {
            Ok(()) => policy.push(Item { client: 1, ..item(id, 1, 1, now) }),
            Err(refusal) => break refusal,
        }
        id += 1;
    };
    assert_eq!(refused, Refusal::Share { held: 52, free: 12, alpha: 4 });
    assert_eq!(policy.admit(&of(1), now), Ok(()), "an urgent one of the same client");
    for id in 100..103 {
        assert_eq!(policy.admit(&Ask { level: 1, ..of(2) }, now), Ok(()));
        policy.push(Item { client: 2, ..item(id, 1, 1, now) });
    }
    assert_eq!(ids(&run(&mut policy, now)), [0, 100, 1, 101, 2, 102, 3, 4]);
}

/// One thing that happens to a queue.
#[derive(Clone, Debug)]
enum Event {
    Arrive { rows: usize, group: u64, level: usize, client: u64, deadline: Option<u64> },
    Withdraw(usize),
    Free { took: u64, fails: bool },
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_usize..=8, 0_u64..3, 0_usize..2, 0_u64..3, proptest::option::of(0_u64..30))
            .prop_map(|(rows, group, level, client, deadline)| Event::Arrive { rows, group, level, client, deadline }),
        1 => (0_usize..100).prop_map(Event::Withdraw),
        3 => (1_u64..20, proptest::bool::weighted(0.1)).prop_map(|(took, fails)| Event::Free { took, fails }),
        2 => (0_u64..10).prop_map(Event::Pass),
    ]
}

/// What the world outside knows, to hold the policy against.
#[derive(Default)]
struct World {
    waiting: HashMap<u64, Item<u64>>,
    left: HashSet<u64>,
    /// By group and level: batches in a row that took nothing of it.
    overtaken: HashMap<(u64, usize), u32>,
}

impl World {
    fn leave(&mut self, id: u64) -> Item<u64> {
        assert!(self.left.insert(id), "item {id} left twice");
        let item = self.waiting.remove(&id).expect("only what waits can leave");
        let line = (item.group, item.level);
        if !self.waiting.values().any(|other| (other.group, other.level) == line) {
            self.overtaken.remove(&line);
        }
        item
    }

    fn check_batch(&mut self, batch: &Batch<u64>, limits: &Limits, now: Instant) {
        assert!(!batch.items.is_empty() && batch.rows <= limits.batch_rows_max);
        assert_eq!(batch.rows, batch.items.iter().map(|item| item.rows).sum::<usize>());
        for item in &batch.items {
            assert_eq!(item.group, batch.items[0].group, "a batch holds one group");
            assert!(item.deadline.is_none_or(|deadline| deadline > now), "expired work never runs");
            let known = self.leave(item.id);
            assert_eq!((known.rows, known.level, known.group), (item.rows, item.level, item.group));
        }
        for item in &batch.items {
            let kind = |item: &Item<u64>| (item.group, item.level, item.client);
            let skipped = self.waiting.values().find(|other| kind(other) == kind(item) && other.id < item.id);
            assert!(skipped.is_none(), "a client's rows go in order: {skipped:?} before {item:?}");
        }
        self.count_overtaking(batch, limits);
    }

    /// Every group and level is passed over by a bounded number of batches.
    fn count_overtaking(&mut self, batch: &Batch<u64>, limits: &Limits) {
        let of = |item: &Item<u64>| (item.group, item.level);
        let waiting: HashSet<_> = self.waiting.values().map(of).collect();
        let taken: HashSet<_> = batch.items.iter().map(of).collect();
        self.overtaken.retain(|line, _| !taken.contains(line));
        // Others may be due as well: three groups at two levels.
        let count_max = limits.overtake_max + 6;
        for line in waiting.difference(&taken) {
            let count = self.overtaken.entry(*line).or_default();
            *count += 1;
            assert!(*count <= count_max, "line {line:?} starves");
        }
    }
}

fn play(events: Vec<Event>, limits: &Limits) {
    let mut now = Instant::now();
    let mut policy = Policy::new(limits.clone());
    let mut world = World::default();
    let mut next_id = 0;
    for event in events {
        match event {
            Event::Arrive { rows, group, level, client, deadline } => {
                let deadline = deadline.map(|after| now + ms(after));
                let free = limits.queue_size_max - policy.rows();
                match policy.admit(&Ask { size: rows, class: 0, level, client, deadline }, now) {
                    Ok(()) => {
                        next_id += 1;
                        let item =
                            Item { rows, size: rows, group, level, client, deadline, ..item(next_id, 1, 0, now) };
                        world.waiting.insert(next_id, item.clone());
                        policy.push(item);
                    }
                    Err(Refusal::Full { waiting }) => assert!(waiting + rows > limits.queue_size_max),
                    Err(Refusal::Expired) => assert!(deadline.is_some_and(|deadline| deadline <= now)),
                    Err(Refusal::Crowded { .. }) => unreachable!("nothing ended late"),
                    Err(Refusal::Share { held, free: left, alpha }) => {
                        assert!(left == free && !crate::guard::may_take(rows, held, free, alpha));
                    }
                    Err(Refusal::TooLate { wait, left }) => assert!(wait + left / 10 > left),
                }
            }
            Event::Withdraw(nth) => {
                let id = u64::try_from(nth).expect("small");
                if let Some(item) = world.waiting.get(&id).cloned() {
                    assert_eq!(policy.withdraw(id, item.group, item.level).map(|item| item.id), Some(id));
                    world.leave(id);
                } else {
                    assert!(policy.withdraw(id, 0, 0).is_none());
                }
            }
            Event::Free { took, fails } => {
                for item in policy.sweep(now) {
                    assert!(item.deadline.is_some_and(|deadline| deadline <= now));
                    world.leave(item.id);
                }
                match policy.next(now, false) {
                    Next::Run(batch) => {
                        world.check_batch(&batch, limits, now);
                        now += ms(took);
                        if fails { policy.failed(now) } else { policy.learn(batch.rows, ms(took), now) }
                    }
                    Next::Hold(until) => assert!(until > now && until <= now + limits.hold_max),
                    Next::Empty => assert!(world.waiting.is_empty()),
                }
            }
            Event::Pass(millis) => now += ms(millis),
        }
        let rows: usize = world.waiting.values().map(|item| item.rows).sum();
        assert_eq!(policy.rows(), rows, "rows are counted");
        assert!(rows <= limits.queue_size_max);
        assert_eq!(policy.oldest(), world.waiting.values().map(|item| item.arrived).min());
        let earliest = world.waiting.values().filter_map(|item| item.deadline).min();
        assert!(earliest.is_none() || policy.next_expiry() <= earliest);
    }
    drain(policy, world, now, limits);
}

/// Draining ends, and nothing is left behind.
fn drain(mut policy: Policy<u64>, mut world: World, now: Instant, limits: &Limits) {
    for item in policy.sweep(now) {
        world.leave(item.id);
    }
    while let Next::Run(batch) = policy.next(now, true) {
        world.check_batch(&batch, limits, now);
        policy.learn(batch.rows, ms(1), now);
    }
    assert!(world.waiting.is_empty() && policy.rows() == 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_item_leaves_once_in_order_and_in_time(events in proptest::collection::vec(event(), 1..200)) {
        play(events.clone(), &limits());
        play(events, &Limits { preferred_sizes: vec![8], hold_max: Duration::ZERO, ..limits() });
    }
}
