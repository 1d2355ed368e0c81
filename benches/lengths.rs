//! Texts of 3 to 512 tokens in one queue: our batches against batches by order of arrival, on the same model, the same arrivals
//! and the same device, one after the other in every round; and the padding that the latter would need without packed rows.
//!
//! `cargo bench --bench lengths [-- --rounds N] [--seconds S]`; docs/benchmarks.md says what it means. The model is as large
//! as all-MiniLM-L6-v2.

#![expect(clippy::disallowed_methods, reason = "a benchmark starts tasks of its own")]

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/figures.rs"]
mod figures;
#[path = "support/folders.rs"]
mod folders;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use figures::{Spread, line};
use folders::Encoder;
use sconce::batch::{Calls, Job, Limits, Listener, Queue, Ran, Unit, Worker};
use sconce::config::ModelConfig;
use sconce::device::{Cores, Device, Executor as _, LocalExecutor};
use sconce::model::{Files, Prepare};
use sconce::types::Rows;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One text in so many is long: 256 to 512 tokens, the others 3 to 32.
const LONG_ONE_IN: u64 = 20;
const SHORT_MAX: usize = 32;
/// Of what the device can do.
const LOADS: [f64; 3] = [0.5, 0.7, 0.85];
/// As large as all-MiniLM-L6-v2, but for its vocabulary.
const MINI_LM: Encoder = Encoder { layers: 6, hidden: 384, heads: 12, words: 2000, positions: 512 };
const TOKENS_MAX: usize = 8192;
const ROWS_MAX: usize = 64;

/// How batches are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Ours,
    /// All that waits, in order of arrival.
    InOrder,
}

impl Way {
    const ALL: [Self; 2] = [Self::Ours, Self::InOrder];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "sconce",
            Self::InOrder => "in order of arrival",
        }
    }
}

/// A text: when it comes, and its tokens.
type Text = (Duration, usize);

/// What one way gave under one load.
#[derive(Clone, Debug, Default)]
struct Outcome {
    /// Seconds.
    short_p99: f64,
    long_p99: f64,
    /// Padding among all computed tokens; in order of arrival, what it would be.
    waste: f64,
    tokens_a_second: f64,
}

struct Model {
    prepare: Arc<dyn Prepare>,
    folder: std::path::PathBuf,
    cores: Cores,
}

fn main() -> anyhow::Result<()> {
    sconce::app::keep_pools_from_spinning();
    let [rounds, seconds] = arguments::numbers(["--rounds", "--seconds"], [3, 20])?;
    let folder = std::env::temp_dir().join(format!("sconce-lengths-{}", std::process::id()));
    folders::write_bert(&folder, MINI_LM, 1)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    let measured = runtime.block_on(measure(&folder, rounds, seconds));
    std::fs::remove_dir_all(&folder)?;
    measured
}

async fn measure(folder: &std::path::Path, rounds: u64, seconds: u64) -> anyhow::Result<()> {
    let cores = Cores::new("compute", std::thread::available_parallelism()?.get())?;
    let executor = load(folder)?;
    let prepare = executor.loaded().about.prepare.clone().context("a text model prepares its rows")?;
    let model = Model { prepare, folder: folder.to_owned(), cores };
    let capacity = capacity(&model, executor)?;
    line(&format!("{capacity:.0} tokens/s of texts as they come, eight at a time; {rounds} rounds of {seconds} s"));
    for load in LOADS {
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); Way::ALL.len()];
        for round in 0..rounds {
            let texts = texts(round + 1, load * capacity, Duration::from_secs(seconds));
            for (way, outcomes) in Way::ALL.iter().zip(&mut outcomes) {
                outcomes.push(run(&model, *way, &texts).await?);
            }
        }
        line(&format!("\nload {:.0} %", load * 100.0));
        for (way, outcomes) in Way::ALL.iter().zip(&outcomes) {
            let spread = |of: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(of));
            line(&format!(
                "  {:<20} p99 short {} ms   p99 long {} ms   padding {} %   {} tokens/s",
                way.name(),
                spread(|outcome| outcome.short_p99 * 1e3).show(0),
                spread(|outcome| outcome.long_p99 * 1e3).show(0),
                spread(|outcome| outcome.waste * 100.0).show(1),
                spread(|outcome| outcome.tokens_a_second).show(0),
            ));
        }
    }
    Ok(())
}

