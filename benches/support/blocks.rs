//! What an allocator makes of candle's large blocks: the time of a text encoder's batches, and the memory they leave behind.

use std::path::Path;

use anyhow::Context as _;
use sconce::config::ModelConfig;
use sconce::device::{Cores, Executor as _, LocalExecutor};
use sconce::model::Files;
use tokio::time::Instant;

use super::figures::{Spread, line};
use super::folders::{self, Encoder};

/// As large as all-MiniLM-L6-v2, but for its vocabulary.
const SIZES: Encoder = Encoder { layers: 6, hidden: 384, heads: 12, words: 2000, positions: 512 };
const TOKENS: usize = 64;
const ROUNDS: usize = 9;

/// Prints milliseconds a row of 64 tokens, in batches of 1, 8 and 32.
pub(crate) fn measure(allocator: &str) -> anyhow::Result<()> {
    sconce::app::keep_pools_from_spinning();
    let folder = std::env::temp_dir().join(format!("sconce-allocator-{}", std::process::id()));
    folders::write_bert(&folder, SIZES, 1)?;
    let measured = run(&folder, allocator);
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn run(folder: &Path, allocator: &str) -> anyhow::Result<()> {
    let files = Files::folder(folder);
    let mut executor = LocalExecutor::load(&files, &ModelConfig::default()).map_err(anyhow::Error::msg)?;
    let prepare = executor.loaded().about.prepare.clone().context("a text model prepares its rows")?;
    let cores = Cores::new("compute", std::thread::available_parallelism()?.get())?;
    let mut told = Vec::new();
    for rows in [1, 8, 32] {
        let mut times = Vec::new();
        for round in 0..=ROUNDS {
            let (part, began) = (prepare.made_up(rows, TOKENS).context("made-up rows")?, Instant::now());
            cores.install(|| executor.run(&[part])).map_err(anyhow::Error::msg)?;
            #[expect(clippy::cast_precision_loss, reason = "a few rows")]
            let each = began.elapsed().as_secs_f64() * 1e3 / rows as f64;
            // The first finds nothing ready.
            times.extend((round > 0).then_some(each));
        }
        told.push(format!("{rows} rows: {} ms", Spread::of(times).show(2)));
    }
    let resident = sconce::monitor::resident_bytes().unwrap_or_default() >> 20;
    line(&format!("{allocator:<28} a row of {TOKENS} tokens in {}   {resident} MiB resident", told.join("   ")));
    Ok(())
}
