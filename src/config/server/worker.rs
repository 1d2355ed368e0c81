//! The processes beside the server that models run in.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::form::{Choice, FilePath, Time};
use crate::config::reader::Reader;

const SECOND: Duration = Duration::from_secs(1);

/// In which process models run, unless their own policy says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// As [`DeviceChoice::Cuda`] where there is what that needs, else as [`DeviceChoice::Cpu`].
    #[default]
    Auto,
    /// In the server's own.
    Cpu,
    /// In a worker that computes on the CPU.
    Worker,
    /// In workers that compute on GPUs.
    Cuda,
}

/// The worker's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Where it is; `None` for `sconce-worker` beside the server's own program.
    pub path: Option<PathBuf>,
    /// Time in which it must say that it is there.
    pub start_timeout: Duration,
}

impl DeviceChoice {
    pub(super) fn read(settings: &mut Reader<'_>) -> Self {
        let choices = [("auto", Self::Auto), ("cpu", Self::Cpu), ("worker", Self::Worker), ("cuda", Self::Cuda)];
        settings
            .what(
                "In which process models run: `\"cpu\"` in the server's own; `\"worker\"` in one beside it that computes on \
                 the CPU; `\"cuda\"` in one for each GPU; `\"auto\"` in one for each GPU that can be used, which the \
                 worker's program is asked, and where there is none as `\"cpu\"`",
            )
            .change("`\"cuda\"` where a server that finds no GPU should say so as a fault; `\"worker\"` to try faults without one")
            .get("device", &Choice(&choices), Self::Auto)
    }
}

impl Worker {
    pub(super) fn read(settings: &mut Reader<'_>) -> Self {
        Self {
            path: settings
                .what("The worker's program, which the server starts, watches and starts again")
                .change("Set it where the two programs are not installed side by side")
                .find("worker.path", &FilePath, "`sconce-worker` beside the server's own program"),
            start_timeout: settings
                .what("Time in which a worker that was started must say that it is there; then it is ended and started again")
                .change("Raise it for a machine whose GPU takes longer to wake")
                .get("worker.start_timeout", &Time(SECOND / 10..=600 * SECOND), 10 * SECOND),
        }
    }
}
