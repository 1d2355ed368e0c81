//! Which GPUs models can run on, and what is missing where there are none; found out without the driver's libraries, which
//! the server is not linked with: the system shows the GPUs, the worker's program says whether it can use them.

use std::path::Path;
use std::time::Duration;
use std::{fmt, fs};

use super::remote::{NoAnswer, ask};
use super::wire::{CUDA, Gpu, Probe};
use crate::types::printable;

/// Where NVIDIA's driver shows its GPUs.
pub const DRIVER: &str = "/proc/driver/nvidia/gpus";
/// How long the worker's program may take to say what it can compute on. A driver that starts takes some seconds.
pub const PROBE_MAX: Duration = Duration::from_secs(20);
/// Free memory of a GPU below which it is left out: what the driver needs for a process, and room for a model and its batches.
const MEMORY_FREE_MIN: u64 = 2 << 30;
/// Characters of what is told.
const CHARS_MAX: usize = 1024;

/// What keeps the server from using a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The machine has no driver.
    Driver,
    /// The driver shows no GPU, or the worker is to see none.
    Gpu,
    /// There is no program to run models in.
    Worker,
    /// It was built for the processor only.
    CudaWorker,
    /// It does not run, does not end, or makes no sense.
    WorkingWorker,
    /// It was built from another version of the source.
    SameVersion,
    /// The driver is too old for it, or fails.
    WorkingDriver,
    /// Others use the memory of every GPU.
    Memory,
}

impl Missing {
    /// One of a few sentences, as logs, readiness and metrics tell it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Driver => "no NVIDIA driver",
            Self::Gpu => "no GPU",
            Self::Worker => "no sconce-worker beside the server's program",
            Self::CudaWorker => "the worker was not built for GPUs",
            Self::WorkingWorker => "the worker does not start",
            Self::SameVersion => "the worker is of another version",
            Self::WorkingDriver => "the driver does not work with the worker",
            Self::Memory => "too little GPU memory",
        }
    }

    /// Is there a GPU that could be used, if something were put right?
    pub fn is_fault(self) -> bool {
        !matches!(self, Self::Driver | Self::Gpu)
    }
}

/// Why no GPU is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoGpu {
    /// The kind of reason.
    pub missing: Missing,
    /// What more is known; empty if nothing.
    pub detail: String,
}

impl fmt::Display for NoGpu {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { missing, detail } = self;
        let colon = if detail.is_empty() { "" } else { ": " };
        write!(out, "{}{colon}{detail}", missing.label())
    }
}

/// The GPUs of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpus {
    /// Devices that workers can be started for, as `cuda:0`; at least one.
    pub usable: Vec<String>,
    /// Devices that are left out, and why.
    pub left_out: Vec<(String, String)>,
}

/// Looks for GPUs: in the folder `shown`, where the driver shows them, and, if there are any, by asking the worker's program,
/// which is waited for at most so long.
///
/// Errors: none can be used.
pub fn find_gpus(worker: Option<&Path>, shown: &Path, at_most: Duration) -> Result<Gpus, NoGpu> {
    match shown_gpus(shown) {
        None => return Err(no_gpu(Missing::Driver, "")),
        Some(0) => return Err(no_gpu(Missing::Gpu, "")),
        Some(_) => {}
    }
    let worker = worker.ok_or_else(|| no_gpu(Missing::Worker, ""))?;
    if !worker.is_file() {
        return Err(no_gpu(Missing::Worker, &worker.display().to_string()));
    }
    ask_for_gpus(worker, at_most)
}

/// Asks the worker's program for GPUs, whatever the driver shows, and waits at most so long.
///
/// Errors: none can be used.
pub fn ask_for_gpus(worker: &Path, at_most: Duration) -> Result<Gpus, NoGpu> {
    judge(ask(worker, at_most))
}

/// How many GPUs the driver shows; `None` without a driver.
pub fn shown_gpus(shown: &Path) -> Option<usize> {
    fs::read_dir(shown).ok().map(Iterator::count)
}

