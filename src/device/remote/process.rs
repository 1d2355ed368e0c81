//! The worker's process: started with a socket as its standard input, heard, killed, and waited for.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tracing::{info, warn};

use crate::device::wire::{Broken, Order, Socket};
use crate::types::printable;

/// Variables that the worker inherits, by how they begin: what drivers and pools of threads read. Secrets of the server's
/// surroundings are none of its business.
const INHERITED: [&str; 9] = [
    "CANDLE_",
    "CUDA_",
    "NVIDIA_",
    "LD_LIBRARY_PATH",
    "RAYON_NUM_THREADS",
    "RUST_BACKTRACE",
    "RUST_LOG",
    // Where the driver keeps what it has compiled.
    "HOME",
    "TZ",
];
/// Candle's threads spin for a millisecond at each of their many meetings, on cores that the server needs.
const SPIN_LIMIT: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";
/// Bytes of a line that the worker logs.
const LINE_BYTES_MAX: u64 = 4096;
pub(super) const LINE_CHARS_MAX: usize = 1024;

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The program.
    pub path: PathBuf,
    /// Which device it computes on: `cpu`, `cuda:0`.
    pub device: String,
    /// May it be told to fail? For tests and demonstrations.
    pub allow_faults: bool,
    /// How long it may take until it says what it is.
    pub start_timeout: Duration,
}

/// A worker's process, which other threads may speak to and kill.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    /// Means this process and no later one that gets the same number.
    handle: OwnedFd,
    control: Mutex<Socket>,
    /// Why it was killed, if it was.
    why: Mutex<Option<String>>,
}

/// What only the thread has that watches the process.
pub(super) struct Watched {
    pub(super) process: Arc<Process>,
    pub(super) control: Socket,
    child: Child,
}

impl Process {
    /// Starts a worker. Errors: there is no such program, or no descriptors or processes are left.
    pub(super) fn start(settings: &WorkerSettings) -> io::Result<Watched> {
        let (ours, theirs) = Socket::pair()?;
        let control = ours.another()?;
        let mut child = command(settings, theirs).spawn()?;
        let pid = child.id();
        let handle = match open(pid) {
            Ok(handle) => handle,
            Err(error) => {
                // Without a handle it could not be watched. It has not been waited for, so the number is still its own.
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        if let Some(stderr) = child.stderr.take() {
            let device = settings.device.clone();
            let relay = move || relay_lines(stderr, &device, pid);
            if let Err(error) = thread::Builder::new().name("worker-log".to_owned()).spawn(relay) {
                warn!(%error, "start the thread that reads what the worker logs");
            }
        }
        let process = Arc::new(Self { pid, handle, control: Mutex::new(ours), why: Mutex::default() });
        Ok(Watched { process, control, child })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it at once. The first reason is the one that is told.
    pub(super) fn kill(&self, why: &str) {
        self.why.lock().get_or_insert_with(|| printable(why, LINE_CHARS_MAX));
        // The only error is that it has ended.
        let _ended = pidfd_send_signal(&self.handle, Signal::KILL);
    }

    pub(super) fn order(&self, order: &Order) -> Result<(), Broken> {
        self.control.lock().send(order)
    }

    /// As [`Process::order`], but false rather than wait for a process that does not read.
    pub(super) fn try_order(&self, order: &Order) -> Result<bool, Broken> {
        // A thread that holds the lock waits for the process to read.
        let Some(mut control) = self.control.try_lock() else { return Ok(false) };
        control.try_send(order)
    }

    pub(super) fn order_with(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> Result<(), Broken> {
        self.control.lock().send_with(order, descriptors)
    }

    /// Sends what is no frame, which a worker must not survive.
    pub(super) fn send_garbage(&self, bytes: &[u8]) -> Result<(), Broken> {
        self.control.lock().send_raw(bytes)
    }
}

impl AsFd for Process {
    /// Can be read from when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Watched {
    /// Ends it if it has not ended, waits until it has, and says why it did.
    pub(super) fn finish(mut self) -> String {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.process.kill("it does not end by itself");
        }
        let status = self.child.wait();
        let killed = self.process.why.lock().take();
        match (killed, status) {
            (Some(why), _) => format!("killed: {why}"),
            (None, Ok(status)) => ending(status),
            (None, Err(error)) => format!("wait for it: {error}"),
        }
    }
}

/// Means this process and no later one that gets the same number; can be read from when it has ended.
pub(super) fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn command(settings: &WorkerSettings, control: Socket) -> Command {
    let mut command = program(&settings.path);
    command.args(["--device", &settings.device]);
    if settings.allow_faults {
        command.arg("--allow-faults");
    }
    command.stdin(Stdio::from(control.into_end())).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The worker's program in the surroundings that it is to have.
pub(super) fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env(SPIN_LIMIT, "0").envs(inherited());
    // A person's Ctrl-C is for the server, which lets the worker finish what runs.
    command.process_group(0);
    command
}

fn inherited() -> impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)> {
    #[expect(clippy::disallowed_methods, reason = "handed on to drivers; no setting of the server's is among them")]
    let all = std::env::vars_os();
    all.filter(|(name, _)| name.to_str().is_some_and(|name| INHERITED.iter().any(|start| name.starts_with(start))))
}

/// How a process has ended.
pub(super) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// Logs what the worker writes to its standard error, a line at a time, until it ends.
fn relay_lines(stderr: ChildStderr, device: &str, pid: u32) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = printable(String::from_utf8_lossy(&line).trim_end(), LINE_CHARS_MAX);
                info!(device, pid, line = text, "the worker says");
            }
        }
    }
}
