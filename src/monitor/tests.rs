//! The monitor as its users see it: rendered pages.

#![expect(clippy::float_cmp, reason = "counts are exact in floats")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use proptest::prelude::*;
use smallvec::smallvec;
use tokio::time::Instant;

use super::{BatchCounts, Instruments, LoadResult, Monitor, PHASES, QueueView, Reading, ScorePlan, Settings};
use crate::types::{BatchReport, ClassScore, Error, ModelName, Reason, Release, Scores, Version};

const MILLI: Duration = Duration::from_millis(1);
const SERIES_MAX: usize = 400;
const SERIES_OF_CLASS_MAX: usize = 25;

fn monitor() -> Arc<Monitor> {
    Monitor::new(Settings { page_age_max: Duration::ZERO, ..Settings::default() })
}

fn model() -> (ModelName, Version) {
    ("m".parse().expect("a name"), "3".parse().expect("a version"))
}

fn classes(count: usize) -> ScorePlan {
    ScorePlan::Classes { labels: Vec::new(), classes: count, low: 0.5, exclusive: true }
}

fn deploy(monitor: &Arc<Monitor>, plan: &ScorePlan) -> Arc<Instruments> {
    let (model, version) = model();
    monitor.deployment(&model, version, plan)
}

fn report() -> BatchReport {
    BatchReport { rows: 4, size: 4, queue: 2 * MILLI, compute: 3 * MILLI, release: Release::Idle }
}

/// Value of every series of a page.
fn series(page: &str) -> BTreeMap<String, f64> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let split = samples.map(|line| line.rsplit_once(' ').expect("a value"));
    split.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

fn value(monitor: &Monitor, now: Instant, name: &str) -> f64 {
    *series(&monitor.render(now)).get(name).unwrap_or_else(|| unreachable!("{name} in {}", monitor.render(now)))
}

fn answered(monitor: &Arc<Monitor>, instruments: &Arc<Instruments>, arrived: Instant) {
    instruments.batch_ran(
        BatchCounts { rows: 4, size: 9, padding: 1, ahead: true },
        Release::Idle,
        arrived + 5 * MILLI,
    );
    let mut journey = monitor.journey(arrived, None);
    journey.request_bytes(100);
    journey.decoded(arrived + MILLI);
    journey.routed(instruments.clone());
    journey.answered(&report(), arrived + 6 * MILLI);
    journey.finish(Ok(50), arrived + 7 * MILLI);
}

#[test]
fn every_series_is_there_at_zero_from_the_first_scrape() {
    let monitor = monitor();
    let instruments = deploy(&monitor, &classes(3));
    let before = series(&monitor.render(Instant::now()));
    for (name, value) in &before {
        let set = ["sconce_build_info", "sconce_start_time_seconds", "sconce_resident_memory_bytes"];
        let zero = *value == 0.0 || (value.is_nan() && name.contains("quantile=\""));
        assert!(zero || set.iter().any(|set| name.starts_with(set)), "{name} {value}");
    }
    let now = Instant::now();
    answered(&monitor, &instruments, now);
    drop(monitor.journey(now, None));
    instruments.batch_ran(BatchCounts { rows: 4, size: 9, padding: 1, ahead: true }, Release::Bisect, now);
    let after = series(&monitor.render(now + MILLI));
    assert!(before.keys().eq(after.keys()), "no series appears later");
}

#[test]
fn series_stay_within_their_budget() {
    let mut counts = Vec::new();
    let known = |class_count| (classes(class_count), class_count);
    for (plan, class_count) in [
        (ScorePlan::None, 0),
        (ScorePlan::Values { range: None }, 0),
        known(2),
        known(20),
        (classes(1000), 21),
        (classes(0), 21),
    ] {
        let monitor = monitor();
        let _instruments = deploy(&monitor, &plan);
        let page = series(&monitor.render(Instant::now()));
        let of_model = page.keys().filter(|name| name.contains("model=\"m\"")).count();
        let of_class = page.keys().filter(|name| name.contains(",class=\"0\"")).count();
        assert!(of_class <= SERIES_OF_CLASS_MAX, "{of_class} series for a class");
        assert!(of_model - class_count * of_class <= SERIES_MAX, "{of_model} series with {class_count} classes");
        counts.push((class_count, of_model, of_class));
    }
    assert_eq!(counts[2].1 - counts[2].2 * 2, counts[5].1 - counts[5].2 * 21, "{counts:?}");
}

