//! What Sconce costs beside the transport alone: a bare tonic echo, Sconce with the identity model, and Sconce with the
//! breast-cancer model, in one run, by one client, interleaved.
//!
//! `cargo bench --bench serving [-- --rounds N] [--seconds S] [--connections N]`; docs/benchmarks.md says what it means.

mod support;

use std::process::ExitCode;

use anyhow::Context as _;
use support::child::Child;
use support::client::{Load, Until};
use support::figures::{Spread, line};
use support::role::{Kind, Role};
use support::server::serve;
use tokio::time::Duration;

/// The allocator that the server's binary has; the echo gets it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CALLERS: [usize; 4] = [1, 16, 64, 256];
const WARM_UP_CALLS: usize = 20_000;

fn main() -> anyhow::Result<ExitCode> {
    if let Some(role) = Role::read(std::env::args())? {
        return serve(role).map(|()| ExitCode::SUCCESS);
    }
    let plan = Plan::read(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Runtime::new().context("start the client's runtime")?;
    let all_met = runtime.block_on(measure(&plan))?;
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How much is measured.
struct Plan {
    rounds: usize,
    time: Duration,
    connections: usize,
}

impl Plan {
    fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut plan = Self { rounds: 7, time: Duration::from_millis(1500), connections: 1 };
        while let Some(name) = arguments.next() {
            // cargo adds this one.
            if name == "--bench" {
                continue;
            }
            let value = arguments.next().with_context(|| format!("{name} has no value"))?;
            let whole = || value.parse().with_context(|| format!("{name}: expected a whole number, got {value}"));
            match name.as_str() {
                "--rounds" => plan.rounds = whole()?,
                "--connections" => plan.connections = whole()?,
                "--seconds" => plan.time = Duration::try_from_secs_f64(value.parse()?)?,
                _ => anyhow::bail!("unknown argument {name}"),
            }
        }
        Ok(plan)
    }
}

/// One measurement.
#[derive(Clone, Copy, Default)]
struct Figures {
    rate: f64,
    p50: f64,
    p99: f64,
    processor: f64,
}

/// What the rounds gave: by callers, then by server, in the order of [`Kind::ALL`].
type Rounds = Vec<[Figures; Kind::ALL.len()]>;

async fn measure(plan: &Plan) -> anyhow::Result<bool> {
    let servers: Vec<Child> =
        Kind::ALL.into_iter().map(|kind| Child::start(Role::plain(kind), &[])).collect::<Result<_, _>>()?;
    let mut loads = Vec::new();
    for (kind, server) in Kind::ALL.into_iter().zip(&servers) {
        let load = Load::new(server.address, kind, plan.connections).await?;
        load.run(64, Until::Calls(WARM_UP_CALLS)).await?;
        loads.push(load);
    }
    let mut rounds: Vec<Rounds> = CALLERS.iter().map(|_| Vec::new()).collect();
    for round in 0..plan.rounds {
        for (callers, rounds) in CALLERS.iter().zip(&mut rounds) {
            let mut figures = [Figures::default(); Kind::ALL.len()];
            // Each round begins with another server, so that none always follows the same one.
            for turn in 0..Kind::ALL.len() {
                let at = (round + turn) % Kind::ALL.len();
                figures[at] = one(&loads[at], &servers[at], *callers, plan.time).await?;
            }
            rounds.push(figures);
        }
    }
    servers.into_iter().try_for_each(Child::end)?;
    line(&format!(
        "{} rounds of {:.1} s, interleaved; {} connection(s); median (least..most) of the rounds, shares within a round",
        plan.rounds,
        plan.time.as_secs_f64(),
        plan.connections,
    ));
    for (callers, rounds) in CALLERS.iter().zip(&rounds) {
        print_table(*callers, rounds);
    }
    Ok(print_aims(&rounds))
}

async fn one(load: &Load, server: &Child, callers: usize, time: Duration) -> anyhow::Result<Figures> {
    let before = server.processor_time();
    let seen = load.run(callers, Until::Time(time)).await?;
    let processor = server.processor_time().saturating_sub(before).as_secs_f64() * 1e6 / seen.calls();
    Ok(Figures { rate: seen.rate(), p50: seen.percentile_us(50), p99: seen.percentile_us(99), processor })
}

/// One figure of one server over the rounds.
fn spread(rounds: &Rounds, kind: usize, figure: impl Fn(&Figures) -> f64) -> Spread {
    Spread::of(rounds.iter().map(|round| figure(&round[kind])))
}

/// One server's figure over the echo's in the same round.
fn share(rounds: &Rounds, kind: usize, figure: impl Fn(&Figures) -> f64) -> Spread {
    Spread::of(rounds.iter().map(|round| figure(&round[kind]) / figure(&round[0])))
}

fn print_table(callers: usize, rounds: &Rounds) {
    line("");
    line(&format!(
        "{:<14} {:>25} {:>20} {:>20} {:>20} {:>18}",
        format!("{callers} calls at once"),
        "requests/s",
        "of the echo's",
        "p50 us",
        "p99 us",
        "server CPU us"
    ));
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        line(&format!(
            "{:<14} {:>25} {:>20} {:>20} {:>20} {:>18}",
            kind.name(),
            spread(rounds, at, |figures| figures.rate).show(0),
            share(rounds, at, |figures| figures.rate).show(2),
            spread(rounds, at, |figures| figures.p50).show(0),
            spread(rounds, at, |figures| figures.p99).show(0),
            spread(rounds, at, |figures| figures.processor).show(1),
        ));
    }
}

/// Says of each aim whether it is met; true if all are.
fn print_aims(rounds: &[Rounds]) -> bool {
    let [alone, _, busy, ..] = rounds else { return false };
    let (identity, cancer) = (1, 2);
    let aims = [
        ("identity at 64: at least 0.75 of the echo's throughput", share(busy, identity, |f| f.rate), 0.75, true),
        ("breast_cancer at 64: at least 0.65 of the echo's throughput", share(busy, cancer, |f| f.rate), 0.65, true),
        ("identity at 1: p50 at most 1.6 times the echo's", share(alone, identity, |f| f.p50), 1.6, false),
        ("breast_cancer at 1: p50 at most 1.6 times the echo's", share(alone, cancer, |f| f.p50), 1.6, false),
    ];
    line("");
    let mut all = true;
    for (aim, got, bound, at_least) in aims {
        let met = if at_least { got.median >= bound } else { got.median <= bound };
        line(&format!("{aim}: {}, {}", got.show(2), if met { "met" } else { "MISSED" }));
        all &= met;
    }
    all
}
