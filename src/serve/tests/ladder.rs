//! Devices that fail, on a virtual clock: whatever happens to the first, clients notice nothing, or are told.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use super::book::Random;
use super::devices::{MILLI, POISON, World};
use crate::types::{Fallbacks, Reason, RungKind};

/// A process that is killed, hangs and lacks memory again and again, while clients ask, in every other world many of them at
/// once. Answers by rung, and batches that the process was given ahead.
async fn world(seed: u64) -> ([u64; 2], usize) {
    let (world, mut random) = (World::new(true), Random(seed));
    let mut requests = JoinSet::new();
    for number in 0..400_u16 {
        let (world, mut at) = (Arc::clone(&world), random.micros(4_000_000));
        if seed % 2 == 1 {
            at -= Duration::from_nanos(u64::from(at.subsec_nanos()) % 250_000_000);
        }
        let rows = 1 + usize::try_from(random.below(3)).expect("few");
        requests.spawn(async move {
            sleep(at).await;
            world.ask(f32::from(number), rows).await.map(drop)
        });
    }
    let harmed = Arc::clone(&world.process);
    requests.spawn(async move {
        for _ in 0..8 {
            sleep(random.micros(800_000)).await;
            match random.below(4) {
                0 => harmed.kill(),
                1 => harmed.hangs.store(true, Relaxed),
                2 => harmed.fits.store(1 + usize::try_from(random.below(3)).expect("few"), Relaxed),
                _ => harmed.slow.store(true, Relaxed),
            }
            sleep(random.micros(400_000)).await;
            for trouble in [&harmed.hangs, &harmed.slow] {
                trouble.store(false, Relaxed);
            }
            harmed.fits.store(0, Relaxed);
            harmed.ended.notify_waiters();
            harmed.start();
        }
        Ok(())
    });
    while let Some(ended) = requests.join_next().await {
        ended.expect("no promise was broken").unwrap_or_else(|error| panic!("SEED {seed}: a client saw {error}"));
    }
    let answers = ["worker", "cpu"]
        .map(|rung| world.metric(&format!("sconce_rung_answers_total{{model=\"m\",version=\"1\",rung=\"{rung}\"}}")));
    assert_eq!(answers.iter().sum::<u64>(), 400, "each is answered once");
    world.end().await;
    (answers, world.process.ahead.load(Relaxed))
}

