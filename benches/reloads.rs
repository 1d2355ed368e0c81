//! What a hundred reloads of a model cost those who call it: the same open load with and without, in turns.
//!
//! `cargo bench --bench reloads [-- --reloads N] [--rounds N]`; docs/benchmarks.md says what it means. Every reload replaces
//! the weights' file by one of the same contents, which the server reads, verifies and warms up beside the version that
//! serves.

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/figures.rs"]
mod figures;
#[path = "support/folders.rs"]
mod folders;
#[path = "support/sconce.rs"]
#[expect(dead_code, reason = "other benchmarks read more")]
mod sconce;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use figures::{Spread, line};
use folders::Encoder;
use sconce::{Server, number};
use serde_json::Value;

/// A model, and how many requests a second it is offered: about a third of what two cores can do.
const LOADS: [(&str, &str); 2] = [("breast_cancer", "4000"), ("encoder", "150")];
const SIZES: Encoder = Encoder { layers: 2, hidden: 128, heads: 4, words: 1000, positions: 128 };
/// Between two reloads; the server waits this long for a file to settle, and then loads.
const SETTLE: &str = "100ms";
const INTERVAL: Duration = Duration::from_millis(400);
/// Aim: p99 while reloading, against without.
const P99_MAX: f64 = 1.1;

fn main() -> anyhow::Result<ExitCode> {
    let [reloads, rounds] = arguments::numbers(["--reloads", "--rounds"], [100, 5])?;
    let arguments = ["--repository-settle-time", SETTLE, "--repository-poll-interval", "1s"];
    let server = Server::start("reloads", &arguments, fill)?;
    let mut all_met = true;
    for (model, rate) in LOADS {
        all_met &= measure(&server, model, rate, reloads.div_ceil(rounds), rounds)?;
    }
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fill(folder: &Path) -> anyhow::Result<()> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/breast_cancer/1");
    let version = folder.join("breast_cancer/1");
    std::fs::create_dir_all(&version)?;
    for file in ["network.toml", "model.safetensors"] {
        std::fs::copy(shipped.join(file), version.join(file))?;
    }
    folders::write_bert(&folder.join("encoder/1"), SIZES, 1)
}

/// Rounds without and with reloads, in turns; true if the aims are met.
fn measure(server: &Server, model: &str, rate: &str, reloads: u64, rounds: u64) -> anyhow::Result<bool> {
    let time = INTERVAL * u32::try_from(reloads)?;
    let labels = [format!("model=\"{model}\""), "result=\"success\"".to_owned()];
    let labels = labels.each_ref().map(String::as_str);
    let loads = || server.metric("sconce_model_loads_total", &labels);
    let before = loads()?;
    let (mut steady, mut reloading, mut failed) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..rounds {
        let calm = bench(server, model, rate, time)?;
        let busy = while_reloading(server, model, || bench(server, model, rate, time))?;
        failed += [&calm, &busy].map(|step| number(step, "/calls") - number(step, "/ok")).iter().sum::<f64>();
        steady.push(number(&calm, "/latency_seconds/p99") * 1e3);
        reloading.push(number(&busy, "/latency_seconds/p99") * 1e3);
    }
    let ratio = Spread::of(reloading.iter().zip(&steady).map(|(reloading, steady)| reloading / steady));
    let (steady, reloading) = (Spread::of(steady), Spread::of(reloading));
    line(&format!(
        "{model}, {rate} requests/s: {:.0} reloads in {rounds} rounds of {:.0} s",
        loads()? - before,
        time.as_secs_f64()
    ));
    line(&format!("  p99 {} ms, while reloading {} ms, ratio {}", steady.show(2), reloading.show(2), ratio.show(2)));
    let aims =
        [(ratio.median <= P99_MAX, "p99 at most 1.1 times the steady state's"), (failed == 0.0, "no request failed")];
    for (met, aim) in aims {
        line(&format!("  {aim}: {}", if met { "met" } else { "MISSED" }));
    }
    Ok(aims.iter().all(|(met, _)| *met))
}

fn bench(server: &Server, model: &str, rate: &str, time: Duration) -> anyhow::Result<Value> {
    let time = format!("{}ms", time.as_millis());
    server.bench(model, &["--rate", rate, "--warmup", "1s", "--duration", &time, "--connections", "2"])
}

/// Replaces the model's weights again and again while `work` lasts.
fn while_reloading<T: Send>(
    server: &Server,
    model: &str,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let version = server.folder().join(model).join("1");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reloading = scope.spawn(|| -> anyhow::Result<()> {
            while !ended.load(Ordering::Relaxed) {
                let (new, old) = (version.join("model.safetensors.part"), version.join("model.safetensors"));
                std::fs::copy(&old, &new)?;
                std::fs::rename(&new, &old)?;
                #[expect(clippy::disallowed_methods, reason = "a benchmark's own pace")]
                std::thread::sleep(INTERVAL);
            }
            Ok(())
        });
        let done = work();
        ended.store(true, Ordering::Relaxed);
        reloading.join().ok().context("the reloading thread panicked")??;
        done
    })
}
