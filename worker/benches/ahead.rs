//! What it gains to copy the next batch while one is computed: batches of images through a worker process, with and without.
//!
//! The worker computes on the cores that copy as well. So that the gain on a device with a processor of its own can be seen,
//! it is told in half of the cases to take longer over each batch, which it spends asleep.
//!
//! `cargo bench -p sconce-worker --bench ahead`; docs/benchmarks.md says what it means.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::Context as _;
use sconce::batch::{Calls, Job, Limits, Listener, Queue, Ran, Unit, Worker};
use sconce::device::{
    Cores, Device, Executor, FaultInjection, LoadSettings, RemoteExecutor, Supervisor, WorkerEvents, WorkerSettings,
    WorkerState,
};
use sconce::model::Files;
use sconce::types::{Error, Rows, Shape, Tensor};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

/// The allocator that the server's binary has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH_ROWS: usize = 64;
const REQUEST_ROWS: usize = 8;
/// Requests that wait or run at any time: four batches.
const REQUESTS: usize = 4 * BATCH_ROWS / REQUEST_ROWS;
/// Numbers of an image.
const NUMBERS: usize = 3 * 224 * 224;
/// How much longer the worker takes over a batch.
const LONGER: [u64; 3] = [0, 20, 50];
const ROUNDS: usize = 9;
const SECONDS: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    let settings = WorkerSettings {
        path: env!("CARGO_BIN_EXE_sconce-worker").into(),
        device: "cpu".to_owned(),
        allow_faults: true,
        start_timeout: Duration::from_secs(10),
    };
    let supervisor = Supervisor::start(settings, Arc::new(Silent));
    anyhow::ensure!(supervisor.wait_up(Duration::from_secs(10)), "no worker: {:?}", supervisor.state());
    let load = |files: &Files| supervisor.load("images", files, LoadSettings::default());
    line(&format!(
        "batches of {BATCH_ROWS} images of {NUMBERS} numbers, {REQUESTS} requests of {REQUEST_ROWS} at once, \
         {ROUNDS} rounds of {} s, interleaved; median (least..most)\n",
        SECONDS.as_secs()
    ))?;
    line(&format!("{:<44}{:>20}{:>20}{:>20}", "", "one at a time", "the next ahead", "ratio in a round"))?;
    for (name, files) in [("8 numbers of each", linear(8)), ("all numbers back", identity())] {
        let ways =
            [Way::new(&runtime, Box::new(OneAtATime(load(&files)?)))?, Way::new(&runtime, Box::new(load(&files)?))?];
        for longer in LONGER {
            supervisor.inject(FaultInjection::Slow(Duration::from_millis(longer)))?;
            compare(&format!("{name}, {longer} ms longer, images/s"), &runtime, &ways)?;
        }
    }
    Ok(())
}

/// Nobody is told.
struct Silent;

impl WorkerEvents for Silent {
    fn changed(&self, _: &WorkerState) {}
}

/// An executor that is given no batch ahead.
struct OneAtATime(RemoteExecutor);

impl Executor for OneAtATime {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        self.0.run(parts)
    }

    fn is_parallel(&self) -> bool {
        self.0.is_parallel()
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        self.0.rebuild()
    }
}

/// Counts rows.
#[derive(Default)]
struct Count(AtomicU64);

impl Listener for Count {
    fn ran(&self, batch: Ran, _now: Instant) {
        self.0.fetch_add(batch.rows as u64, Relaxed);
    }

    fn bisected(&self) {}

    fn panicked(&self) {}
}

/// A way of being given batches.
struct Way {
    worker: Arc<Worker>,
    count: Arc<Count>,
}

