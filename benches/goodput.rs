//! What is left of a server's answers under overload: a model of a fixed cost is offered 2 and 10 times what it can do by
//! clients that do not wait, and 20 times the callers by clients that do.
//!
//! `cargo bench --bench goodput [-- --rounds N] [--seconds S]`; docs/benchmarks.md says what it means. Server and client
//! are the `sconce` binary itself, `serve` and `bench`.

#[path = "support/figures.rs"]
mod figures;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use figures::{Spread, line};
use serde_json::Value;

const SCONCE: &str = env!("CARGO_BIN_EXE_sconce");
/// 8 rows in 20 ms: 400 rows a second.
const MODEL: &str = "batch_time = \"20ms\"\n[[tensor]]\ninput = \"x\"\noutput = \"y\"\ndtype = \"FP32\"\ndims = [16]\n";
const CAPACITY: u32 = 400;
/// One batch that runs and one that waits.
const CALLERS: u32 = 16;
const DEADLINE: &str = "200ms";
const DEADLINE_SECONDS: f64 = 0.2;
/// Of the peak's goodput.
const SHARE_MIN: f64 = 0.95;
/// Resident memory may grow by so much from the first overload to the last.
const GROWTH_MAX_MIB: f64 = 16.0;
/// Latency after the overload, against that before it.
const BACK_MAX: f64 = 1.2;

/// One load, and what it is measured for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Peak,
    Calm,
    Double,
    Tenfold,
    Heeding,
    Heedless,
    CalmAgain,
}

impl Load {
    const ALL: [Self; 7] =
        [Self::Peak, Self::Calm, Self::Double, Self::Tenfold, Self::Heeding, Self::Heedless, Self::CalmAgain];

    fn name(self) -> &'static str {
        match self {
            Self::Peak => "peak: 16 callers",
            Self::Calm => "half the capacity",
            Self::Double => "2 x the capacity",
            Self::Tenfold => "10 x the capacity",
            Self::Heeding => "20 x the callers, pausing",
            Self::Heedless => "20 x the callers, at once",
            Self::CalmAgain => "half again, 10 s later",
        }
    }

    fn arguments(self) -> Vec<String> {
        let rate = |times: f64| vec!["--rate".to_owned(), (f64::from(CAPACITY) * times).to_string()];
        let callers = |times: u32| vec!["--concurrency".to_owned(), (CALLERS * times).to_string()];
        match self {
            Self::Peak => callers(1),
            Self::Calm | Self::CalmAgain => rate(0.5),
            Self::Double => rate(2.0),
            Self::Tenfold => rate(10.0),
            Self::Heeding => [callers(20), vec!["--heed-pushback".to_owned()]].concat(),
            Self::Heedless => callers(20),
        }
    }

    fn is_overload(self) -> bool {
        matches!(self, Self::Double | Self::Tenfold | Self::Heeding | Self::Heedless)
    }
}

/// What one load gave.
#[derive(Clone, Copy, Default)]
struct Figures {
    /// Calls a second that were sent.
    sent: f64,
    goodput: f64,
    p50: f64,
    p99: f64,
    /// Median time of a refusal.
    refusal: f64,
    resident_mib: f64,
}

