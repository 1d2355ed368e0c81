//! Devices that fail, on a virtual clock: whatever happens to the first, clients notice nothing, or are told.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use super::super::Pipeline;
use super::book::Random;
use crate::config::ModelConfig;
use crate::device::{Cores, Device, Executor, Lifeline};
use crate::guard::{Admission, Limits, Memory};
use crate::model::About;
use crate::monitor::{Monitor, Settings};
use crate::registry::{Allowance, Pools, Registry, Spawn};
use crate::types::{
    DataType, Error, InferAnswer, InferRequest, NamedTensor, Presence, Reason, Rows, RungKind, Shape, Signature,
    Tensor, TensorSpec,
};

/// Kills the process that computes it.
const POISON: f32 = 6666.0;
const TIMEOUT: Duration = Duration::from_secs(20);
const MILLI: Duration = Duration::from_millis(1);

/// A process that computes, and what is wrong with it.
#[derive(Default)]
struct Process {
    up: AtomicBool,
    generation: AtomicU64,
    hangs: AtomicBool,
    slow: AtomicBool,
    gives_nan: AtomicBool,
    /// Rows that it has memory for; 0 for any.
    fits: AtomicUsize,
    ended: Arc<Notify>,
    /// Sizes of the batches that it was asked for.
    asked: Mutex<Vec<usize>>,
}

impl Process {
    fn start(&self) {
        self.generation.fetch_add(1, Relaxed);
        self.up.store(true, Relaxed);
    }

    fn kill(&self) {
        self.up.store(false, Relaxed);
        self.ended.notify_waiters();
    }
}

impl Lifeline for Process {
    fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    fn why_down(&self) -> String {
        "it was killed".to_owned()
    }
}

/// Doubles its rows in a process, or, without one, here.
struct Doubling(Option<Arc<Process>>);

impl Executor for Doubling {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        let joined = Tensor::join(parts.iter().map(|part| &part.inputs()[0])).expect("same shapes");
        let values = joined.to_f32().expect("f32");
        let mut factor = 2.0;
        if let Some(process) = &self.0 {
            process.asked.lock().push(values.len());
            if process.up.load(Relaxed) && values.contains(&POISON) {
                process.kill();
            }
            if !process.up.load(Relaxed) {
                return Err(Error::new(Reason::DeviceLost, "the process ended"));
            }
            let fits = process.fits.load(Relaxed);
            if fits > 0 && values.len() > fits {
                return Err(Error::new(Reason::DeviceMemory, "out of memory"));
            }
            if process.gives_nan.load(Relaxed) {
                factor = f32::NAN;
            }
        }
        let doubled: Vec<f32> = values.iter().map(|value| value * factor).collect();
        Ok(vec![Tensor::from_f32(joined.shape().clone(), &doubled).expect("a tensor")])
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

struct World {
    process: Arc<Process>,
    pipeline: Arc<Pipeline>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl World {
    /// A model in a process, and, if `beside`, on the processors as well, where a batch takes three times as long.
    fn new(beside: bool) -> Arc<Self> {
        let monitor = Monitor::new(Settings { page_age_max: Duration::ZERO, ..Settings::default() });
        let tasks: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let set = Arc::clone(&tasks);
        let spawn: Spawn = Arc::new(move |_, _, task| drop(set.lock().spawn(task)));
        let cores = Cores::new("test", 1).expect("a pool");
        let registry = Registry::new(Arc::clone(&monitor), Pools::alike(cores.clone()), spawn, Allowance::default());
        let process = Arc::<Process>::default();
        process.start();
        let mut devices =
            vec![(RungKind::Worker, simulated(&process), Some(Arc::clone(&process) as Arc<dyn Lifeline>))];
        if beside {
            let timing = Box::new(|_: &[Rows]| 3 * MILLI);
            devices.push((RungKind::Cpu, Device::Simulated(Box::new(Doubling(None)), timing, Arc::default()), None));
        }
        let max_batch_size = NonZeroUsize::new(8).expect("eight");
        let config = ModelConfig { max_batch_size, ..ModelConfig::default() };
        registry.deploy_on(&"m".parse().expect("a name"), about(), &config, devices);
        let admission = Admission::new(Limits { requests_max: 1000, bytes_max: 1 << 20 }, Memory::new(usize::MAX));
        Arc::new(Self { process, pipeline: Pipeline::new(registry, monitor, admission, cores, TIMEOUT), tasks })
    }

    /// Asks for the double of `rows` times `value`.
    async fn ask(&self, value: f32, rows: usize) -> Result<InferAnswer, Error> {
        let now = Instant::now();
        let client = self.pipeline.admission().client(IpAddr::from([10, 0, 0, 1]));
        let entry = self.pipeline.enter(&client, now, None)?;
        let mut journey = entry.handle();
        let tensor = Tensor::from_f32(Shape::new(&[rows, 1]), &vec![value; rows]).expect("a tensor");
        let inputs = vec![NamedTensor { name: "x".to_owned(), tensor }];
        let request = InferRequest { model: "m".to_owned(), inputs, ..InferRequest::default() };
        let answered = self.pipeline.infer(&entry, request, &mut journey).await;
        if let Ok(answer) = &answered {
            let given = answer.outputs[0].tensor.to_f32().expect("f32");
            let own = |given: &f32| given.is_nan() || (given - value * 2.0).abs() < 1e-6;
            assert!(given.len() == rows && given.iter().all(own), "a stranger's rows: {value} became {given:?}");
        }
        journey.finish(answered.as_ref().map(|_| 1), Instant::now());
        answered
    }

    /// Asks `count` times, one after the other, and tells who answered.
    async fn asks(&self, count: u16) -> Vec<&'static str> {
        let mut rungs = Vec::new();
        for value in 0..count {
            rungs.push(self.ask(f32::from(value), 1).await.expect("an answer").rung.expect("one of two").label());
        }
        rungs
    }