/// What the program's answer comes to.
fn judge(answer: Result<Probe, NoAnswer>) -> Result<Gpus, NoGpu> {
    let probe = answer.map_err(|no_answer| match no_answer {
        NoAnswer::Fails(why) => no_gpu(Missing::WorkingWorker, &why),
        NoAnswer::OtherVersion(why) => no_gpu(Missing::SameVersion, &why),
    })?;
    if !probe.kinds.iter().any(|kind| kind == CUDA) {
        return Err(no_gpu(Missing::CudaWorker, &format!("it was built for {}", probe.kinds.join(", "))));
    }
    if let Some(problem) = probe.problem {
        return Err(no_gpu(Missing::WorkingDriver, &problem));
    }
    if probe.gpus.is_empty() {
        return Err(no_gpu(Missing::Gpu, "the driver shows some, but none to the worker"));
    }
    let (usable, full): (Vec<_>, Vec<_>) = probe.gpus.iter().partition(|gpu| gpu.memory_free >= MEMORY_FREE_MIN);
    let left_out: Vec<_> = full.into_iter().map(|gpu| (device(gpu), short_of_memory(gpu))).collect();
    if usable.is_empty() {
        let each: Vec<_> = left_out.iter().map(|(device, why)| format!("{device}: {why}")).collect();
        return Err(no_gpu(Missing::Memory, &each.join("; ")));
    }
    Ok(Gpus { usable: usable.into_iter().map(device).collect(), left_out })
}

fn no_gpu(missing: Missing, detail: &str) -> NoGpu {
    NoGpu { missing, detail: printable(detail, CHARS_MAX) }
}

fn device(gpu: &Gpu) -> String {
    format!("{CUDA}:{}", gpu.index)
}

fn short_of_memory(gpu: &Gpu) -> String {
    let Gpu { name, memory_free, memory_total, .. } = gpu;
    let (free, total, needed) = (memory_free >> 20, memory_total >> 20, MEMORY_FREE_MIN >> 20);
    printable(&format!("{name} has {free} of {total} MiB free, expected {needed} MiB or more"), CHARS_MAX)
}

