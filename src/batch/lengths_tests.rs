//! Texts of very different lengths in one queue, on a virtual clock: against batching by order of arrival.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

use super::super::item::class;
use super::{Item, Limits, Next, Policy, Unit};

const FIXED: Duration = Duration::from_micros(1500);
const EACH: Duration = Duration::from_micros(120);
/// One in so many is long.
const LONG_ONE_IN: u64 = 20;

/// A text: when it came, and how many tokens it has.
type Text = (Instant, usize);

fn limits() -> Limits {
    Limits {
        unit: Unit::Tokens,
        batch_rows_max: 64,
        batch_size_max: 8192,
        preferred_sizes: Vec::new(),
        hold_max: Duration::from_millis(2),
        queue_size_max: 1 << 20,
        levels: 1,
        overtake_max: 16,
    }
}

/// Poisson arrivals of ten seconds that keep the device busy for `load` of its time, fixed costs aside.
fn texts(start: Instant, load: f64) -> VecDeque<Text> {
    let mut seed = 7_u64;
    let mut random = move |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    let mean_tokens = 17.0 + (384.0 - 17.0) / 20.0;
    let gap = EACH.as_secs_f64() * mean_tokens / load;
    let (mut texts, mut at) = (VecDeque::new(), 0.0);
    while at < 10.0 {
        #[expect(clippy::cast_precision_loss, reason = "a million steps are enough")]
        let uniform = (random(1_000_000) as f64 + 1.0) / 1_000_001.0;
        at -= uniform.ln() * gap;
        let tokens = if random(LONG_ONE_IN) == 0 { 256 + random(257) } else { 3 + random(30) };
        texts.push_back((start + Duration::from_secs_f64(at), usize::try_from(tokens).expect("few")));
    }
    texts
}

fn cost(tokens: usize) -> Duration {
    FIXED + EACH * u32::try_from(tokens).expect("few")
}

/// 99th percentile of the latencies of short and of long texts.
fn percentiles(mut answered: Vec<(usize, Duration)>) -> (Duration, Duration) {
    answered.sort_unstable_by_key(|(_, latency)| *latency);
    let p99 = |is_long: bool| {
        let group: Vec<Duration> =
            answered.iter().filter(|(tokens, _)| (*tokens > 32) == is_long).map(|(_, latency)| *latency).collect();
        group[group.len() * 99 / 100]
    };
    (p99(false), p99(true))
}

/// What one would do first: all that waits, in order of arrival, up to the largest batch.
fn in_order(load: f64) -> (Duration, Duration) {
    let mut now = Instant::now();
    let mut texts = texts(now, load);
    let mut answered = Vec::new();
    while let Some(first) = texts.front() {
        now = now.max(first.0);
        let mut batch: Vec<Text> = Vec::new();
        let mut tokens = 0;
        while let Some(text) = texts.pop_front_if(|text| text.0 <= now && tokens + text.1 <= limits().batch_size_max) {
            tokens += text.1;
            batch.push(text);
        }
        now += cost(tokens);
        answered.extend(batch.into_iter().map(|(arrived, tokens)| (tokens, now - arrived)));
    }
    percentiles(answered)
}

fn by_policy(load: f64, one_client: bool) -> (Duration, Duration) {
    let mut now = Instant::now();
    let mut texts = texts(now, load);
    let mut policy = Policy::new(limits());
    for tokens in [8, 16, 64, 512, 8192, 8, 64, 512] {
        policy.learn(tokens, cost(tokens), now);
    }
    let (mut answered, mut id) = (Vec::new(), 0);
    loop {
        while let Some((arrived, size)) = texts.pop_front_if(|text| text.0 <= now) {
            id += 1;
            let client = if one_client { 0 } else { id % 7 };
            let (group, level, tag, deadline) = (0, 0, 0, None);
            let class = class(size);
            let item = Item { id, rows: 1, size, class, group, level, client, tag, arrived, deadline, payload: () };
            policy.push(item);
        }
        let next_arrival = texts.front().map(|text| text.0);
        match policy.next(now, false) {
            Next::Run(batch) => {
                now += cost(batch.size);
                policy.learn(batch.size, cost(batch.size), now);
                answered.extend(batch.items.iter().map(|item| (item.size, now - item.arrived)));
            }
            Next::Hold(until) => now = next_arrival.map_or(until, |at| at.min(until)).max(now + EACH),
            Next::Empty => match next_arrival {
                Some(at) => now = at,
                None => return percentiles(answered),
            },
        }
    }
}

#[test]
fn a_long_text_does_not_hold_up_the_short_ones_nor_they_it() {
    for load in [0.5, 0.7, 0.85] {
        let (short_before, long_before) = in_order(load);
        // Of several clients, each one's long texts wait for the others' turns as well.
        for (one_client, more) in [(true, 2), (false, 4)] {
            let (short, long) = by_policy(load, one_client);
            assert!(short * 19 <= short_before * 10, "load {load}: short texts {short:?}, in order {short_before:?}");
            assert!(long <= long_before * more, "load {load}: long texts {long:?}, in order {long_before:?}");
        }
    }
}
