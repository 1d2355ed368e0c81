//! Does memory grow? Several models, asked at once and reloaded in between, until so many requests are answered.
//!
//! `cargo bench --bench soak [-- --requests N]`; docs/benchmarks.md says what it means.

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/figures.rs"]
#[expect(dead_code, reason = "other benchmarks print spreads")]
mod figures;
#[path = "support/folders.rs"]
mod folders;
#[path = "support/sconce.rs"]
mod sconce;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use figures::line;
use folders::Encoder;
use sconce::{Server, number};

const SHIPPED: [&str; 3] = ["breast_cancer", "diabetes", "digits"];
/// A small one and one of some size, whose batches take large blocks of memory.
const ENCODERS: [(&str, Encoder); 2] = [
    ("small_encoder", Encoder { layers: 2, hidden: 64, heads: 4, words: 1000, positions: 128 }),
    ("encoder", Encoder { layers: 4, hidden: 256, heads: 8, words: 2000, positions: 512 }),
];
/// Parts in which the load comes; between them a model is reloaded and memory is read.
const SLICE: &str = "4s";
const SLICES_MIN: usize = 24;
/// Aim: growth in the second half.
const SLOPE_MAX_MIB: f64 = 2.0;

fn main() -> anyhow::Result<ExitCode> {
    let [requests] = arguments::numbers(["--requests"], [300_000])?;
    let server = Server::start("soak", &["--repository-settle-time", "100ms"], fill)?;
    let models: Vec<&str> = SHIPPED.into_iter().chain(ENCODERS.map(|(name, _)| name)).collect();
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let wanted = requests as f64;
    let (mut answered, mut points) = (0.0, Vec::new());
    while answered < wanted || points.len() < SLICES_MIN {
        answered += slice(&server, &models)?;
        reload(&server, models[points.len() % models.len()])?;
        let resident = server.resident_mib()?;
        line(&format!("{answered:>9.0} requests   {resident:>7.1} MiB resident"));
        points.push((answered, resident));
    }
    let half = points.len() / 2;
    let slope = slope(&points[half..]) * 1e5;
    let reloads = server.metric("sconce_model_loads_total", &["result=\"success\""])?;
    let failures = server.metric("sconce_model_loads_total", &["result=\"failure\""])?;
    line(&format!("{reloads:.0} loads, {failures:.0} failed; second half: {slope:.2} MiB for every 100,000 requests"));
    let met = slope <= SLOPE_MAX_MIB && failures == 0.0;
    line(&format!("no slope (at most {SLOPE_MAX_MIB} MiB for every 100,000): {}", if met { "met" } else { "MISSED" }));
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fill(folder: &Path) -> anyhow::Result<()> {
    for model in SHIPPED {
        let (from, to) =
            (Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(model).join("1"), folder.join(model).join("1"));
        std::fs::create_dir_all(&to)?;
        for file in ["network.toml", "model.safetensors"] {
            std::fs::copy(from.join(file), to.join(file))?;
        }
    }
    for (name, sizes) in ENCODERS {
        folders::write_bert(&folder.join(name).join("1"), sizes, 1)?;
    }
    Ok(())
}

/// All models at once for a while, in requests of different sizes; how many were answered.
fn slice(server: &Server, models: &[&str]) -> anyhow::Result<f64> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = models
            .iter()
            .zip(["1", "3", "8", "2", "5"].iter().cycle())
            .map(|(model, rows)| {
                let load = ["--concurrency", "4", "--warmup", "0s", "--duration", SLICE, "--rows", rows];
                scope.spawn(move || server.bench(model, &load))
            })
            .collect();
        let mut answered = 0.0;
        for asking in asking {
            answered += number(&asking.join().ok().context("a client's thread panicked")??, "/ok");
        }
        Ok(answered)
    })
}

/// Replaces a model's weights by the same, and gives the server a moment to notice; it reloads while the next part runs.
fn reload(server: &Server, model: &str) -> anyhow::Result<()> {
    let version = server.folder().join(model).join("1");
    let (new, old) = (version.join("model.safetensors.part"), version.join("model.safetensors"));
    std::fs::copy(&old, &new)?;
    std::fs::rename(&new, &old).context("replace the weights")
}

/// Least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "few")]
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let product: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let square: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    product / square
}
