//! The order in which models get a shared device: rule by rule, and what it is worth on a virtual clock.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::super::item::{Item, Limits, Unit};
use super::super::policy::{Next, Policy};
use super::super::{Calls, Job, Queue};
use super::{Candidate, OVERLOAD, Order, PASSED_OVER_MAX, Turns};
use crate::types::{Rows, Shape, Tensor};

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Has had `served` milliseconds, and must begin within `left` to be in time.
fn candidate(now: Instant, left: u64, served: u64) -> Candidate {
    let deadline = now + ms(left + 5);
    let (deadline, latest_start) = (Some(deadline), Some(now + ms(left)));
    Candidate { level: 0, deadline, latest_start, served: ms(served), passed_over: 0 }
}

#[test]
fn the_earliest_deadline_goes_first_while_all_can_be_in_time() {
    let now = Instant::now();
    let (mut order, waiting) = (Order::default(), [candidate(now, 30, 0), candidate(now, 20, 900)]);
    assert_eq!(order.choose(&waiting, now), 1);
}

#[test]
fn under_overload_the_least_served_goes_first() {
    let now = Instant::now();
    let mut order = Order::default();
    let late = Candidate { latest_start: now.checked_sub(ms(1)), ..candidate(now, 0, 900) };
    assert_eq!(order.choose(&[late, candidate(now, 20, 0)], now), 1);
    // For some time, although nobody is late any more.
    assert_eq!(order.choose(&[candidate(now, 10, 900), candidate(now, 20, 0)], now + ms(5)), 1);
    let after = now + OVERLOAD;
    assert_eq!(order.choose(&[candidate(after, 10, 900), candidate(after, 20, 0)], after), 0);
}

#[test]
fn urgent_levels_go_first_but_not_for_ever() {
    let now = Instant::now();
    let mut order = Order::default();
    let bulk = Candidate { level: 1, ..candidate(now, 10, 0) };
    let late = Candidate { latest_start: now.checked_sub(ms(1)), ..candidate(now, 0, 900) };
    assert_eq!(order.choose(&[bulk, candidate(now, 20, 0)], now), 1);
    assert_eq!(order.choose(&[bulk, late], now), 1);
    let neglected = Candidate { passed_over: PASSED_OVER_MAX, ..bulk };
    assert_eq!(order.choose(&[neglected, late], now), 0);
}

fn queue() -> Arc<Queue> {
    let calls = Arc::new(Calls::default());
    Queue::new(limits(), calls)
}

fn limits() -> Limits {
    Limits {
        unit: Unit::Rows,
        batch_rows_max: 64,
        batch_size_max: 64,
        preferred_sizes: Vec::new(),
        hold_max: Duration::ZERO,
        queue_size_max: 1 << 20,
        levels: 2,
        overtake_max: 16,
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_is_given_to_one_at_a_time_by_deadline_and_by_weight() {
    let turns = Arc::new(Turns::default());
    let now = Instant::now();
    let seats: Vec<_> = [1, 1, 4].map(|weight| turns.seat(weight.try_into().expect("a weight"))).into_iter().collect();
    let queues: Vec<_> = [300, 200, 100].map(|left| (queue(), now + ms(left))).into_iter().collect();
    let mut tickets = Vec::new();
    for (queue, deadline) in &queues {
        let rows = Rows::uniform(vec![Tensor::from_f32(Shape::new(&[1, 1]), &[0.0]).expect("a tensor")], 1);
        let job = Job { rows, level: 0, client: 0, deadline: Some(*deadline), arrived: now, alone: false };
        tickets.push(queue.submit(job).expect("room"));
    }
    let first = seats[0].turn(&queues[0].0).await;
    let log = parking_lot::Mutex::new(Vec::new());
    let take = |at: usize, held: u64| {
        let (seat, queue, log) = (&seats[at], &queues[at].0, &log);
        async move {
            let _turn = seat.turn(queue).await;
            log.lock().push(at);
            tokio::time::sleep(ms(held)).await;
        }
    };
    let others = async { tokio::join!(take(1, 40), take(2, 40)) };
    let end = async {
        tokio::time::sleep(ms(10)).await;
        drop(first);
    };
    tokio::join!(others, end);
    assert_eq!(*log.lock(), [2, 1]);
    let served: Vec<Duration> = seats.iter().map(|seat| seat.account.lock().served).collect();
    // The first began at zero; time is divided by the weight.
    assert_eq!(served, [ms(10), ms(40), ms(10)]);
    // The device is free again.
    let _turn = seats[1].turn(&queues[1].0).await;
}

/// How a device is shared.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Order,
    InTurn,
}

const MODELS: usize = 10;
const FIXED: Duration = Duration::from_millis(4);
const EACH: Duration = Duration::from_micros(50);
const PATIENCE: Duration = Duration::from_millis(100);

/// Poisson arrivals of four seconds for models of popularity 1/rank, the last first.
fn arrivals(start: Instant, rate: f64) -> Vec<(Instant, usize)> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(random >> 32).expect("half of it")) / f64::from(u32::MAX)
    };
    let rank = |model: usize| f64::from(u32::try_from(model + 1).expect("few"));
    let harmonic: f64 = (0..MODELS).map(|model| 1.0 / rank(model)).sum();
    let mut arrivals = Vec::new();
    for model in 0..MODELS {
        let mut at = 0.0;
        while at < 4.0 {
            at -= (1.0 - uniform().min(0.999_999)).ln() * harmonic * rank(model) / rate;
            arrivals.push((start + Duration::from_secs_f64(at), model));
        }
    }
    arrivals.sort_unstable_by_key(|arrival| Reverse(*arrival));
    arrivals
}

