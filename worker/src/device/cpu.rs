//! The processor, which speaks the protocol as a GPU does, so that all around it is tested without one.

use std::fs;
use std::time::Duration;

use sconce::config::ModelConfig;
use sconce::device::wire::{Failure, Hello};
use sconce::device::{Cores, Executor as _, LoadSettings, LocalExecutor, guarded, start_candle_threads};
use sconce::model::Files;
use sconce::types::{Reason, Rows, Signature};
use tokio::time::Instant;

use super::{Device, Failed, Model};
use crate::outputs::Outputs;

/// Batches that take less run on the channel's thread: the hop to the pool costs more than its help is worth.
const ALONE_MAX: Duration = Duration::from_micros(500);

pub(super) struct Cpu {
    cores: Cores,
}

impl Cpu {
    pub(super) fn open() -> Result<Self, String> {
        start_candle_threads();
        // As many threads as there are cores, or as RAYON_NUM_THREADS says.
        let cores = Cores::new("compute", 0).map_err(|error| format!("start the computing threads: {error}"))?;
        Ok(Self { cores })
    }
}

impl Device for Cpu {
    fn about(&self) -> Hello {
        let name = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| field(&text, "model name"));
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Hello {
            kind: "cpu".to_owned(),
            name: name.unwrap_or_else(|| "unknown".to_owned()),
            memory_total: kibibytes(&memory, "MemTotal"),
            memory_free: kibibytes(&memory, "MemAvailable"),
        }
    }

    fn load(&self, files: &Files, _settings: &LoadSettings) -> Result<Box<dyn Model>, Failed> {
        // How answers are scored is the server's business.
        let executor = LocalExecutor::load(files, &ModelConfig::default())
            .map_err(|error| Failed::new(Failure::Model, error.detail()))?;
        let signature = executor.loaded().about.signature.clone();
        Ok(Box::new(CpuModel { executor, signature, cores: self.cores.clone(), usual: Duration::ZERO }))
    }
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn kibibytes(text: &str, name: &str) -> u64 {
    let value = field(text, name).and_then(|value| value.strip_suffix(" kB")?.parse::<u64>().ok());
    value.unwrap_or(0).saturating_mul(1024)
}

struct CpuModel {
    executor: LocalExecutor,
    signature: Signature,
    cores: Cores,
    /// How long batches have taken.
    usual: Duration,
}

impl Model for CpuModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, rows: &Rows, outputs: &mut Outputs<'_>) -> Result<(), Failed> {
        let begun = Instant::now();
        let parts = std::slice::from_ref(rows);
        let executor = &mut self.executor;
        let outcome = if self.usual > ALONE_MAX && executor.is_parallel() {
            self.cores.install(|| guarded(executor, parts))
        } else {
            guarded(executor, parts)
        };
        self.usual = (self.usual * 7 + begun.elapsed()) / 8;
        let given = outcome.map_err(|fault| {
            let failure = if fault.error.reason() == Reason::Panic { Failure::Panic } else { Failure::Model };
            Failed::new(failure, fault.error.detail())
        })?;
        outputs.copy(&given)
    }
}

#[cfg(test)]
mod tests {
    use super::{field, kibibytes};

    #[test]
    fn fields_of_proc_are_read() {
        assert_eq!(field("processor\t: 0\nmodel name\t: AMD EPYC\n", "model name"), Some("AMD EPYC".to_owned()));
        assert_eq!(kibibytes("MemTotal:       24 kB\n", "MemTotal"), 24 * 1024);
        assert_eq!(kibibytes("MemTotal: much\n", "MemTotal"), 0);
    }
}
