//! What recording costs: instructions of the server for a request with recording on against off, counted by callgrind,
//! and the throughput with either.
//!
//! `cargo bench --bench recording`; needs `valgrind`. docs/benchmarks.md says what it means.

mod support;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::Context as _;
use support::child::{Child, this_program};
use support::client::{Load, Until};
use support::figures::{Spread, line};
use support::role::{Kind, Role};
use support::server::{benchmark_mark, runtime, serve, start};
use tokio::time::Duration;

/// The allocator that the server's binary has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Share of the server's instructions that recording may take.
const AIM: f64 = 0.01;
const CALLERS: [usize; 2] = [1, 64];
const WARM_UP_CALLS: usize = 2_000;
const COUNTED_CALLS: u16 = 2_000;
const WINDOWS: usize = 5;
const ROUNDS: usize = 11;
const ROUND: Duration = Duration::from_millis(1500);

fn main() -> anyhow::Result<ExitCode> {
    if let Some(role) = Role::read(std::env::args())? {
        let done = if role.alone { call_itself(role) } else { serve(role) };
        return done.map(|()| ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Runtime::new().context("start the client's runtime")?;
    runtime.block_on(async {
        let cheap = count_instructions().await?;
        compare_throughput().await?;
        Ok(if cheap { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Prints the instructions of a request, and what recording adds to them. True if that is less than the aim.
///
/// Two processes tell what the server takes, but not within a percent: how many frames it finds at each look at its
/// socket is a matter of chance. What recording adds is told by processes that serve and call on one thread, where
/// chance has no part, by the difference of two of them, in which the client's instructions cancel.
async fn count_instructions() -> anyhow::Result<bool> {
    line(&format!(
        "instructions for a request (callgrind), {WINDOWS} times {COUNTED_CALLS} requests: median (least..most)"
    ));
    for (callers, seen) in CALLERS.iter().zip(called(Kind::Echo, None).await?) {
        line(&format!("echo at {callers}: {} in the server", seen.show(0)));
    }
    let mut met = true;
    for model in [Kind::Identity, Kind::BreastCancer] {
        let server = called(model, Some(true)).await?;
        let (on, off) = (calling_itself(model, true)?, calling_itself(model, false)?);
        for (((callers, server), on), off) in CALLERS.iter().zip(server).zip(on).zip(off) {
            let cost = on.median - off.median;
            let share = cost / server.median;
            line(&format!(
                "{} at {callers}: {} in the server; with the client in its thread {} recording, {} not: \
                 recording takes {cost:.0}, {:.2} % of the server's, {}",
                model.name(),
                server.show(0),
                on.show(0),
                off.show(0),
                share * 100.0,
                if share < AIM { "met" } else { "MISSED" },
            ));
            met &= share < AIM;
        }
    }
    Ok(met)
}

/// Instructions of a server for a request that comes from this process, for each number of callers.
async fn called(kind: Kind, recording: Option<bool>) -> anyhow::Result<Vec<Spread>> {
    let role = Role { recording, one_thread: true, ..Role::plain(kind) };
    let dumps = Dumps::new(role)?;
    let mut server = Child::start(role, &dumps.valgrind()).context("is valgrind installed?")?;
    let load = Load::new(server.address, kind, 1).await?;
    for callers in CALLERS {
        load.run(callers, Until::Calls(WARM_UP_CALLS)).await?;
        server.mark()?;
        for _ in 0..WINDOWS {
            load.run(callers, Until::Calls(usize::from(COUNTED_CALLS))).await?;
            server.mark()?;
        }
    }
    server.end()?;
    dumps.spreads()
}

/// Instructions of a process that serves and calls, for a request, for each number of callers.
fn calling_itself(kind: Kind, recording: bool) -> anyhow::Result<Vec<Spread>> {
    let role = Role { recording: Some(recording), alone: true, one_thread: true, ..Role::plain(kind) };
    let dumps = Dumps::new(role)?;
    let mut command = this_program(&dumps.valgrind())?;
    let status = command.args(role.arguments()).stdin(Stdio::null()).status()?;
    anyhow::ensure!(status.success(), "{command:?} failed: {status}");
    dumps.spreads()
}

/// The inside of such a process.
fn call_itself(role: Role) -> anyhow::Result<()> {
    runtime(role)?.block_on(async {
        let (address, _server) = start(role).await?;
        let load = Load::new(address, role.kind, 1).await?;
        for callers in CALLERS {
            load.run(callers, Until::Calls(WARM_UP_CALLS)).await?;
            benchmark_mark();
            for _ in 0..WINDOWS {
                load.run(callers, Until::Calls(usize::from(COUNTED_CALLS))).await?;
                benchmark_mark();
            }
        }
        Ok(())
    })
}

/// What callgrind writes down at each mark: a file each, numbered from 1.
struct Dumps {
    base: PathBuf,
}

impl Dumps {
    fn new(role: Role) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind{}", role.arguments().concat()));
        let _none_before = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self { base: folder.join("out") })
    }

    /// The words that have a program profiled. What was counted is written down at each mark, and counting begins anew.
    fn valgrind(&self) -> [String; 5] {
        [
            "valgrind".to_owned(),
            "--quiet".to_owned(),
            "--tool=callgrind".to_owned(),
            "--dump-before=*benchmark_mark*".to_owned(),
            format!("--callgrind-out-file={}", self.base.display()),
        ]
    }

    /// Instructions for a request in the windows of each number of callers; what lay before their first is left out.
    fn spreads(&self) -> anyhow::Result<Vec<Spread>> {
        let each = |at: usize| {
            let first = at * (WINDOWS + 1) + 2;
            let windows: Result<Vec<f64>, _> = (first..first + WINDOWS).map(|dump| self.total(dump)).collect();
            windows.map(|windows| Spread::of(windows.iter().map(|total| total / f64::from(COUNTED_CALLS))))
        };
        (0..CALLERS.len()).map(each).collect()
    }

    fn total(&self, dump: usize) -> anyhow::Result<f64> {
        let file = self.base.with_extension(dump.to_string());
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("summary: ")).context("callgrind gave no total")?;
        Ok(total.trim().parse()?)
    }
}

/// Prints throughput and processor time with recording on and off, outside valgrind.
async fn compare_throughput() -> anyhow::Result<()> {
    let role = |recording| Role { recording: Some(recording), ..Role::plain(Kind::BreastCancer) };
    let servers = [Child::start(role(true), &[])?, Child::start(role(false), &[])?];
    let mut loads = Vec::new();
    for server in &servers {
        let load = Load::new(server.address, Kind::BreastCancer, 1).await?;
        load.run(64, Until::Time(ROUND)).await?;
        loads.push(load);
    }
    let mut rounds = [const { Vec::new() }; 2];
    for round in 0..ROUNDS {
        for turn in 0..2 {
            let at = (round + turn) % 2;
            let before = servers[at].processor_time();
            let seen = loads[at].run(64, Until::Time(ROUND)).await?;
            let processor = servers[at].processor_time().saturating_sub(before).as_secs_f64() * 1e6 / seen.calls();
            rounds[at].push((seen.rate(), processor, seen.percentile_us(99)));
        }
    }
    servers.into_iter().try_for_each(Child::end)?;
    let [on, off] = &rounds;
    line("");
    line(&format!("breast_cancer at 64, {ROUNDS} rounds of {:.1} s: median (least..most)", ROUND.as_secs_f64()));
    for (name, rounds) in [("recording", on), ("not recording", off)] {
        line(&format!(
            "{name}: {} requests/s, server CPU {} us, p99 {} us",
            Spread::of(rounds.iter().map(|round| round.0)).show(0),
            Spread::of(rounds.iter().map(|round| round.1)).show(2),
            Spread::of(rounds.iter().map(|round| round.2)).show(0),
        ));
    }
    let rate = Spread::of(on.iter().zip(off).map(|(on, off)| on.0 / off.0));
    let processor = Spread::of(on.iter().zip(off).map(|(on, off)| on.1 / off.1));
    line(&format!("on / off within a round: requests/s {}, server CPU {}", rate.show(3), processor.show(3)));
    Ok(())
}
