//! What the hop to a worker process costs, beside running the same model on the calling thread or on a thread of its own;
//! and what waking another process costs, by the socket that is used and by eventfd.
//!
//! `cargo bench -p sconce-worker`; docs/benchmarks.md says what it means.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use rustix::event::{EventfdFlags, eventfd};
use sconce::config::ModelConfig;
use sconce::device::wire::{Broken, Socket};
use sconce::device::{
    Cores, Device, LoadSettings, LocalExecutor, Supervisor, WorkerEvents, WorkerSettings, WorkerState,
};
use sconce::model::Files;
use sconce::types::{Rows, Shape, Tensor};
use tokio::runtime::Runtime;
use tokio::time::{Duration, Instant};

/// The allocator that the server's binary has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 40;
/// Calls of each way in a round; the ways take turns.
const CALLS: usize = 250;
/// How this program is told to be the other side of a ping-pong.
const ECHO_SOCKET: &str = "echo-socket";
const ECHO_EVENTFD: &str = "echo-eventfd";

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some(ECHO_SOCKET) => return echo_socket(),
        Some(ECHO_EVENTFD) => return echo_eventfd(),
        _ => {}
    }
    line(&format!("{ROUNDS} rounds of {CALLS} calls, interleaved; microseconds, median and p99 of all calls\n"))?;
    compare_hops()?;
    compare_wakes()
}

/// A way of doing something, and how long it took each time.
struct Way<'a> {
    name: &'static str,
    call: Box<dyn FnMut() -> anyhow::Result<()> + 'a>,
    took: Vec<Duration>,
}

impl<'a> Way<'a> {
    fn new(name: &'static str, call: impl FnMut() -> anyhow::Result<()> + 'a) -> Self {
        Self { name, call: Box::new(call), took: Vec::new() }
    }

    fn round(&mut self) -> anyhow::Result<()> {
        for _ in 0..CALLS {
            let begun = Instant::now();
            (self.call)()?;
            self.took.push(begun.elapsed());
        }
        Ok(())
    }
}

/// Runs the ways in turn, after a round that is not counted, and prints what they took.
fn compare(title: &str, mut ways: Vec<Way<'_>>) -> anyhow::Result<()> {
    for way in &mut ways {
        way.round()?;
        way.took.clear();
    }
    for round in 0..ROUNDS {
        for at in 0..ways.len() {
            let turn = (at + round) % ways.len();
            ways.get_mut(turn).context("a way")?.round()?;
        }
    }
    line(&format!("{title:<34}{:>10}{:>10}", "median", "p99"))?;
    for Way { name, mut took, .. } in ways {
        took.sort_unstable();
        let at = |share: usize| took.get(took.len() * share / 100).map_or(0.0, |took| took.as_secs_f64() * 1e6);
        line(&format!("  {name:<32}{:>10.1}{:>10.1}", at(50), at(99)))?;
    }
    line("")
}

/// Nobody is told.
struct Silent;

impl WorkerEvents for Silent {
    fn changed(&self, _: &WorkerState) {}
}

fn compare_hops() -> anyhow::Result<()> {
    let files = Files::folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/breast_cancer/1"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("start a runtime")?;
    let cores = Cores::new("compute", 0).context("start the computing threads")?;
    let settings = WorkerSettings {
        path: env!("CARGO_BIN_EXE_sconce-worker").into(),
        device: "cpu".to_owned(),
        allow_faults: false,
        start_timeout: Duration::from_secs(10),
    };
    let supervisor = Supervisor::start(settings, Arc::new(Silent));
    anyhow::ensure!(supervisor.wait_up(Duration::from_secs(10)), "no worker: {:?}", supervisor.state());
    let local = || LocalExecutor::load(&files, &ModelConfig::default());
    let remote = || supervisor.load("breast_cancer", &files, LoadSettings::default());
    for count in [1, 16, 64] {
        let parts = rows(count)?;
        let ways = vec![
            way("on the calling thread", Device::Inline(Box::new(local()?)), &runtime, &parts),
            way(
                "on a thread of its own",
                Device::on_thread("local", Box::new(local()?), cores.clone())?,
                &runtime,
                &parts,
            ),
            way("in a worker, from here", Device::Inline(Box::new(remote()?)), &runtime, &parts),
            way(
                "in a worker, as it is served",
                Device::on_thread("remote", Box::new(remote()?), cores.clone())?,
                &runtime,
                &parts,
            ),
        ];
        compare(&format!("breast_cancer, {count} requests of a row"), ways)?;
    }
    Ok(())
}

fn way<'a>(name: &'static str, mut device: Device, runtime: &'a Runtime, parts: &'a [Rows]) -> Way<'a> {
    Way::new(name, move || {
        let outcome = runtime.block_on(device.run(parts.to_vec())).1;
        outcome.map(drop).map_err(|fault| fault.error.into())
    })
}

fn rows(count: usize) -> anyhow::Result<Vec<Rows>> {
    let row = Tensor::from_f32(Shape::new(&[1, 30]), &[0.5; 30]).map_err(anyhow::Error::msg)?;
    Ok(vec![Rows::uniform(vec![row], 1); count])
}

/// Wakes another process and is woken by it, which does nothing between.
fn compare_wakes() -> anyhow::Result<()> {
    let (mut socket, _echo) = start(ECHO_SOCKET)?;
    let (mut control, _other) = start(ECHO_EVENTFD)?;
    let there = eventfd(0, EventfdFlags::CLOEXEC)?;
    let back = eventfd(0, EventfdFlags::CLOEXEC)?;
    control.send_with(&(), &[there.as_fd(), back.as_fd()])?;
    let frame = [7_u64; 16];
    let ways = vec![
        Way::new("socket, a frame each way", move || {
            socket.send(&frame)?;
            socket.receive::<[u64; 16]>()?;
            Ok(())
        }),
        Way::new("eventfd, which carries nothing", move || {
            ring(&there)?;
            await_ring(&back)
        }),
    ];
    compare("there and back between processes", ways)
}

/// This program as the other side, which ends when its socket is closed.
fn start(role: &str) -> anyhow::Result<(Socket, Ended)> {
    let (ours, theirs) = Socket::pair()?;
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    let child = command.arg(role).stdin(Stdio::from(theirs.into_end())).spawn().context("start the other side")?;
    Ok((ours, Ended(child)))
}

/// A process that is ended with this one.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn stdin() -> anyhow::Result<Socket> {
    Ok(Socket::of(std::io::stdin().as_fd().try_clone_to_owned()?))
}

fn echo_socket() -> anyhow::Result<()> {
    let mut socket = stdin()?;
    loop {
        match socket.receive::<[u64; 16]>() {
            Ok(frame) => socket.send(&frame)?,
            Err(Broken::Closed) => return Ok(()),
            Err(broken) => return Err(broken.into()),
        }
    }
}

fn echo_eventfd() -> anyhow::Result<()> {
    let ((), descriptors) = stdin()?.receive_with()?;
    let [there, back] = <[OwnedFd; 2]>::try_from(descriptors).ok().context("two descriptors")?;
    loop {
        await_ring(&there)?;
        ring(&back)?;
    }
}

fn ring(event: &OwnedFd) -> anyhow::Result<()> {
    rustix::io::write(event, &1_u64.to_ne_bytes())?;
    Ok(())
}

fn await_ring(event: &OwnedFd) -> anyhow::Result<()> {
    let mut count = [0; 8];
    rustix::io::read(event, &mut count[..])?;
    Ok(())
}

fn line(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("print a line")
}