#[test]
fn whatever_happens_to_a_device_no_client_notices() {
    let (mut by_worker, mut by_cpu, mut ahead) = (0, 0, 0);
    for seed in 0..60 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let ([worker, cpu], given) = runtime.expect("a runtime").block_on(world(seed));
        by_worker += worker;
        by_cpu += cpu;
        ahead += given;
    }
    assert!(by_worker > 10_000 && by_cpu > 1000, "both were needed: {by_worker} and {by_cpu}");
    assert!(ahead > 500, "{ahead} batches were given ahead");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_dies_is_left_at_once_and_asked_again_when_it_is_back() {
    let world = World::new(true);
    assert_eq!(world.asks(3).await, ["worker"; 3]);
    world.process.kill();
    let begun = Instant::now();
    assert_eq!(world.asks(3).await, ["cpu"; 3]);
    assert!(begun.elapsed() < 20 * MILLI, "nobody waits for it");
    world.process.start();
    assert_eq!(world.asks(3).await, ["worker"; 3]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_hangs_is_overdue_and_stopped() {
    let world = World::new(true);
    // It learns what a batch takes, and then waits a tenth of a second and no longer.
    world.asks(30).await;
    world.process.hangs.store(true, Relaxed);
    let begun = Instant::now();
    assert_eq!(world.asks(2).await, ["cpu"; 2]);
    let took = begun.elapsed();
    assert!(took > 100 * MILLI && took < 115 * MILLI, "{took:?}");
    assert_eq!(world.metric("sconce_breaker_state{model=\"m\",version=\"1\",rung=\"worker\"}"), 2);
    let overdue = "sconce_rung_failures_total{model=\"m\",version=\"1\",rung=\"worker\",reason=\"device_overdue\"}";
    assert_eq!(world.metric(overdue), 1);
    let error = world.ask_of(Fallbacks::NONE, 1.0, 1).await.expect_err("nobody else may answer");
    let told = "the device \"worker\" has failed and is left alone for a while";
    assert_eq!((error.reason(), error.detail()), (Reason::BreakerOpen, told));
    // Well again, it is asked again when its time is over.
    world.process.hangs.store(false, Relaxed);
    assert_eq!(world.asks(2).await, ["cpu"; 2]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.asks(5).await, ["worker"; 5]);
    assert_eq!(world.metric("sconce_breaker_state{model=\"m\",version=\"1\",rung=\"worker\"}"), 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_slow_is_left_alone() {
    let world = World::new(true);
    world.asks(200).await;
    world.process.slow.store(true, Relaxed);
    let rungs = world.asks(200).await;
    let slow = rungs.iter().filter(|rung| **rung == "worker").count();
    assert!(slow > 50 && slow < 120, "{slow} slow answers");
    assert_eq!(rungs[150..], ["cpu"; 50]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn batches_shrink_to_what_fits_the_memory() {
    let world = World::new(true);
    world.process.fits.store(2, Relaxed);
    for value in 0..20_u16 {
        world.ask(f32::from(value), 8).await.expect("an answer");
    }
    let limit = "sconce_batch_size_limit{model=\"m\",version=\"1\",rung=\"worker\"}";
    assert_eq!(world.metric(limit), 2);
    let failed = world.process.asked.lock().iter().filter(|rows| **rows > 2).count();
    assert!(failed <= 3, "what failed was not tried for ever: {failed}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_number_is_asked_of_the_next_device() {
    let world = World::new(true);
    world.process.gives_nan.store(true, Relaxed);
    let answer = world.ask(4.0, 1).await.expect("an answer");
    assert_eq!((answer.rung, answer.outputs[0].tensor.to_f32()), (Some(RungKind::Cpu), Some(vec![8.0])));
    // Where both say so, it is the model.
    let both = world.ask(f32::NAN, 1).await.expect("an answer");
    assert_eq!(both.rung, Some(RungKind::Worker));
    world.asks(8).await;
    assert_eq!(world.metric("sconce_breaker_state{model=\"m\",version=\"1\",rung=\"worker\"}"), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn rows_that_kill_twice_alone_are_refused() {
    let world = World::new(true);
    for _ in 0..2 {
        let answer = world.ask(POISON, 1).await.expect("the processors bear it");
        assert_eq!(answer.rung, Some(RungKind::Cpu));
        world.process.start();
    }
    let error = world.ask(POISON, 1).await.expect_err("refused");
    let told = "these inputs made a device fail twice, alone; they are refused for a while";
    assert_eq!((error.reason(), error.detail()), (Reason::Quarantined, told));
    assert_eq!(world.asks(2).await, ["worker"; 2]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn rows_beside_those_that_kill_are_soon_above_suspicion() {
    let world = World::new(true);
    for _ in 0..6 {
        let (poison, sound) = tokio::join!(world.ask(POISON, 1), world.ask(5.0, 1));
        assert!(sound.is_ok());
        drop(poison);
        world.process.start();
    }
    assert_eq!(world.ask(5.0, 1).await.expect("an answer").rung, Some(RungKind::Worker));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_only_device_is_waited_for_and_asked_once_more() {
    let world = World::new(false);
    world.ask(1.0, 1).await.expect("an answer");
    world.process.kill();
    let process = Arc::clone(&world.process);
    let restart = async {
        sleep(300 * MILLI).await;
        process.start();
    };
    let (answer, ()) = tokio::join!(world.ask(2.0, 1), restart);
    assert!(answer.is_ok());
    // It hangs, and hangs again.
    world.process.hangs.store(true, Relaxed);
    let error = world.ask(4.0, 1).await.expect_err("nobody answers");
    assert_eq!((error.reason(), error.detail()), (Reason::DeviceOverdue, "the device did not answer within 5000 ms"));
    world.process.hangs.store(false, Relaxed);
    // It does not come back.
    world.process.kill();
    let begun = Instant::now();
    let error = world.ask(3.0, 1).await.expect_err("nobody answers");
    let told = "the device's process is down: it was killed";
    assert_eq!((error.reason(), error.detail()), (Reason::DeviceLost, told));
    assert!(begun.elapsed() >= Duration::from_secs(2));
    world.end().await;
}

const CONSTANT: &str =
    "[[fallback.rung]]\nuse = \"prediction\"\nkind = \"constant\"\noutputs = { y = 0 }\n[breaker]\nopen_for = \"1h\"\n";

#[tokio::test(start_paused = true)]
async fn a_prediction_answers_for_as_long_as_the_device_is_gone() {
    let world = World::of(false, CONSTANT);
    world.process.kill();
    // More than there can be second tries.
    for request in 0..1500 {
        let answer = world.ask(0.0, 2).await.unwrap_or_else(|error| panic!("request {request}: {error}"));
        assert_eq!(answer.rung, Some(RungKind::Prediction));
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn only_what_a_request_permits_answers_it() {
    let world = World::of(true, CONSTANT);
    world.process.kill();
    let [prediction, unnamed] = ["prediction", "version,model"].map(|text| text.parse().expect(text));
    assert_eq!(world.ask(0.0, 1).await.expect("an answer").rung, Some(RungKind::Cpu));
    assert_eq!(world.ask_of(prediction, 0.0, 1).await.expect("an answer").rung, Some(RungKind::Prediction));
    for fallbacks in [Fallbacks::NONE, unnamed] {
        let error = world.ask_of(fallbacks, 0.0, 1).await.expect_err("nobody may answer");
        assert_eq!(error.detail(), "the device's process is down: it was killed");
    }
    world.process.start();
    assert_eq!(world.ask_of(Fallbacks::NONE, 0.0, 1).await.expect("an answer").rung, Some(RungKind::Worker));
    world.end().await;
}
