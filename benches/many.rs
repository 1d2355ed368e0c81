//! A hundred models in one server: are the two that are busy hurt by the 98 that are idle? The same load on a server of the two
//! alone and on one of all, in turns.
//!
//! `cargo bench --bench many [-- --rounds N] [--seconds S]`; docs/benchmarks.md says what it means.

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

use anyhow::Context as _;
use figures::{Spread, line};
use folders::Encoder;
use sconce::{Server, number};

const IDLE: usize = 98;
const SIZES: Encoder = Encoder { layers: 2, hidden: 128, heads: 4, words: 1000, positions: 128 };
/// The busy ones, asked at once: requests a second, well below what two cores can do.
const BUSY: [(&str, &str); 2] = [("breast_cancer", "2000"), ("encoder", "100")];
/// Aim: p99 among many, against that of the two alone.
const P99_MAX: f64 = 1.1;

fn main() -> anyhow::Result<ExitCode> {
    let [rounds, seconds] = arguments::numbers(["--rounds", "--seconds"], [5, 10])?;
    let alone = Server::start("two", &[], |folder| fill(folder, 0))?;
    let among = Server::start("hundred", &[], |folder| fill(folder, IDLE))?;
    let time = format!("{seconds}s");
    let mut ratios = vec![Vec::new(); BUSY.len()];
    let mut p99 = vec![(Vec::new(), Vec::new()); BUSY.len()];
    for _ in 0..rounds {
        let (one, other) = (load(&alone, &time)?, load(&among, &time)?);
        for (at, (one, other)) in one.iter().zip(&other).enumerate() {
            ratios[at].push(other / one);
            p99[at].0.push(*one * 1e3);
            p99[at].1.push(*other * 1e3);
        }
    }
    let mut all_met = true;
    for ((name, rate), (ratios, (one, other))) in BUSY.iter().zip(ratios.into_iter().zip(p99)) {
        let (ratio, one, other) = (Spread::of(ratios), Spread::of(one), Spread::of(other));
        let met = ratio.median <= P99_MAX;
        line(&format!(
            "{name}, {rate} requests/s: p99 {} ms beside one other model, {} ms beside {IDLE} idle ones more, ratio {}",
            one.show(2),
            other.show(2),
            ratio.show(2)
        ));
        line(&format!("  at most {P99_MAX} times: {}", if met { "met" } else { "MISSED" }));
        all_met &= met;
    }
    line(&format!(
        "resident: {:.0} MiB of two models, {:.0} MiB of {}",
        alone.resident_mib()?,
        among.resident_mib()?,
        IDLE + 2
    ));
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fill(folder: &Path, idle: usize) -> anyhow::Result<()> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/breast_cancer/1");
    let version = folder.join("breast_cancer/1");
    std::fs::create_dir_all(&version)?;
    for file in ["network.toml", "model.safetensors"] {
        std::fs::copy(shipped.join(file), version.join(file))?;
    }
    folders::write_bert(&folder.join("encoder/1"), SIZES, 0)?;
    for seed in 1..=idle {
        folders::write_bert(&folder.join(format!("idle_{seed}/1")), SIZES, seed as u64)?;
    }
    Ok(())
}

/// Both busy models at once: the p99 of each, in seconds.
fn load(server: &Server, time: &str) -> anyhow::Result<Vec<f64>> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = BUSY
            .iter()
            .map(|(model, rate)| {
                let load = ["--rate", rate, "--warmup", "1s", "--duration", time, "--connections", "2"];
                scope.spawn(move || server.bench(model, &load))
            })
            .collect();
        let steps = asking.into_iter().map(|asking| asking.join().ok().context("a client's thread panicked")?);
        steps.map(|step| Ok(number(&step?, "/latency_seconds/p99"))).collect()
    })
}