/// Programs in the place of the worker's.
#[cfg(test)]
pub(super) mod for_tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// A script in a folder of its own, which is removed with it.
    pub(in crate::device) struct Program(PathBuf);

    impl Program {
        pub(in crate::device) fn new(script: &str) -> Self {
            static MADE: AtomicUsize = AtomicUsize::new(0);
            let name = format!("sconce-probe-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
            let folder = std::env::temp_dir().join(name);
            fs::create_dir_all(&folder).expect("a folder");
            let program = Self(folder.join("worker"));
            // By another process: a file that this one has open for writing, or one that it starts meanwhile, cannot be run.
            let write = ["-ec", "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\"; chmod +x \"$0\""];
            let written = Command::new("/bin/sh").args(write).arg(program.path()).arg(script).status();
            assert!(written.expect("a shell").success());
            program
        }

        pub(in crate::device) fn path(&self) -> &Path {
            &self.0
        }

        pub(in crate::device) fn folder(&self) -> &Path {
            self.0.parent().expect("its folder")
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(self.folder());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::for_tests::Program;
    use super::{Gpus, MEMORY_FREE_MIN, Missing, NoAnswer, NoGpu, PROBE_MAX, find_gpus, judge, no_gpu};
    use crate::device::wire::{Gpu, Probe};

    fn gpu(index: u32, memory_free: u64) -> Gpu {
        let name = "NVIDIA\nL4".to_owned();
        Gpu { index, name, memory_total: 24 << 30, memory_free, compute_capability: "8.9".to_owned() }
    }

    fn cuda(gpus: Vec<Gpu>) -> Probe {
        Probe { gpus, ..Probe::new(&["cpu", "cuda"]) }
    }

    fn missing(answer: Result<Probe, NoAnswer>) -> (Missing, String) {
        let NoGpu { missing, detail } = judge(answer).expect_err("no GPU");
        (missing, detail)
    }

    #[test]
    fn each_answer_has_its_reason() {
        let fails = missing(Err(NoAnswer::Fails("it ended with exit code 127".to_owned())));
        assert_eq!(fails, (Missing::WorkingWorker, "it ended with exit code 127".to_owned()));
        let other = missing(Err(NoAnswer::OtherVersion("version 9".to_owned())));
        assert_eq!(other, (Missing::SameVersion, "version 9".to_owned()));
        assert_eq!(missing(Ok(Probe::new(&["cpu"]))), (Missing::CudaWorker, "it was built for cpu".to_owned()));
        let problem = Some("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\u{7}".to_owned());
        let driver = missing(Ok(Probe { problem, ..cuda(vec![gpu(0, u64::MAX)]) }));
        assert_eq!(driver, (Missing::WorkingDriver, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\\u{7}".to_owned()));
        assert_eq!(missing(Ok(cuda(Vec::new()))).0, Missing::Gpu);
    }

    #[test]
    fn the_page_on_devices_has_each_reason() {
        let reasons = [
            Missing::Driver,
            Missing::Gpu,
            Missing::Worker,
            Missing::CudaWorker,
            Missing::WorkingWorker,
            Missing::SameVersion,
            Missing::WorkingDriver,
            Missing::Memory,
        ];
        for reason in reasons {
            let level = if reason.is_fault() { "WARN" } else { "INFO" };
            let row = format!("\n| `{}` | {level} | ", reason.label());
            assert!(include_str!("../../docs/devices.md").contains(&row), "{row}");
        }
    }

    #[test]
    fn full_gpus_are_left_out_and_the_others_used() {
        let full = gpu(0, MEMORY_FREE_MIN - 1);
        let why = "NVIDIA\\u{a}L4 has 2047 of 24576 MiB free, expected 2048 MiB or more";
        let some = judge(Ok(cuda(vec![full.clone(), gpu(2, MEMORY_FREE_MIN), gpu(5, u64::MAX)])));
        let usable = vec!["cuda:2".to_owned(), "cuda:5".to_owned()];
        assert_eq!(some, Ok(Gpus { usable, left_out: vec![("cuda:0".to_owned(), why.to_owned())] }));
        assert_eq!(missing(Ok(cuda(vec![full]))), (Missing::Memory, format!("cuda:0: {why}")));
    }

    /// What is found with this program, where the driver shows so many GPUs.
    fn found(worker: &Program, shown: &[&str]) -> Result<Gpus, NoGpu> {
        let folder = worker.folder().join("gpus");
        for name in shown {
            fs::create_dir_all(folder.join(name)).expect("a GPU");
        }
        find_gpus(Some(worker.path()), &folder, PROBE_MAX)
    }

    #[test]
    fn the_program_is_asked_only_where_the_driver_shows_a_gpu() {
        let line = cuda(vec![gpu(0, u64::MAX)]).to_line().expect("plain data");
        let worker = Program::new(&format!("touch \"$0.asked\"; printf '%s\\n' '{line}'"));
        let asked = worker.path().with_extension("asked");
        assert_eq!(found(&worker, &[]), Err(no_gpu(Missing::Driver, "")));
        fs::create_dir_all(worker.folder().join("gpus")).expect("a folder");
        assert_eq!(found(&worker, &[]), Err(no_gpu(Missing::Gpu, "")));
        assert!(!asked.exists());
        assert_eq!(found(&worker, &["0000:01:00.0"]).expect("a GPU").usable, ["cuda:0"]);
        assert!(asked.exists());
        let shown = worker.folder().join("gpus");
        assert_eq!(find_gpus(None, &shown, PROBE_MAX), Err(no_gpu(Missing::Worker, "")));
        let absent = Path::new("/nonexistent/worker");
        assert_eq!(find_gpus(Some(absent), &shown, PROBE_MAX), Err(no_gpu(Missing::Worker, "/nonexistent/worker")));
    }

    #[test]
    fn what_is_wrong_with_a_program_is_told() {
        let linker = "echo 'libcuda.so.1: cannot open shared object file' >&2; exit 127";
        let NoGpu { missing, detail } = found(&Program::new(linker), &["0000:01:00.0"]).expect_err("no GPU");
        assert_eq!(missing, Missing::WorkingWorker);
        assert_eq!(detail, "it ended with exit code 127: libcuda.so.1: cannot open shared object file");
        assert_eq!(no_gpu(missing, &detail).to_string(), format!("the worker does not start: {detail}"));
        assert_eq!(no_gpu(Missing::Gpu, "").to_string(), "no GPU");
        assert!(missing.is_fault() && !Missing::Driver.is_fault() && !Missing::Gpu.is_fault());
    }
}