fn load(folder: &std::path::Path) -> anyhow::Result<LocalExecutor> {
    LocalExecutor::load(&Files::folder(folder), &ModelConfig::default()).map_err(anyhow::Error::msg)
}

/// Tokens a second of texts as they come, some at a time.
fn capacity(model: &Model, mut executor: LocalExecutor) -> anyhow::Result<f64> {
    let texts = texts(0, 1000.0, Duration::from_secs(8));
    let (mut tokens, began) = (0, Instant::now());
    for part in texts.chunks(8) {
        let rows = part.iter().map(|(_, length)| text(model, *length)).collect::<anyhow::Result<Vec<Rows>>>()?;
        tokens += rows.iter().map(Rows::size).sum::<usize>();
        model.cores.install(|| executor.run(&rows)).map_err(anyhow::Error::msg)?;
    }
    Ok(f64::from(u32::try_from(tokens)?) / began.elapsed().as_secs_f64())
}

/// Poisson arrivals of so many tokens a second.
fn texts(seed: u64, rate: f64, time: Duration) -> Vec<Text> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mean = (17.5 * 19.0 + 384.0) / 20.0;
    let (mut texts, mut at) = (Vec::new(), 0.0);
    while at < time.as_secs_f64() {
        #[expect(clippy::cast_precision_loss, reason = "a million steps are enough")]
        let uniform = (random(1_000_000) as f64 + 1.0) / 1_000_001.0;
        at -= uniform.ln() * mean / rate;
        let tokens = if random(LONG_ONE_IN) == 0 { 256 + random(257) } else { 3 + random(30) };
        texts.push((Duration::from_secs_f64(at), usize::try_from(tokens).unwrap_or(usize::MAX)));
    }
    texts
}

async fn run(model: &Model, way: Way, texts: &[Text]) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let (answered, counts) = match way {
        Way::Ours => ours(model, texts).await?,
        Way::InOrder => in_order(model, texts).await?,
    };
    let p99 = |is_long: bool| {
        let mut group: Vec<f64> = answered
            .iter()
            .filter(|(tokens, _)| (*tokens > SHORT_MAX) == is_long)
            .map(|(_, took)| took.as_secs_f64())
            .collect();
        group.sort_by(f64::total_cmp);
        group.get(group.len() * 99 / 100).copied().unwrap_or_default()
    };
    let real: usize = texts.iter().map(|(_, tokens)| tokens).sum();
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    let (real, computed) = (real as f64, counts as f64);
    let tokens_a_second = real / began.elapsed().as_secs_f64();
    Ok(Outcome { short_p99: p99(false), long_p99: p99(true), waste: 1.0 - real / computed, tokens_a_second })
}

type Answered = (Vec<(usize, Duration)>, u64);

/// Counts the tokens that were computed.
#[derive(Default)]
struct Tokens(AtomicU64);

impl Listener for Tokens {
    fn ran(&self, batch: Ran, _now: Instant) {
        self.0.fetch_add((batch.size + batch.padding) as u64, Ordering::Relaxed);
    }

    fn bisected(&self) {}

    fn panicked(&self) {}
}