    fn metric(&self, line: &str) -> u64 {
        let page = self.pipeline.monitor().render(Instant::now());
        let found = page.lines().find_map(|shown| shown.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("{line} in {page}"))
    }

    async fn end(&self) {
        self.pipeline.registry().drain();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }
}

fn simulated(process: &Arc<Process>) -> Device {
    let state = Arc::clone(process);
    let timing = move |_: &[Rows]| match () {
        () if !state.up.load(Relaxed) => Duration::ZERO,
        () if state.hangs.load(Relaxed) => Duration::from_hours(1),
        () if state.slow.load(Relaxed) => 90 * MILLI,
        () => MILLI,
    };
    Device::Simulated(Box::new(Doubling(Some(Arc::clone(process)))), Box::new(timing), Arc::clone(&process.ended))
}

fn about() -> About {
    let spec = |name: &str| TensorSpec {
        name: name.to_owned(),
        dtype: DataType::Fp32,
        row: vec![Some(1)],
        presence: Presence::Required,
    };
    let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
    About { signature, prepare: None, scoring: None, platform: "simulated" }
}

/// A process that is killed, hangs and lacks memory again and again, while clients ask.
async fn world(seed: u64) -> [u64; 2] {
    let (world, mut random) = (World::new(true), Random(seed));
    let mut requests = JoinSet::new();
    for number in 0..400_u16 {
        let (world, at) = (Arc::clone(&world), random.micros(4_000_000));
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
    answers
}

#[test]
fn whatever_happens_to_a_device_no_client_notices() {
    let (mut by_worker, mut by_cpu) = (0, 0);
    for seed in 0..60 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let [worker, cpu] = runtime.expect("a runtime").block_on(world(seed));
        by_worker += worker;
        by_cpu += cpu;
    }
    assert!(by_worker > 10_000 && by_cpu > 1000, "both were needed: {by_worker} and {by_cpu}");
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
