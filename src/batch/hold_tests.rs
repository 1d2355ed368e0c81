//! What the learned hold is worth, on a virtual clock: against never holding and against a fixed hold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::{Duration, Instant};

use super::{Item, Limits, Next, Policy, Unit};

/// A closed loop: each client thinks for a while, asks, and waits for its answer.
struct Loop {
    clients: u64,
    think: Duration,
    fixed: Duration,
    per_row: Duration,
}

/// Requests answered a second of virtual time, and the mean latency.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    rate: f64,
    latency: Duration,
}

fn micros(count: u64) -> Duration {
    Duration::from_micros(count)
}

fn limits(hold_max: Duration) -> Limits {
    Limits {
        unit: Unit::Rows,
        batch_rows_max: 64,
        batch_size_max: 64,
        preferred_sizes: Vec::new(),
        hold_max,
        queue_size_max: 4096,
        levels: 1,
        overtake_max: 16,
    }
}

/// Steps through two virtual seconds. Thinking times vary by half, by a fixed sequence.
fn simulate(setup: &Loop, hold_max: Duration) -> Outcome {
    let limits = limits(hold_max);
    let (mut policy, start) = (Policy::new(limits), Instant::now());
    let end = start + Duration::from_secs(2);
    let mut seed = 0x9e37_79b9_u64;
    let mut think = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        setup.think.mul_f64(0.5 + f64::from(u32::try_from(seed >> 33).unwrap_or(0)) / f64::from(1_u32 << 31))
    };
    let mut arrivals: BinaryHeap<Reverse<(Instant, u64)>> = BinaryHeap::new();
    for client in 0..setup.clients {
        arrivals.push(Reverse((start + think(), client)));
    }
    let (mut now, mut answered, mut waited, mut id) = (start, 0_u32, Duration::ZERO, 0);
    let mut arrive = |policy: &mut Policy<u64>, arrivals: &mut BinaryHeap<Reverse<(Instant, u64)>>, now: Instant| {
        while let Some(Reverse((at, client))) = arrivals.peek().copied().filter(|next| next.0.0 <= now) {
            arrivals.pop();
            id += 1;
            let (arrived, deadline) = (at, None);
            policy.push(Item {
                id,
                rows: 1,
                size: 1,
                class: 0,
                group: 0,
                level: 0,
                client,
                tag: 0,
                arrived,
                deadline,
                payload: client,
            });
        }
    };
    while now < end {
        arrive(&mut policy, &mut arrivals, now);
        let next_arrival = arrivals.peek().map(|next| next.0.0);
        match policy.next(now, false) {
            Next::Run(batch) => {
                let took = setup.fixed + setup.per_row * u32::try_from(batch.rows).expect("small");
                now += took;
                arrive(&mut policy, &mut arrivals, now);
                policy.learn(batch.rows, took, now);
                for item in batch.items {
                    answered += 1;
                    waited += now - item.arrived;
                    arrivals.push(Reverse((now + think(), item.payload)));
                }
            }
            Next::Hold(until) => now = next_arrival.map_or(until, |at| at.min(until)).max(now + micros(1)),
            Next::Empty => now = next_arrival.expect("a closed loop goes on"),
        }
    }
    Outcome { rate: f64::from(answered) / (now - start).as_secs_f64(), latency: waited / answered.max(1) }
}

/// Rate and latency relative to never holding.
fn gain(setup: &Loop) -> (f64, f64) {
    let (never, learned) = (simulate(setup, Duration::ZERO), simulate(setup, Duration::from_millis(2)));
    (learned.rate / never.rate, learned.latency.as_secs_f64() / never.latency.as_secs_f64())
}

#[test]
fn where_the_fixed_cost_is_large_holding_pays() {
    for clients in [8, 16, 64] {
        let setup = Loop { clients, think: micros(500), fixed: micros(4000), per_row: micros(50) };
        let (rate, latency) = gain(&setup);
        assert!(rate > 1.15 && latency < 0.95, "{clients} clients: rate {rate:.2}, latency {latency:.2}");
    }
}

#[test]
fn where_it_does_not_pay_holding_does_no_harm() {
    for (fixed, per_row) in [(20, 2), (300, 10), (300, 200), (2000, 2000)] {
        for clients in [1, 2, 8, 64] {
            for think in [100, 1000, 10_000] {
                let setup = Loop { clients, think: micros(think), fixed: micros(fixed), per_row: micros(per_row) };
                let (rate, latency) = gain(&setup);
                let told =
                    format!("{clients} clients, think {think}, cost {fixed}+{per_row}k: {rate:.3}, {latency:.3}");
                assert!(rate > 0.97 && latency < 1.05, "{told}");
            }
        }
    }
}

#[test]
fn a_lone_client_never_waits_for_company() {
    let setup = Loop { clients: 1, think: micros(200), fixed: micros(4000), per_row: micros(50) };
    let (rate, latency) = gain(&setup);
    assert!((rate - 1.0).abs() < 0.001 && (latency - 1.0).abs() < 0.001, "rate {rate:.3}, latency {latency:.3}");
}