#[test]
fn a_journey_is_booked_exactly_once() {
    let monitor = monitor();
    let instruments = deploy(&monitor, &ScorePlan::None);
    let now = Instant::now();
    answered(&monitor, &instruments, now);
    let mut twice = monitor.journey(now, None);
    twice.routed(instruments.clone());
    twice.finish(Err(&Error::new(Reason::QueueFull, "full")), now);
    twice.finish(Ok(1), now);
    drop(twice);
    let mut dropped = monitor.journey(now, None);
    dropped.routed(instruments.clone());
    drop(dropped);
    let mut expired = monitor.journey(now, Some(now));
    expired.routed(instruments.clone());
    drop(expired);
    drop(monitor.journey(now, None));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut journey = monitor.journey(now, None);
        journey.routed(instruments.clone());
        std::panic::resume_unwind(Box::new("as a panic does"));
    }));
    assert!(panicked.is_err());

    let booked: Vec<(String, f64)> = series(&monitor.render(now))
        .into_iter()
        .filter(|(name, value)| name.starts_with("sconce_requests_total") && *value != 0.0)
        .collect();
    let want = [
        r#"{model="m",version="3",code="CANCELLED",reason="cancelled"}"#,
        r#"{model="m",version="3",code="DEADLINE_EXCEEDED",reason="deadline"}"#,
        r#"{model="m",version="3",code="INTERNAL",reason="panic"}"#,
        r#"{model="m",version="3",code="OK",reason="ok"}"#,
        r#"{model="m",version="3",code="RESOURCE_EXHAUSTED",reason="queue_full"}"#,
        r#"{model="unknown",version="unknown",code="CANCELLED",reason="cancelled"}"#,
    ];
    assert_eq!(booked, want.map(|labels| (format!("sconce_requests_total{labels}"), 1.0)));
}