async fn ours(model: &Model, texts: &[Text]) -> anyhow::Result<Answered> {
    let limits = Limits {
        unit: Unit::Tokens,
        batch_rows_max: ROWS_MAX,
        batch_size_max: TOKENS_MAX,
        preferred_sizes: Vec::new(),
        hold_max: Duration::from_millis(2),
        queue_size_max: 1 << 24,
        levels: 1,
        overtake_max: 16,
    };
    let queue = Queue::new(limits, Arc::new(Calls::default()));
    let mut executor = load(&model.folder)?;
    for (rows, length) in [(1, 8), (4, 16), (1, 64), (8, 32), (1, 512), (16, 64)] {
        let rows = model.prepare.made_up(rows, length).context("made-up rows")?;
        let (size, began) = (rows.size(), Instant::now());
        model.cores.install(|| executor.run(&[rows])).map_err(anyhow::Error::msg)?;
        queue.learn(size, began.elapsed(), Instant::now());
    }
    let tokens = Arc::new(Tokens::default());
    let device = Device::on_thread("lengths", Box::new(executor), model.cores.clone())?;
    let worker = Worker::new(Arc::clone(&queue), device, None, Arc::clone(&tokens) as Arc<dyn Listener>);
    let serving = tokio::spawn(Arc::clone(&worker).work());
    let (start, mut asked) = (Instant::now(), tokio::task::JoinSet::new());
    for (after, length) in texts.iter().copied() {
        let (worker, rows) = (Arc::clone(&worker), text(model, length)?);
        asked.spawn(async move {
            let arrived = start + after;
            sleep_until(arrived).await;
            let job = Job { rows, level: 0, client: 0, deadline: None, arrived, alone: false };
            worker.ask(job).await.map(|_| (length, arrived.elapsed()))
        });
    }
    let mut answered = Vec::with_capacity(texts.len());
    while let Some(answer) = asked.join_next().await {
        answered.push(answer?.map_err(anyhow::Error::msg)?);
    }
    queue.close();
    serving.await?;
    Ok((answered, tokens.0.load(Ordering::Relaxed)))
}

/// All that waits when the device is free, in order of arrival; and the tokens that its batches would have if they were padded.
async fn in_order(model: &Model, texts: &[Text]) -> anyhow::Result<Answered> {
    let mut device = Device::on_thread("lengths", Box::new(load(&model.folder)?), model.cores.clone())?;
    let (send, mut waiting) = mpsc::channel::<(Instant, usize)>(texts.len().max(1));
    let (start, texts) = (Instant::now(), texts.to_vec());
    let arriving = tokio::spawn(async move {
        for (after, length) in texts {
            sleep_until(start + after).await;
            if send.send((start + after, length)).await.is_err() {
                return;
            }
        }
    });
    let (mut answered, mut computed, mut next) = (Vec::new(), 0, None);
    while let Some(first) = next_of(&mut next, &mut waiting).await {
        let mut batch = vec![first];
        let mut tokens = first.1;
        while batch.len() < ROWS_MAX {
            let Ok(text) = waiting.try_recv() else { break };
            if tokens + text.1 > TOKENS_MAX {
                next = Some(text);
                break;
            }
            tokens += text.1;
            batch.push(text);
        }
        let longest = batch.iter().map(|(_, length)| *length).max().unwrap_or(0);
        computed += (longest * batch.len()) as u64;
        let rows = batch.iter().map(|(_, length)| text(model, *length)).collect::<anyhow::Result<Vec<Rows>>>()?;
        let (_, outcome) = device.run(rows).await;
        outcome.map_err(|fault| anyhow::Error::msg(fault.error))?;
        let now = Instant::now();
        answered.extend(batch.into_iter().map(|(arrived, length)| (length, now - arrived)));
    }
    arriving.await?;
    Ok((answered, computed))
}

/// The text that did not fit the batch before, or the next to come.
async fn next_of(
    left: &mut Option<(Instant, usize)>,
    waiting: &mut mpsc::Receiver<(Instant, usize)>,
) -> Option<(Instant, usize)> {
    match left.take() {
        Some(text) => Some(text),
        None => waiting.recv().await,
    }
}

fn text(model: &Model, length: usize) -> anyhow::Result<Rows> {
    model.prepare.made_up(1, length).context("made-up rows")
}
