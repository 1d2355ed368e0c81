//! Rungs that seldom serve are tried out; what stands in is another version, another model or a prediction, or tells why not.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use super::devices::{World, about};
use crate::config::ModelConfig;
use crate::device::Device;
use crate::types::{Fallbacks, Reason, RungKind};

const DECLARED: &str = "
[[fallback.rung]]
use = \"version\"
[[fallback.rung]]
use = \"model\"
model = \"other\"
[[fallback.rung]]
use = \"prediction\"
kind = \"last-answer\"
";

fn trials(rung: &str, result: &str) -> String {
    format!("sconce_rung_trials_total{{model=\"m\",version=\"1\",rung=\"{rung}\",result=\"{result}\"}}")
}

/// Tries the rungs of a world for so long.
async fn try_for(world: &World, time: Duration) {
    let stop = CancellationToken::new();
    let trying = Arc::clone(&world.pipeline).try_rungs(stop.clone());
    let stopping = async {
        sleep(time).await;
        stop.cancel();
    };
    tokio::join!(trying, stopping);
}

#[tokio::test(start_paused = true)]
async fn a_rung_that_never_serves_is_tried_and_one_that_errs_is_told() {
    let world = World::new(true);
    world.asks(5).await;
    try_for(&world, Duration::from_secs(11)).await;
    assert_eq!(world.metric(&trials("cpu", "agreed")), 2);
    assert_eq!(world.metric("sconce_rung_answers_total{model=\"m\",version=\"1\",rung=\"cpu\"}"), 0);
    // The first answers otherwise than before: one of the two is wrong.
    world.process.gives_nan.store(true, Relaxed);
    let error = |detail: &str| assert!(detail.contains("cpu: its last trial differed; worker serves"), "{detail}");
    world.pipeline.registry().table().route("m", "").expect("served").sampler.take();
    world.ask_of(Fallbacks::NONE, 1.0, 1).await.expect("an answer");
    try_for(&world, Duration::from_secs(6)).await;
    assert_eq!(world.metric(&trials("cpu", "differed")), 1);
    error(&world.pipeline.model_states()[0].detail);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_traffic_a_row_is_made_up_and_a_device_comes_back() {
    let world = World::new(true);
    try_for(&world, Duration::from_secs(6)).await;
    assert_eq!(world.metric(&trials("cpu", "agreed")), 1);
    world.process.kill();
    world.asks(1).await;
    let detail = world.pipeline.model_states()[0].detail.clone();
    assert!(detail.contains("worker: down, it was killed; cpu serves"), "{detail}");
    world.process.start();
    try_for(&world, Duration::from_secs(21)).await;
    assert_eq!(world.metric("sconce_breaker_state{model=\"m\",version=\"1\",rung=\"worker\"}"), 0);
    assert_eq!(world.pipeline.model_states()[0].detail, "");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stand_in_answers_or_tells_why_not() {
    let world = World::of(false, DECLARED);
    let first = world.ask(2.0, 1).await.expect("an answer");
    assert_eq!(first.rung, Some(RungKind::Worker));
    try_for(&world, Duration::from_secs(6)).await;
    for (rung, result) in [("version", "failed"), ("model", "failed"), ("prediction", "agreed")] {
        assert_eq!(world.metric(&trials(rung, result)), 1, "{rung}");
    }
    world.process.kill();
    assert_eq!(world.ask(2.0, 1).await.expect("remembered").rung, Some(RungKind::Prediction));
    let error = world.ask(3.0, 1).await.expect_err("never answered before");
    assert_eq!(error.reason(), Reason::DeviceLost);
    // Another model of the same inputs and outputs.
    let other = Device::Inline(Box::new(super::devices::doubling()));
    world.pipeline.registry().deploy(&"other".parse().expect("a name"), about(), &ModelConfig::default(), other);
    let stood_in = world.ask(3.0, 1).await.expect("the other answers");
    assert_eq!((stood_in.rung, stood_in.outputs[0].tensor.to_f32()), (Some(RungKind::Model), Some(vec![6.0])));
    assert_eq!(world.ask_of(Fallbacks::NONE, 3.0, 1).await.expect_err("forbidden").reason(), Reason::DeviceLost);
    world.end().await;
}
