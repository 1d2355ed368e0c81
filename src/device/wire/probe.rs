//! What a worker's program can compute on: a line of JSON, printed by it when it is started with `--probe`, and read by the
//! server before it starts any worker.

use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::PROTOCOL;

/// The argument that asks for it.
pub const PROBE: &str = "--probe";
/// What [`Probe::kinds`] says of a program that can compute on NVIDIA's GPUs.
pub const CUDA: &str = "cuda";
/// GPUs of one machine, at most.
const GPUS_MAX: usize = 64;

/// What a worker's program can compute on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The program's version.
    pub version: String,
    /// The version of the worker's protocol that it speaks.
    pub protocol: u32,
    /// Kinds of devices that it was built for: `cpu`, `cuda`.
    pub kinds: Vec<String>,
    /// GPUs that it can open, by index.
    pub gpus: Vec<Gpu>,
    /// Why it can open none, if something is wrong.
    pub problem: Option<String>,
}

/// A GPU as the driver tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Its number for the driver: the `0` of `cuda:0`.
    pub index: u32,
    /// Its model.
    pub name: String,
    /// Bytes of memory that it has.
    pub memory_total: u64,
    /// Bytes of memory that nobody uses.
    pub memory_free: u64,
    /// What it can do, as `9.0`.
    pub compute_capability: String,
}

/// Why a text tells nothing of a worker.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoProbe {
    /// The program is of another build.
    #[error("version {version} speaks version {protocol} of the worker's protocol, expected version {PROTOCOL}")]
    Version {
        /// The program's version.
        version: String,
        /// The protocol's.
        protocol: u32,
    },
    /// It is none, or makes no sense.
    #[error("its answer to {PROBE} cannot be read: {0}")]
    Garbage(String),
}

/// What is read first: a program of another version may say the rest otherwise.
#[derive(Deserialize)]
struct Versions {
    version: String,
    protocol: u32,
}

impl Probe {
    /// Of a program of this version, built for these kinds of devices.
    pub fn new(kinds: &[&str]) -> Self {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { version, protocol: PROTOCOL, kinds, gpus: Vec::new(), problem: None }
    }

    /// As it is printed, without the end of the line. Errors: none, of such plain data.
    pub fn to_line(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// Reads what was printed. What it says has been checked for sense, not for truth.
    ///
    /// Errors: it is of another version of the protocol, or makes no sense.
    pub fn read(text: &str) -> Result<Self, NoProbe> {
        let garbage = |error: serde_json::Error| NoProbe::Garbage(error.to_string());
        let Versions { version, protocol } = serde_json::from_str(text).map_err(garbage)?;
        if protocol != PROTOCOL {
            return Err(NoProbe::Version { version, protocol });
        }
        let probe: Self = serde_json::from_str(text).map_err(garbage)?;
        if probe.gpus.len() > GPUS_MAX {
            return Err(NoProbe::Garbage(format!("{} GPUs, expected {GPUS_MAX} at most", probe.gpus.len())));
        }
        if !probe.gpus.is_sorted_by(|before, after| before.index < after.index) {
            return Err(NoProbe::Garbage("expected GPUs in the order of their indexes".to_owned()));
        }
        Ok(probe)
    }
}

#[cfg(test)]
mod tests {
    use super::{Gpu, NoProbe, PROTOCOL, Probe};

    fn gpu(index: u32) -> Gpu {
        let name = "NVIDIA H100 80GB HBM3".to_owned();
        Gpu { index, name, memory_total: 85 << 30, memory_free: 84 << 30, compute_capability: "9.0".to_owned() }
    }

    fn with_gpus(gpus: Vec<Gpu>) -> Probe {
        Probe { gpus, ..Probe::new(&["cpu", "cuda"]) }
    }

    fn read(probe: &Probe) -> Result<Probe, NoProbe> {
        Probe::read(&probe.to_line().expect("plain data"))
    }

    fn garbage(text: &str) -> String {
        match Probe::read(text) {
            Err(error @ NoProbe::Garbage(_)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_is_one_line_that_reads_back() {
        let probe = with_gpus(vec![gpu(0), gpu(3)]);
        assert!(!probe.to_line().expect("plain data").contains('\n'));
        assert_eq!(read(&probe), Ok(probe));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(garbage("").starts_with("its answer to --probe cannot be read: EOF while parsing"));
        assert!(garbage("[[[[").starts_with("its answer to --probe cannot be read: "));
        let unknown = format!(r#"{{"version":"9","protocol":{PROTOCOL},"kinds":[],"gpus":[],"more":1}}"#);
        assert!(garbage(&unknown).contains("unknown field `more`"));
        let line = with_gpus(vec![gpu(1), gpu(1)]).to_line().expect("plain data");
        let told = "its answer to --probe cannot be read: expected GPUs in the order of their indexes";
        assert_eq!(garbage(&line), told);
        let line = with_gpus((0..65).map(gpu).collect()).to_line().expect("plain data");
        assert!(garbage(&line).ends_with("65 GPUs, expected 64 at most"));
    }

    #[test]
    fn another_version_is_told_whatever_else_it_says() {
        let other = r#"{"version":"9.1.0","protocol":99,"devices":{"gpus":7}}"#;
        let told = Probe::read(other).expect_err("another version").to_string();
        let expected = format!("expected version {PROTOCOL}");
        assert!(
            told.starts_with("version 9.1.0 speaks version 99 of the worker's protocol, ") && told.ends_with(&expected)
        );
    }
}
