//! Asks the worker's program what it can compute on: a process that lives for a moment, before any worker is started.
//!
//! A driver may be missing, of another version, or stuck, and a program may be anything: so it gets two files of a fixed size
//! to write into, a time limit, and a process group of its own, which is killed in the end.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::{Duration, Instant};

use super::process::{LINE_CHARS_MAX, ending, open, program};
use crate::device::wire::{NoProbe, PROBE, Probe, wait_for};
use crate::types::printable;

/// Bytes that it may write to its standard output, and as many to its standard error.
const BYTES_MAX: u64 = 64 * 1024;
/// How long the end of a process is waited for that was killed. One that is stuck in the driver does not end.
const END_MAX: Duration = Duration::from_secs(2);

/// Why it is not known what a program can compute on.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::device) enum NoAnswer {
    /// It does not run, does not end, or makes no sense; a text for a person.
    Fails(String),
    /// It is of another version; a text for a person.
    OtherVersion(String),
}

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        Self::Fails(error.to_string())
    }
}

impl From<NoProbe> for NoAnswer {
    fn from(error: NoProbe) -> Self {
        let text = printable(&error.to_string(), LINE_CHARS_MAX);
        if matches!(error, NoProbe::Version { .. }) { Self::OtherVersion(text) } else { Self::Fails(text) }
    }
}

/// Runs the program and reads what it prints. Waits for `at_most`, and a moment longer for the end of one that was killed.
pub(in crate::device) fn ask(path: &Path, at_most: Duration) -> Result<Probe, NoAnswer> {
    let (mut stdout, mut stderr) = (limited_file()?, limited_file()?);
    let mut command = program(path);
    command.arg(PROBE).stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let child = command.spawn().map_err(|error| NoAnswer::Fails(format!("start {}: {error}", path.display())))?;
    match end(child, at_most)? {
        Some(status) if status.success() => Ok(Probe::read(&written(&mut stdout)?)?),
        Some(status) => {
            let said = written(&mut stderr)?;
            Err(NoAnswer::Fails(with_reason(&ending(status), &said)))
        }
        None => {
            Err(NoAnswer::Fails(with_reason(&format!("it did not end within {at_most:?}"), &written(&mut stderr)?)))
        }
    }
}

/// What happened, and the first line of what the program said of it.
fn with_reason(what: &str, said: &str) -> String {
    let line = said.lines().next().unwrap_or_default().trim();
    if line.is_empty() { what.to_owned() } else { printable(&format!("{what}: {line}"), LINE_CHARS_MAX) }
}

/// A file in memory that cannot become larger, whatever is written.
fn limited_file() -> io::Result<File> {
    let file = memfd_create("sconce-probe", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, BYTES_MAX)?;
    fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file.into())
}

/// What a file has that was full of zeros before.
fn written(file: &mut File) -> io::Result<String> {
    let mut contents = Vec::new();
    file.rewind()?;
    file.take(BYTES_MAX).read_to_end(&mut contents)?;
    let text = contents.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Waits until a process has ended; one that does not is killed, with all that it has started.
fn end(mut child: Child, at_most: Duration) -> io::Result<Option<ExitStatus>> {
    let handle = open(child.id());
    let ended = handle.as_ref().is_ok_and(|handle| ends_within(handle, at_most));
    // It has not been waited for, so the number is still its own. The only error is that nobody is left.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _nobody_left = kill_process_group(group, Signal::KILL);
    }
    if ended || ends_within(&handle?, END_MAX) {
        let status = child.wait()?;
        return Ok(ended.then_some(status));
    }
    Ok(None)
}

fn ends_within(handle: &OwnedFd, at_most: Duration) -> bool {
    let until = Instant::now() + at_most;
    loop {
        let mut end = [PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)];
        let left = until.saturating_duration_since(Instant::now());
        if wait_for(&mut end, left).is_err() {
            return false;
        }
        if !end[0].revents().is_empty() {
            return true;
        }
        if left.is_zero() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, Instant, sleep};

    use super::super::super::gpus::for_tests::Program;
    use super::{NoAnswer, ask};
    use crate::device::wire::{PROTOCOL, Probe};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn fails(script: &str, at_most: Duration) -> String {
        match ask(Program::new(script).path(), at_most) {
            Err(NoAnswer::Fails(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_it_prints_is_read() {
        let line = Probe::new(&["cpu", "cuda"]).to_line().expect("plain data");
        let program = Program::new(&format!("[ \"$*\" = --probe ] && echo '{line}'"));
        assert_eq!(ask(program.path(), PATIENCE), Ok(Probe::new(&["cpu", "cuda"])));
        // Whatever goes on in the background does not hold it up.
        let program = Program::new(&format!("sleep 60 & echo '{line}'"));
        assert_eq!(ask(program.path(), PATIENCE), Ok(Probe::new(&["cpu", "cuda"])));
    }

    #[test]
    fn programs_that_do_not_run() {
        let absent = ask("/nonexistent/sconce-worker".as_ref(), PATIENCE);
        let told = "start /nonexistent/sconce-worker: No such file or directory (os error 2)";
        assert_eq!(absent, Err(NoAnswer::Fails(told.to_owned())));
        let linker = "echo 'libcuda.so.1: cannot open shared object file' >&2; echo more >&2; exit 127";
        let told = "it ended with exit code 127: libcuda.so.1: cannot open shared object file";
        assert_eq!(fails(linker, PATIENCE), told);
        assert_eq!(fails("exit 3", PATIENCE), "it ended with exit code 3");
        assert_eq!(fails("kill -SEGV $$", PATIENCE), "it was ended by signal 11");
    }

    #[tokio::test]
    async fn programs_that_do_not_end_are_killed_with_what_they_started() {
        let limit = Duration::from_millis(200);
        assert_eq!(fails("exec sleep 60", limit), "it did not end within 200ms");
        let program = Program::new("echo stuck >&2; sleep 60 & echo $! > \"$0.child\"; wait");
        assert_eq!(ask(program.path(), limit), Err(NoAnswer::Fails("it did not end within 200ms: stuck".to_owned())));
        let child = std::fs::read_to_string(program.path().with_extension("child")).expect("its number");
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        // It has its signal, and needs a core to end.
        let until = Instant::now() + PATIENCE;
        while !(state().is_empty() || state().contains(") Z ")) {
            assert!(Instant::now() < until, "{}", state());
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn programs_that_print_something_else() {
        let told = fails("echo hello", PATIENCE);
        assert!(told.starts_with("its answer to --probe cannot be read: expected value"), "{told}");
        assert!(fails("head -c 1000000 /dev/zero | tr '\\0' x; exit 0", PATIENCE).contains("cannot be read"));
        let other = ask(Program::new("echo '{\"version\":\"7.0.0\",\"protocol\":99}'").path(), PATIENCE);
        let told = format!("version 7.0.0 speaks version 99 of the worker's protocol, expected version {PROTOCOL}");
        assert_eq!(other, Err(NoAnswer::OtherVersion(told)));
    }
}
