//! What is left of a server's answers under overload: a model of a fixed cost is offered 2 and 10 times what it can do by
//! clients that do not wait, and 20 times the callers by clients that do.
//!
//! `cargo bench --bench goodput [-- --rounds N] [--seconds S]`; docs/benchmarks.md says what it means. Server and client
//! are the `sconce` binary itself, `serve` and `bench`.

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/figures.rs"]
mod figures;
#[path = "support/sconce.rs"]
#[expect(dead_code, reason = "other benchmarks read more")]
mod sconce;

use std::process::ExitCode;

use anyhow::bail;
use figures::{Spread, line};
use sconce::{Server, number};
use serde_json::Value;

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
    let [rounds, seconds] = arguments::numbers(["--rounds", "--seconds"], [3, 5])?;
    let seconds = usize::try_from(seconds)?;
    let server = serve()?;
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
        *figures = measure(server, load, warm_up, seconds)?;
    }
    Ok(round)
}

fn serve() -> anyhow::Result<Server> {
    Server::start("goodput", &[], |folder| {
        let version = folder.join("fixed/1");
        std::fs::create_dir_all(&version)?;
        std::fs::write(version.join("identity.toml"), MODEL)?;
        Ok(std::fs::write(folder.join("fixed/model.toml"), "max_batch_size = 8\n")?)
    })
}

fn measure(server: &Server, load: Load, warm_up: usize, seconds: usize) -> anyhow::Result<Figures> {
    let (warm_up, seconds, own) = (format!("{warm_up}s"), format!("{seconds}s"), load.arguments());
    let mut arguments =
        vec!["--deadline", DEADLINE, "--connections", "4", "--warmup", &warm_up, "--duration", &seconds];
    arguments.extend(own.iter().map(String::as_str));
    let step = server.bench("fixed", &arguments)?;
    if load.is_overload() && step.pointer("/offered/kept") == Some(&Value::Bool(false)) {
        bail!("{}: the client could not offer the load: {}", load.name(), step.pointer("/offered").unwrap_or(&step));
    }
    Ok(Figures {
        sent: number(&step, "/calls") / number(&step, "/measured_seconds"),
        goodput: number(&step, "/goodput_per_second"),
        p50: number(&step, "/latency_seconds/p50"),
        p99: number(&step, "/latency_seconds/p99"),
        refusal: number(&step, "/failed_latency_seconds/p50"),
        resident_mib: server.resident_mib()?,
    })
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
