//! A model on two devices, of which the first is a process that can be harmed, on a virtual clock.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::super::Pipeline;
use crate::config::ModelConfig;
use crate::device::{Cores, Device, Executor, Lifeline, Simulated};
use crate::guard::{Admission, Limits, Memory};
use crate::model::About;
use crate::monitor::{Monitor, Settings};
use crate::registry::{Allowance, Pools, Registry, Spawn};
use crate::types::{
    DataType, Error, Fallbacks, InferAnswer, InferRequest, NamedTensor, Presence, Reason, Rows, RungKind, Shape,
    Signature, Tensor, TensorSpec, Wishes,
};

/// Kills the process that computes it.
pub(super) const POISON: f32 = 6666.0;
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);
pub(super) const MILLI: Duration = Duration::from_millis(1);

/// A process that computes, and what is wrong with it.
#[derive(Default)]
pub(super) struct Process {
    pub(super) up: AtomicBool,
    pub(super) generation: AtomicU64,
    pub(super) hangs: AtomicBool,
    pub(super) slow: AtomicBool,
    pub(super) gives_nan: AtomicBool,
    /// Rows that it has memory for; 0 for any.
    pub(super) fits: AtomicUsize,
    pub(super) ended: Arc<Notify>,
    /// Sizes of the batches that it was asked for.
    pub(super) asked: Mutex<Vec<usize>>,
    /// Batches that it was given while it computed one.
    pub(super) ahead: AtomicUsize,
}

impl Process {
    pub(super) fn start(&self) {
        self.generation.fetch_add(1, Relaxed);
        self.up.store(true, Relaxed);
    }

    pub(super) fn kill(&self) {
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

pub(super) struct World {
    pub(super) process: Arc<Process>,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) tasks: Arc<Mutex<JoinSet<()>>>,
}

impl World {
    /// A model in a process, and, if `beside`, on the processors as well, where a batch takes three times as long.
    pub(super) fn new(beside: bool) -> Arc<Self> {
        Self::of(beside, "")
    }

    /// The same, with the rungs that this `model.toml` declares.
    pub(super) fn of(beside: bool, settings: &str) -> Arc<Self> {
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
            let simulated = Simulated::new(Box::new(Doubling(None)), timing, Arc::default());
            devices.push((RungKind::Cpu, Device::Simulated(simulated), None));
        }
        let max_batch_size = NonZeroUsize::new(8).expect("eight");
        let config = ModelConfig::parse("model.toml", settings).expect("settings");
        let config = ModelConfig { max_batch_size, ..config };
        registry.deploy_on(&"m".parse().expect("a name"), about(), &config, devices);
        let admission = Admission::new(Limits { requests_max: 1000, bytes_max: 1 << 20 }, Memory::new(usize::MAX));
        Arc::new(Self { process, pipeline: Pipeline::new(registry, monitor, admission, cores, TIMEOUT), tasks })
    }

    /// Asks for the double of `rows` times `value`.
    pub(super) async fn ask(&self, value: f32, rows: usize) -> Result<InferAnswer, Error> {
        self.ask_of(Fallbacks::ALL, value, rows).await
    }

    /// The same, of the first device and those that are permitted.
    pub(super) async fn ask_of(&self, fallbacks: Fallbacks, value: f32, rows: usize) -> Result<InferAnswer, Error> {
        let now = Instant::now();
        let client = self.pipeline.admission().client(IpAddr::from([10, 0, 0, 1]));
        let entry = self.pipeline.enter(&client, now, None)?;
        let mut journey = entry.handle();
        let tensor = Tensor::from_f32(Shape::new(&[rows, 1]), &vec![value; rows]).expect("a tensor");
        let inputs = vec![NamedTensor { name: "x".to_owned(), tensor }];
        let wishes = Wishes { fallbacks, ..Wishes::default() };
        let request = InferRequest { model: "m".to_owned(), inputs, wishes, ..InferRequest::default() };
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
    pub(super) async fn asks(&self, count: u16) -> Vec<&'static str> {
        let mut rungs = Vec::new();
        for value in 0..count {
            rungs.push(self.ask(f32::from(value), 1).await.expect("an answer").rung.expect("one of two").label());
        }
        rungs
    }

    pub(super) fn metric(&self, line: &str) -> u64 {
        let page = self.pipeline.monitor().render(Instant::now());
        let found = page.lines().find_map(|shown| shown.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("{line} in {page}"))
    }

    pub(super) async fn end(&self) {
        self.pipeline.registry().drain();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }
}

/// What doubles its rows in this process.
pub(super) fn doubling() -> impl Executor + 'static {
    Doubling(None)
}

fn simulated(process: &Arc<Process>) -> Device {
    let timing = |is_ahead: bool| {
        let state = Arc::clone(process);
        Box::new(move |_: &[Rows]| {
            state.ahead.fetch_add(usize::from(is_ahead), Relaxed);
            match () {
                () if !state.up.load(Relaxed) => Duration::ZERO,
                () if state.hangs.load(Relaxed) => Duration::from_hours(1),
                () if state.slow.load(Relaxed) => 90 * MILLI,
                () => MILLI,
            }
        })
    };
    let executor = || Box::new(Doubling(Some(Arc::clone(process))));
    let simulated = Simulated::new(executor(), timing(false), Arc::clone(&process.ended));
    Device::Simulated(simulated.with_ahead(executor(), timing(true)))
}

pub(super) fn about() -> About {
    let spec = |name: &str| TensorSpec {
        name: name.to_owned(),
        dtype: DataType::Fp32,
        row: vec![Some(1)],
        presence: Presence::Required,
    };
    let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
    About { signature, prepare: None, scoring: None, platform: "simulated" }
}