impl Way {
    fn new(runtime: &Runtime, executor: Box<dyn Executor>) -> anyhow::Result<Self> {
        let limits = Limits {
            unit: Unit::Rows,
            batch_rows_max: BATCH_ROWS,
            batch_size_max: BATCH_ROWS,
            preferred_sizes: Vec::new(),
            hold_max: Duration::from_millis(2),
            queue_size_max: 1 << 20,
            levels: 1,
            overtake_max: 16,
        };
        let queue = Queue::new(limits, Arc::new(Calls::default()));
        let device = Device::on_thread("images", executor, Cores::new("compute", 1)?)?;
        let count = Arc::<Count>::default();
        let worker = Worker::new(queue, device, None, Arc::clone(&count) as Arc<dyn Listener>);
        runtime.spawn(Arc::clone(&worker).work());
        Ok(Self { worker, count })
    }

    /// Images a second, asked for in a closed loop.
    async fn rate(&self) -> anyhow::Result<f64> {
        let image = Tensor::from_f32(Shape::new(&[REQUEST_ROWS, NUMBERS]), &vec![0.5; REQUEST_ROWS * NUMBERS]);
        let rows = Rows::uniform(vec![image.map_err(anyhow::Error::msg)?], REQUEST_ROWS);
        let (begun, before) = (Instant::now(), self.count.0.load(Relaxed));
        let mut callers = JoinSet::new();
        for _ in 0..REQUESTS {
            let (worker, rows) = (Arc::clone(&self.worker), rows.clone());
            callers.spawn(async move {
                while begun.elapsed() < SECONDS {
                    let (rows, arrived) = (rows.clone(), Instant::now());
                    worker.ask(Job { rows, level: 0, client: 0, deadline: None, arrived, alone: false }).await?;
                }
                Ok::<(), Error>(())
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        let images = u32::try_from(self.count.0.load(Relaxed) - before).context("a count")?;
        Ok(f64::from(images) / begun.elapsed().as_secs_f64())
    }
}

/// Measures both ways in turn, after a round that is not counted.
fn compare(name: &str, runtime: &Runtime, ways: &[Way; 2]) -> anyhow::Result<()> {
    let [one, ahead] = ways;
    let (mut ones, mut aheads, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (mut rate, mut rate_ahead) = (0.0, 0.0);
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                rate = runtime.block_on(one.rate())?;
            } else {
                rate_ahead = runtime.block_on(ahead.rate())?;
            }
        }
        if round > 0 {
            ones.push(rate);
            aheads.push(rate_ahead);
            ratios.push(rate_ahead / rate);
        }
    }
    let (ones, aheads, ratios) = (spread(ones, 0), spread(aheads, 0), spread(ratios, 2));
    line(&format!("{name:<44}{ones:>20}{aheads:>20}{ratios:>20}"))
}

fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let at = |at: usize| values.get(at).copied().unwrap_or_default();
    let (median, least, most) = (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)));
    format!("{median:.digits$} ({least:.digits$}..{most:.digits$})")
}

/// A network that makes so many numbers of an image.
fn linear(outputs: usize) -> Files {
    let text = format!("[input]\ndims = [{NUMBERS}]\n[[layer]]\ntype = \"linear\"\n");
    let (weight, all) = (outputs * NUMBERS * 4, outputs * (NUMBERS + 1) * 4);
    let tensor = |name, shape, begin, end| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    let weight = tensor("0.weight", format!("[{outputs},{NUMBERS}]"), 0, weight)
        + ","
        + &tensor("0.bias", format!("[{outputs}]"), weight, all);
    let header = format!("{{{weight}}}");
    let weights = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; all]].concat();
    files([("network.toml", text.into_bytes()), ("model.safetensors", weights)])
}

/// A model that gives back what it is given.
fn identity() -> Files {
    let text = "[[tensor]]\ninput = \"x\"\noutput = \"y\"\ndtype = \"FP32\"\ndims = [-1]\n";
    files([("identity.toml", text.as_bytes().to_vec())])
}

fn files<const COUNT: usize>(files: [(&str, Vec<u8>); COUNT]) -> Files {
    Files::Memory(BTreeMap::from(files.map(|(name, contents)| (name.to_owned(), contents.into()))))
}

fn line(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("print a line")
}
