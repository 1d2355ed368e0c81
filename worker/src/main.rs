//! The device process of the Sconce inference server: runs models on a device, and may die of it.
//!
//! The server starts it with a socket as its standard input (`sconce::device::wire` says how they speak) and starts it again
//! when it has died. So whatever it cannot make sense of, it ends at, with an exit code that says why.

mod area;
mod arguments;
mod channel;
mod control;
mod device;
mod faults;
mod inbox;
mod outputs;
mod signals;

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::Arc;

use arguments::{Arguments, Wanted};
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use sconce::device::wire::Socket;
use tracing_subscriber::EnvFilter;

/// The allocator that the server's binary has, for the same reason: blocks of outputs come and go.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes as in `sysexits.h`.
const EXIT_USAGE: u8 = 64;
const EXIT_NO_DEVICE: u8 = 69;
const EXIT_IO: u8 = 74;

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)) {
        Ok(Wanted::Run(arguments)) => run(&arguments),
        Ok(Wanted::Probe) => probe(),
        Ok(Wanted::Version) => say(concat!("sconce-worker ", env!("CARGO_PKG_VERSION")), ExitCode::SUCCESS),
        Err(problem) => say(&problem, EXIT_USAGE.into()),
    }
}

fn run(arguments: &Arguments) -> ExitCode {
    let stdin = std::io::stdin();
    let control = match (socket_type(&stdin), stdin.as_fd().try_clone_to_owned()) {
        (Ok(SocketType::SEQPACKET), Ok(end)) => Socket::of(end),
        _ => {
            return say(
                "sconce-worker is started by sconce, and speaks with it over its standard input",
                EXIT_USAGE.into(),
            );
        }
    };
    start_log();
    signals::leave_to_the_server();
    match device::open(&arguments.device) {
        Ok(device) => control::end(control::serve(control, &Arc::from(device), arguments.allow_faults)),
        Err(problem) => say(&problem, EXIT_NO_DEVICE.into()),
    }
}

/// Says on standard output what it can compute on.
fn probe() -> ExitCode {
    match device::probe().to_line().and_then(|line| writeln!(std::io::stdout(), "{line}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("say what it can compute on: {error}"), EXIT_IO.into()),
    }
}

/// The server reads lines from standard error, and adds time and level itself.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
    lines.with_env_filter(filter).with_writer(std::io::stderr).init();
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    // Nobody may be there to read it.
    let _unheard = writeln!(std::io::stderr(), "{text}");
    code
}
