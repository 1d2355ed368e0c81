//! What recording costs: instructions of the server for a request with recording on and off, counted by callgrind, and
//! the throughput with either.
//!
//! `cargo bench --bench recording`; needs `valgrind`. docs/benchmarks.md says what it means.

mod support;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use support::{Child, Kind, Load, Role, Spread, Until, line, serve};
use tokio::time::Duration;

/// The allocator that the server's binary has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Share of the server's instructions that recording may take.
const AIM: f64 = 0.01;
const CALLERS: [usize; 2] = [1, 64];
const MODELS: [Kind; 2] = [Kind::BreastCancer, Kind::Identity];
const WARM_UP_CALLS: usize = 2_000;
const COUNTED_CALLS: usize = 4_000;
const WINDOWS: usize = 7;
const ROUNDS: usize = 11;
const ROUND: Duration = Duration::from_millis(1500);

fn main() -> anyhow::Result<ExitCode> {
    if let Some(role) = Role::read(std::env::args())? {
        return serve(role).map(|()| ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Runtime::new().context("start the client's runtime")?;
    runtime.block_on(async {
        let cheap = count_instructions().await?;
        compare_throughput().await?;
        Ok(if cheap { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Prints the instructions of a request with recording on and off. True if recording costs less than the aim.
async fn count_instructions() -> anyhow::Result<bool> {
    line(&format!(
        "instructions of the server for a request (callgrind), {WINDOWS} times {COUNTED_CALLS} requests: \
         median (least..most)"
    ));
    let mut met = true;
    for model in MODELS {
        let (on, off) = (instructions(model, true).await?, instructions(model, false).await?);
        for ((callers, on), off) in CALLERS.iter().zip(on).zip(off) {
            let cost = on.median - off.median;
            let share = cost / on.median;
            line(&format!(
                "{} at {callers}: on {}, off {}: recording takes {cost:.0}, {:.2} % of all, {}",
                model.name(),
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

/// Instructions for a request, for each number of callers.
async fn instructions(model: Kind, recording: bool) -> anyhow::Result<Vec<Spread>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind-{}-{recording}", model.name()));
    let _none_before = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let base = folder.join("out");
    let wrapper = [
        "valgrind".to_owned(),
        "--quiet".to_owned(),
        "--tool=callgrind".to_owned(),
        // Everything counted since the last mark is written down, and counting begins anew.
        "--dump-before=*benchmark_mark*".to_owned(),
        format!("--callgrind-out-file={}", base.display()),
    ];
    let role = Role { kind: model, recording: Some(recording), one_thread: true };
    let mut server = Child::start(role, &wrapper).context("is valgrind installed?")?;
    let load = Load::new(server.address, model, 1).await?;
    let (mut dump, mut spreads) = (0, Vec::new());
    for callers in CALLERS {
        load.run(callers, Until::Calls(WARM_UP_CALLS)).await?;
        server.mark()?;
        dump += 1;
        let mut windows = Vec::new();
        for _ in 0..WINDOWS {
            load.run(callers, Until::Calls(COUNTED_CALLS)).await?;
            server.mark()?;
            dump += 1;
            windows.push(counted(&base.with_extension(dump.to_string()))? / f64::from(u32::try_from(COUNTED_CALLS)?));
        }
        spreads.push(Spread::of(windows));
    }
    server.end()?;
    Ok(spreads)
}

/// The total in a file that callgrind wrote.
fn counted(file: &Path) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: ")).context("callgrind gave no total")?;
    Ok(total.trim().parse()?)
}

/// Prints the throughput with recording on and off, outside valgrind.
async fn compare_throughput() -> anyhow::Result<()> {
    let role = |recording| Role { kind: Kind::BreastCancer, recording: Some(recording), one_thread: false };
    let servers = [Child::start(role(true), &[])?, Child::start(role(false), &[])?];
    let mut loads = Vec::new();
    for server in &servers {
        let load = Load::new(server.address, Kind::BreastCancer, 1).await?;
        load.run(64, Until::Time(ROUND)).await?;
        loads.push(load);
    }
    let mut rates = [const { Vec::new() }; 2];
    for round in 0..ROUNDS {
        for turn in 0..2 {
            let at = (round + turn) % 2;
            rates[at].push(loads[at].run(64, Until::Time(ROUND)).await?.rate());
        }
    }
    servers.into_iter().try_for_each(Child::end)?;
    let [on, off] = &rates;
    let share = Spread::of(on.iter().zip(off).map(|(on, off)| on / off));
    line("");
    line(&format!(
        "requests/s, breast_cancer at 64, {ROUNDS} rounds of {:.1} s: on {}, off {}, on / off {}",
        ROUND.as_secs_f64(),
        Spread::of(on.iter().copied()).show(0),
        Spread::of(off.iter().copied()).show(0),
        share.show(3),
    ));
    Ok(())
}