fn main() -> anyhow::Result<ExitCode> {
    let (mut rounds, mut seconds) = (3, 5);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse().ok());
        let value = value.with_context(|| format!("{name}: expected a whole number"))?;
        match name.as_str() {
            "--rounds" => rounds = value,
            "--seconds" => seconds = value,
            _ => bail!("unknown argument {name}"),
        }
    }
    let server = Server::start()?;
    let mut measured = Vec::new();
    for _ in 0..rounds {
        measured.push(round(&server, seconds)?);
    }
    Ok(if report(&measured, seconds) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Round = [Figures; Load::ALL.len()];

fn round(server: &Server, seconds: usize) -> anyhow::Result<Round> {
    let mut round = Round::default();
    for (figures, load) in round.iter_mut().zip(Load::ALL) {
        // A load's own warm-up is the pause after the one before; the last waits longer.
        let warm_up = if load == Load::CalmAgain { 10 } else { 2 };
        *figures = server.measure(load, warm_up, seconds)?;
    }
    Ok(round)
}

/// A server of the model, ended by its own pid when dropped.
struct Server {
    process: Child,
    address: String,
    folder: PathBuf,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("sconce-goodput-{}", std::process::id()));
        let version = folder.join("fixed/1");
        std::fs::create_dir_all(&version)?;
        std::fs::write(version.join("identity.toml"), MODEL)?;
        std::fs::write(folder.join("fixed/model.toml"), "max_batch_size = 8\n")?;
        let mut command = Command::new(SCONCE);
        command.args(["serve", "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--shutdown-delay", "0s"]);
        command.arg("--models").arg(&folder).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().context("start the server")?;
        let mut ready = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut ready)?;
        let address = ready.split("grpc=").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        let address = address.with_context(|| format!("the server did not become ready: {ready}"))?;
        Ok(Self { process, address, folder })
    }

    fn measure(&self, load: Load, warm_up: usize, seconds: usize) -> anyhow::Result<Figures> {
        let mut command = Command::new(SCONCE);
        command.args(["bench", &self.address, "--model", "fixed", "--json", "--deadline", DEADLINE]);
        command.args(["--connections", "4", "--warmup", &format!("{warm_up}s"), "--duration", &format!("{seconds}s")]);
        let output = command.args(load.arguments()).stderr(Stdio::inherit()).output().context("run the client")?;
        let told: Value = serde_json::from_slice(&output.stdout).context("read the client's figures")?;
        let step = told.pointer("/steps/0").context("the client measured nothing")?;
        if load.is_overload() && step.pointer("/offered/kept") == Some(&Value::Bool(false)) {
            bail!("{}: the client could not offer the load: {}", load.name(), step.pointer("/offered").unwrap_or(step));
        }
        let number = |path: &str| step.pointer(path).and_then(Value::as_f64).unwrap_or_default();
        Ok(Figures {
            sent: number("/calls") / number("/measured_seconds"),
            goodput: number("/goodput_per_second"),
            p50: number("/latency_seconds/p50"),
            p99: number("/latency_seconds/p99"),
            refusal: number("/failed_latency_seconds/p50"),
            resident_mib: resident_mib(self.process.id())?,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.process.kill().and_then(|()| self.process.wait());
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

fn resident_mib(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"))?;
    let text = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no resident memory")?;
    let kibibytes: f64 = text.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}

/// Prints the table and whether each aim is met; true if all are.
fn report(rounds: &[Round], seconds: usize) -> bool {
    line(&format!(
        "{} rounds of {seconds} s; median (least..most) of the rounds, shares within a round\n",
        rounds.len()
    ));
    line(
        "load                              sent/s             goodput/s          of the peak       p50 ms       p99 ms  refusal ms   MiB",
    );
    let spread = |at: usize, of: fn(&Figures, &Round) -> f64| {
        Spread::of(rounds.iter().filter_map(|round| round.get(at).map(|figures| of(figures, round))))
    };
    for (at, load) in Load::ALL.into_iter().enumerate() {
        let milliseconds = |of: fn(&Figures, &Round) -> f64| spread(at, of).median * 1000.0;
        line(&format!(
            "{:<26} {:>14} {:>21} {:>20} {:>12.1} {:>12.1} {:>11.2} {:>5.0}",
            load.name(),
            format!("{:.0}", spread(at, |figures, _| figures.sent).median),
            spread(at, |figures, _| figures.goodput).show(0),
            spread(at, share).show(2),
            milliseconds(|figures, _| figures.p50),
            milliseconds(|figures, _| figures.p99),
            milliseconds(|figures, _| figures.refusal),
            spread(at, |figures, _| figures.resident_mib).median,
        ));
    }
    line("");
    aims(rounds)
}

fn share(figures: &Figures, round: &Round) -> f64 {
    figures.goodput / round[0].goodput
}

fn aims(rounds: &[Round]) -> bool {
    let mut all_met = true;
    let mut aim = |text: String, is_met: bool| {
        line(&format!("{text}, {}", if is_met { "met" } else { "MISSED" }));
        all_met &= is_met;
    };
    for (at, load) in Load::ALL.into_iter().enumerate().filter(|(_, load)| load.is_overload()) {
        let shares = Spread::of(rounds.iter().map(|round| share(&round[at], round)));
        let text = format!("{}: at least {SHARE_MIN} of the peak's goodput: {}", load.name(), shares.show(2));
        aim(text, shares.median >= SHARE_MIN);
        let p99 = Spread::of(rounds.iter().map(|round| round[at].p99));
        aim(format!("{}: p99 within the deadline: {} s", load.name(), p99.show(3)), p99.median <= DEADLINE_SECONDS);
    }
    let overloads = |round: &Round| {
        Load::ALL
            .iter()
            .zip(round)
            .filter(|(load, _)| load.is_overload())
            .map(|(_, figures)| figures.resident_mib)
            .collect::<Vec<f64>>()
    };
    let resident: Vec<f64> = rounds.iter().flat_map(overloads).collect();
    let growth = resident.last().unwrap_or(&0.0) - resident.first().unwrap_or(&0.0);
    aim(format!("resident memory grew by at most {GROWTH_MAX_MIB} MiB: {growth:.1}"), growth <= GROWTH_MAX_MIB);
    let back = Spread::of(rounds.iter().map(|round| round[6].p99 / round[1].p99));
    aim(format!("p99 back within {BACK_MAX} times what it was: {}", back.show(2)), back.median <= BACK_MAX);
    all_met
}