/// Which of the waiting models goes next.
struct Chooser {
    rule: Rule,
    order: Order,
    served: [Duration; MODELS],
    ring: VecDeque<usize>,
}

impl Chooser {
    fn choose(&mut self, policies: &[Policy<()>], now: Instant) -> Option<usize> {
        let waiting: Vec<usize> = (0..MODELS).filter(|model| policies[*model].rows() > 0).collect();
        if waiting.is_empty() {
            return None;
        }
        if self.rule == Rule::InTurn {
            let model = self.ring.remove(self.ring.iter().position(|model| waiting.contains(model))?)?;
            self.ring.push_back(model);
            return Some(model);
        }
        let candidate = |model: &usize| {
            let deadline = policies[*model].urgency(now).map(|(_, deadline)| deadline);
            let latest_start = deadline.map(|deadline| deadline - (FIXED + EACH * 64));
            Candidate { level: 0, deadline, latest_start, served: self.served[*model], passed_over: 0 }
        };
        let candidates: Vec<Candidate> = waiting.iter().map(candidate).collect();
        let model = waiting[self.order.choose(&candidates, now)];
        self.served[model] = self.served[model].max(self.order.now);
        self.order.begins(self.served[model]);
        Some(model)
    }
}

/// The share of requests that one device answers in time.
fn in_time(rule: Rule, rate: f64) -> f64 {
    let start = Instant::now();
    let mut arrivals = arrivals(start, rate);
    let total = arrivals.len();
    let mut policies: Vec<Policy<()>> = (0..MODELS).map(|_| Policy::new(limits())).collect();
    let ring = (0..MODELS).collect();
    let mut chooser = Chooser { rule, order: Order::default(), served: [Duration::ZERO; MODELS], ring };
    let (mut now, mut good, mut id) = (start, 0_usize, 0);
    loop {
        while let Some((arrived, model)) = arrivals.pop_if(|arrival| arrival.0 <= now) {
            id += 1;
            let deadline = Some(arrived + PATIENCE);
            let (group, level, client, tag) = (0, 0, 0, 0);
            let (rows, size, class) = (1, 1, 0);
            let item = Item { id, rows, size, class, group, level, client, tag, arrived, deadline, payload: () };
            policies[model].push(item);
        }
        for policy in &mut policies {
            policy.sweep(now);
        }
        let Some(model) = chooser.choose(&policies, now) else {
            let Some(next) = arrivals.last() else { break };
            now = next.0;
            continue;
        };
        let Next::Run(batch) = policies[model].next(now, false) else { unreachable!("something waits") };
        let took = FIXED + EACH * u32::try_from(batch.rows).expect("few");
        now += took;
        chooser.served[model] += took;
        good += batch.items.iter().filter(|item| item.deadline.is_some_and(|deadline| deadline >= now)).count();
    }
    #[expect(clippy::cast_precision_loss, reason = "some ten thousands")]
    let share = good as f64 / total as f64;
    share
}

/// The highest rate, of some, at which 99 % are in time.
fn goodput(rule: Rule) -> f64 {
    let rates = (4..=18).map(|step| f64::from(step) * 500.0);
    rates.filter(|rate| in_time(rule, *rate) >= 0.99).fold(0.0, f64::max)
}

#[test]
fn deadlines_are_worth_more_than_turns() {
    let (order, in_turn) = (goodput(Rule::Order), goodput(Rule::InTurn));
    assert!(order >= 1.3 * in_turn, "{order} requests/s by deadline, {in_turn} in turn");
}
