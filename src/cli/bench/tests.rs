//! The two loops against a stand-in for a server, and what is shown of it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::arrivals::Spread;
use super::client::Ask;
use super::outcome::Outcome;
use super::report::{Input, Report, Setup, Step};
use super::step::{Load, Measured, Plan, run};
use super::{plot, table};

/// Answers at once, but for one stall after the first call: what comes while it lasts is answered when it ends.
#[derive(Clone)]
struct Stalling {
    stall: std::ops::Range<Duration>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Stalling {
    fn between(from: u64, to: u64) -> Self {
        Self { stall: Duration::from_millis(from)..Duration::from_millis(to), asked: Arc::default() }
    }

    /// Notes a call; when the first one was.
    fn note(&self, now: Instant) -> Instant {
        let mut asked = self.asked.lock();
        asked.push(now);
        asked[0]
    }
}

impl Ask for Stalling {
    async fn ask(&mut self, _due: Instant) -> Outcome {
        let now = Instant::now();
        let first = self.note(now);
        if self.stall.contains(&(now - first)) {
            sleep_until(first + self.stall.end).await;
        }
        Outcome::Ok { rows: 2 }
    }
}

/// Refuses everything, a moment later.
#[derive(Clone)]
struct Refusing;

impl Ask for Refusing {
    async fn ask(&mut self, due: Instant) -> Outcome {
        sleep_until(due + Duration::from_millis(10)).await;
        Outcome::of(&tonic::Status::unavailable("<full> & closed"))
    }
}

/// Never answers.
#[derive(Clone)]
struct Silent;

impl Ask for Silent {
    async fn ask(&mut self, _due: Instant) -> Outcome {
        std::future::pending().await
    }
}

fn plan(in_flight_max: usize) -> Plan {
    Plan {
        warmup: Duration::ZERO,
        duration: Duration::from_secs(1),
        deadline: None,
        spread: Spread::Constant,
        in_flight_max: NonZeroUsize::new(in_flight_max).expect("some"),
        heeds_pushback: false,
        seed: 1,
    }
}

fn callers(count: usize) -> Load {
    Load::Callers(NonZeroUsize::new(count).expect("some"))
}

async fn measure(client: impl Ask, load: Load, plan: &Plan) -> Measured {
    run(&[client], load, plan, &CancellationToken::new()).await.expect("runs").expect("is measured")
}

fn report(steps: Vec<Step>) -> Report {
    let input = Input { name: "x".to_owned(), datatype: "FP32", shape: vec![1, 30] };
    let setup = Setup {
        address: "localhost:8001".to_owned(),
        model: "<b&w>".to_owned(),
        model_version: String::new(),
        inputs: vec![input],
        request_variants: 64,
        connections: 1,
        warmup_seconds: 0.0,
        duration_seconds: 1.0,
        deadline_seconds: None,
        priority: None,
        ids: false,
        gzip: false,
        heed_pushback: false,
        arrivals: None,
        seed: 1,
    };
    Report::new(setup, steps, false, false)
}

// Real time: the pacer is a thread with a clock of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_counts_a_stall_for_everyone_who_was_due_in_it() {
    let step = Step::of(&measure(Stalling::between(200, 700), Load::Rate(200.0), &plan(1000)).await);
    // Half of the arrivals met the stall of 500 ms, and waited for what was left of it: evenly spread up to 500 ms.
    let latency = step.latency_seconds.expect("answers");
    // A busy machine adds to that.
    assert!((0.42..0.8).contains(&latency.p95), "{latency:?}");
    assert!((0.11..0.3).contains(&latency.mean), "{latency:?}");
    assert_eq!((step.ok, step.offered.map(|offered| offered.due)), (199, Some(199)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_in_the_client_count_from_when_they_were_due() {
    let client = Stalling::between(0, 500);
    let asked = Arc::clone(&client.asked);
    let step = Step::of(&measure(client, Load::Rate(100.0), &plan(1)).await);
    let offered = step.offered.expect("an open loop");
    // One call is unanswered for half a second, and some fifty more become due meanwhile.
    assert!(offered.held_back >= 40 && !offered.kept, "{offered:?}");
    assert!(offered.lag_seconds.expect("lags").max > 0.4, "{offered:?}");
    assert!(step.latency_seconds.expect("answers").p90 > 0.3, "{:?}", step.latency_seconds);
    assert_eq!(asked.lock().len() as u64, step.ok);
}

#[tokio::test(start_paused = true)]
async fn a_closed_loop_has_as_many_calls_as_callers() {
    // Each refusal takes 10 ms: 100 a second for each of the 4 callers.
    let measured = measure(Refusing, callers(4), &plan(1)).await;
    let step = Step::of(&measured);
    assert_eq!((step.calls, step.ok, step.failed), (400, 0, 400));
    assert!((step.answers_per_second - 400.0).abs() < 5.0, "{step:?}");
    assert_eq!((step.errors[0].code, step.errors[0].count), ("UNAVAILABLE", 400));
    assert!(step.latency_seconds.is_none() && step.failed_latency_seconds.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_never_answered_is_given_up_and_told() {
    let begun = Instant::now();
    let step = Step::of(&measure(Silent, callers(3), &plan(1)).await);
    assert_eq!((step.calls, step.ok, step.failed, step.unanswered), (3, 0, 0, 3));
    assert_eq!(begun.elapsed(), Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_tells_what_was_measured() {
    let stop = CancellationToken::new();
    let later = async {
        sleep_until(Instant::now() + Duration::from_millis(500)).await;
        stop.cancel();
    };
    let plan = Plan { duration: Duration::from_hours(1), ..plan(1) };
    let (measured, ()) = tokio::join!(run(&[Refusing], callers(1), &plan, &stop), later);
    let measured = measured.expect("runs").expect("is measured");
    assert_eq!(measured.took, Duration::from_millis(500));
    assert!((49..=50).contains(&measured.tally.sent.load(Relaxed)));
    let warming_up = Plan { warmup: Duration::from_secs(1), ..plan };
    assert!(run(&[Refusing], callers(1), &warming_up, &stop).await.expect("runs").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_table_tells_failures_under_their_step() {
    let step = Step::of(&measure(Refusing, callers(4), &plan(1)).await);
    let shown = table::render(&report(vec![step]));
    assert!(shown.contains("at 4 callers: 400 of 400 calls failed, told after p50 10."), "{shown}");
    assert!(shown.contains("  400 × UNAVAILABLE: <full> & closed"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_plot_has_a_point_for_each_step_and_no_bare_markup() {
    let mut steps = Vec::new();
    for count in [1, 2, 4] {
        steps.push(Step::of(&measure(Waiting, callers(count), &plan(1)).await));
    }
    let drawn = plot::draw(&report(steps));
    assert_eq!(drawn.matches("<circle class=\"p50\"").count(), 3);
    assert_eq!(drawn.matches("<circle class=\"p99\"").count(), 3);
    assert!(drawn.contains("&lt;b&amp;w&gt; on localhost:8001") && !drawn.contains("<b&w>"), "{drawn}");
    assert!(plot::draw(&report(Vec::new())).ends_with("</svg>\n"));
}

/// Answers after 10 ms.
#[derive(Clone)]
struct Waiting;

impl Ask for Waiting {
    async fn ask(&mut self, due: Instant) -> Outcome {
        sleep_until(due + Duration::from_millis(10)).await;
        Outcome::Ok { rows: 1 }
    }
}
