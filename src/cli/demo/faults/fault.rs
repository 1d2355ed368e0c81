//! What is done to the worker.

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::device::Supervisor;

/// A way in which a device's process fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It ends at once, as by the kernel for want of memory.
    Killed,
    /// It stands still and keeps everything that it was given.
    Frozen,
    /// It is told what is no message.
    Garbage,
}

impl Fault {
    /// Every one.
    pub(super) const ALL: [Self; 3] = [Self::Killed, Self::Frozen, Self::Garbage];

    /// In a word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::Garbage => "garbage",
        }
    }

    /// Does it, and says what was done. Errors: there is no worker to do it to.
    pub(super) fn happens_to(self, supervisor: &Supervisor) -> anyhow::Result<String> {
        let pid = supervisor.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.context("there is no worker that could fail")?;
        let number = pid.as_raw_nonzero();
        match self {
            Self::Killed => {
                kill_process(pid, Signal::KILL)?;
                Ok(format!("SIGKILL to the worker, process {number}"))
            }
            Self::Frozen => {
                kill_process(pid, Signal::STOP)?;
                Ok(format!("SIGSTOP to the worker, process {number}: it stands still"))
            }
            Self::Garbage => {
                supervisor.send_garbage()?;
                Ok(format!("garbage into the channel of the worker, process {number}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use super::Fault;
    use crate::device::{Supervisor, WorkerEvents, WorkerSettings, WorkerState};

    struct Deaf;

    impl WorkerEvents for Deaf {
        fn changed(&self, _state: &WorkerState) {}
    }

    #[test]
    fn nothing_is_done_where_there_is_no_worker() {
        let settings = WorkerSettings {
            path: PathBuf::from("/nowhere/sconce-worker"),
            device: "cpu".to_owned(),
            allow_faults: false,
            start_timeout: Duration::from_secs(1),
        };
        let supervisor = Supervisor::start(settings, Arc::new(Deaf));
        for fault in Fault::ALL {
            let error = fault.happens_to(&supervisor).expect_err(fault.name());
            assert_eq!(error.to_string(), "there is no worker that could fail");
        }
    }
}