#[test]
fn answered_requests_are_timed_by_phase() {
    let monitor = monitor();
    let instruments = deploy(&monitor, &ScorePlan::None);
    let now = Instant::now();
    for _ in 0..10 {
        answered(&monitor, &instruments, now);
    }
    let mut refused = monitor.journey(now, None);
    refused.routed(instruments.clone());
    refused.finish(Err(&Error::new(Reason::QueueFull, "full")), now);
    let page = series(&monitor.render(now + MILLI));
    let seconds = [("total", 0.007), ("queue", 0.002), ("compute", 0.003), ("decode", 0.001), ("encode", 0.001)];
    for (phase, want) in seconds {
        let labels = format!(r#"model="m",version="3",phase="{phase}""#);
        let got = page[&format!(r#"sconce_request_duration_quantiles_seconds{{{labels},quantile="0.99"}}"#)];
        assert!((got - want).abs() <= 0.01 * want, "{phase}: {got}");
        for family in ["sconce_request_duration_seconds", "sconce_request_duration_quantiles_seconds"] {
            assert!((page[&format!("{family}_sum{{{labels}}}")] - 10.0 * want).abs() < 1e-9);
            assert_eq!(page[&format!("{family}_count{{{labels}}}")], 10.0);
        }
        assert_eq!(page[&format!(r#"sconce_request_duration_seconds_bucket{{{labels},le="+Inf"}}"#)], 10.0);
    }
    assert_eq!(page[r#"sconce_request_bytes_total{model="m",version="3"}"#], 1000.0);
    assert_eq!(page[r#"sconce_response_bytes_total{model="m",version="3"}"#], 500.0);
    let snapshot = instruments.snapshot(now + MILLI);
    assert_eq!(snapshot.phases.iter().map(|times| times.phase).collect::<Vec<_>>(), PHASES);
    assert_eq!((snapshot.answered, snapshot.phases[0].recent.count()), (10, 10));
}

#[test]
fn the_window_forgets_and_the_sums_do_not() {
    let monitor = monitor();
    let instruments = deploy(&monitor, &classes(2));
    let start = Instant::now();
    let score = |class, at| {
        instruments.batch_ran(BatchCounts { rows: 1, size: 9, padding: 1, ahead: true }, Release::Idle, at);
        let mut journey = monitor.journey(at, None);
        journey.routed(instruments.clone());
        let row = ClassScore { class, confidence: 0.4, margin: 0.1, entropy: 0.9, bin: None };
        journey.scored(&Scores::Classes(smallvec![Some(row)]));
        journey.finish(Ok(0), at + MILLI);
    };
    score(0, start);
    score(1, start + 30_000 * MILLI);
    let share = |class, at| {
        value(&monitor, at, &format!(r#"sconce_predicted_class_ratio{{model="m",version="3",class="{class}"}}"#))
    };
    assert_eq!((share(0, start + 40_000 * MILLI), share(1, start + 40_000 * MILLI)), (0.5, 0.5));
    let later = start + 71_000 * MILLI;
    assert_eq!((share(0, later), share(1, later)), (0.0, 1.0));
    let idle = start + 300_000 * MILLI;
    assert_eq!((share(0, idle), share(1, idle)), (0.0, 0.0));
    assert!(
        value(
            &monitor,
            idle,
            r#"sconce_request_duration_quantiles_seconds{model="m",version="3",phase="total",quantile="0.5"}"#
        )
        .is_nan()
    );
    assert_eq!(
        value(&monitor, idle, r#"sconce_request_duration_seconds_count{model="m",version="3",phase="total"}"#),
        2.0
    );
    assert_eq!(value(&monitor, idle, r#"sconce_low_confidence_predictions_total{model="m",version="3"}"#), 2.0);
    score(0, idle);
    assert_eq!(share(0, idle + MILLI), 1.0, "a row after a long pause is in the window");
}

#[test]
fn a_reload_goes_on_counting_and_a_retired_model_disappears() {
    let monitor = monitor();
    let now = Instant::now();
    let old = deploy(&monitor, &classes(2));
    answered(&monitor, &old, now);
    let new = deploy(&monitor, &classes(2));
    assert!(Arc::ptr_eq(&old, &new));
    let other = deploy(&monitor, &classes(3));
    answered(&monitor, &other, now);
    let ok = r#"sconce_requests_total{model="m",version="3",code="OK",reason="ok"}"#;
    monitor.retire(&old);
    monitor.retire(&new);
    assert_eq!(value(&monitor, now, ok), 2.0);
    monitor.retire(&other);
    assert!(!monitor.render(now).contains("model=\"m\""));
    monitor.retire(&other);
    assert_eq!(deploy(&monitor, &ScorePlan::None).snapshot(now).answered, 0);
}

#[test]
fn loads_are_shown_failed_ones_too() {
    let monitor = monitor();
    let now = Instant::now();
    let instruments = deploy(&monitor, &ScorePlan::None);
    instruments.set_ready(true);
    let (_, version) = model();
    monitor.model_loaded("m", Some(version), LoadResult::Success, 20 * MILLI, 5 * MILLI);
    monitor.model_loaded("broken", None, LoadResult::Failure, MILLI, Duration::ZERO);
    assert_eq!(value(&monitor, now, r#"sconce_model_ready{model="m",version="3"}"#), 1.0);
    assert_eq!(value(&monitor, now, r#"sconce_model_load_seconds{model="m",version="3"}"#), 0.02);
    assert_eq!(value(&monitor, now, r#"sconce_model_warmup_seconds{model="m",version="3"}"#), 0.005);
    assert_eq!(value(&monitor, now, r#"sconce_model_ready{model="broken",version="unknown"}"#), 0.0);
    assert_eq!(
        value(&monitor, now, r#"sconce_model_loads_total{model="broken",version="unknown",result="failure"}"#),
        1.0
    );
    monitor.forget("broken", None);
    monitor.forget("m", Some(version));
    let page = monitor.render(now);
    assert!(!page.contains("broken") && page.contains("sconce_model_ready{model=\"m\""));
}

#[test]
fn gauges_are_read_at_the_scrape() {
    struct Queue(Instant);
    impl QueueView for Queue {
        fn rows(&self) -> usize {
            17
        }
        fn oldest(&self) -> Option<Instant> {
            Some(self.0)
        }
        fn counts_tokens(&self) -> bool {
            true
        }

        fn size_limit(&self) -> usize {
            40
        }
    }
    let monitor = monitor();
    let now = Instant::now();
    let instruments = deploy(&monitor, &ScorePlan::None);
    let queue: Arc<dyn QueueView> = Arc::new(Queue(now));
    instruments.watch_queue(Arc::downgrade(&queue));
    let open = Arc::new(AtomicUsize::new(5));
    let read = open.clone();
    monitor.observe(Reading::Connections, move || read.load(Relaxed) as u64);
    open.store(6, Relaxed);
    let later = now + 250 * MILLI;
    assert_eq!(value(&monitor, later, "sconce_connections"), 6.0);
    assert_eq!(value(&monitor, later, r#"sconce_queue_rows{model="m",version="3"}"#), 17.0);
    assert_eq!(value(&monitor, later, r#"sconce_queue_oldest_age_seconds{model="m",version="3"}"#), 0.25);
    assert_eq!(value(&monitor, later, r#"sconce_concurrency_limit{model="m",version="3"}"#), 40.0);
    instruments.batch_ran(BatchCounts { rows: 2, size: 9, padding: 1, ahead: true }, Release::Idle, later);
    assert_eq!(value(&monitor, later, r#"sconce_batch_tokens_total{model="m",version="3"}"#), 9.0);
    assert_eq!(value(&monitor, later, r#"sconce_batch_padding_tokens_total{model="m",version="3"}"#), 1.0);
    assert_eq!(value(&monitor, later, r#"sconce_batches_ahead_total{model="m",version="3"}"#), 1.0);
    drop(queue);
    assert_eq!(value(&monitor, later, r#"sconce_queue_rows{model="m",version="3"}"#), 0.0);
}

#[test]
fn a_page_is_rendered_once_a_second() {
    let monitor = Monitor::new(Settings::default());
    let now = Instant::now();
    let first = monitor.render(now);
    monitor.panicked();
    assert_eq!(monitor.render(now + 999 * MILLI), first);
    assert!(monitor.render(now + 1000 * MILLI).contains("\nsconce_panics_total 1\n"));
}

#[test]
fn nothing_is_recorded_when_recording_is_off() {
    let monitor = Monitor::new(Settings { recording: false, page_age_max: Duration::ZERO, ..Settings::default() });
    let instruments = deploy(&monitor, &ScorePlan::None);
    let now = Instant::now();
    answered(&monitor, &instruments, now);
    drop(monitor.journey(now, None));
    assert_eq!(instruments.snapshot(now).answered, 0);
}

#[test]
fn labels_with_quotes_do_not_break_the_page() {
    let monitor = monitor();
    let labels = ["a\"b", "c\\d", "e\nf", "é"].map(str::to_owned).to_vec();
    let _instruments = deploy(&monitor, &ScorePlan::Classes { labels, classes: 4, low: 0.0, exclusive: true });
    let page = monitor.render(Instant::now());
    for label in [r#"class="a\"b""#, r#"class="c\\d""#, r#"class="e\\u{a}f""#, r#"class="é""#] {
        assert!(page.contains(label), "{label}");
    }
}

/// Recording threads and scrapes at once: no sum and no bucket ever goes backwards, and nothing is lost.
#[test]
fn sums_never_go_backwards() {
    const THREADS: u32 = 3;
    const EACH: u32 = 4000;
    let monitor = monitor();
    let instruments = deploy(&monitor, &ScorePlan::None);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..EACH).for_each(|step| answered(&monitor, &instruments, start + step * 10 * MILLI)));
        }
        let mut last = series(&monitor.render(start));
        for step in 0..30 {
            let next = series(&monitor.render(start + step * 1000 * MILLI));
            let rising = next.iter().filter(|(name, _)| !name.contains("quantile=\"") && !name.contains("resident"));
            for (name, value) in rising {
                assert!(*value >= last[name], "{name}: {value} after {}", last[name]);
            }
            last = next;
        }
    });
    let count = value(
        &monitor,
        start + 40_000 * MILLI,
        r#"sconce_request_duration_seconds_count{model="m",version="3",phase="total"}"#,
    );
    assert_eq!(count, f64::from(THREADS * EACH));
}

proptest! {
    /// However requests end, the counters sum to the number of journeys.
    #[test]
    fn answers_and_failures_sum_to_arrivals(ends in prop::collection::vec(0_usize..16, 0..60)) {
        let monitor = monitor();
        let instruments = deploy(&monitor, &ScorePlan::None);
        let now = Instant::now();
        for end in &ends {
            let mut journey = monitor.journey(now, None);
            if end % 2 == 0 {
                journey.routed(instruments.clone());
            }
            match (*end, Reason::ALL.get(*end)) {
                (_, Some(reason)) => journey.finish(Err(&Error::new(*reason, "no")), now),
                (15, _) => drop(journey),
                _ => journey.finish(Ok(1), now),
            }
        }
        let page = series(&monitor.render(now));
        let counted = page.iter().filter(|(name, _)| name.starts_with("sconce_requests_total"));
        let sum: f64 = counted.map(|(_, value)| value).sum();
        prop_assert_eq!(sum, f64::from(u32::try_from(ends.len()).expect("few")));
    }
}
