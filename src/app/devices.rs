//! Which processes models run in: what the configuration asks for, and what the machine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use tracing::info;

use crate::config::{Config, DeviceChoice};
use crate::device::{Supervisor, WorkerEvents, WorkerSettings, WorkerState};
use crate::monitor::{Monitor, WorkerView};
use crate::registry::Registry;

/// The worker's program.
const WORKER: &str = "sconce-worker";
/// Where NVIDIA's driver shows its GPUs.
const GPUS: &str = "/proc/driver/nvidia/gpus";

/// Starts the workers that the configuration asks for. Where it leaves the choice, what is missing for a GPU is told in the log
/// and by a metric.
pub(super) fn start(config: &Config, monitor: &Arc<Monitor>, faults: bool) -> (Vec<Arc<Supervisor>>, Vec<Arc<Watch>>) {
    let path = config.worker.path.clone().or_else(worker_beside_server);
    let devices = match config.device {
        DeviceChoice::Cpu => Vec::new(),
        DeviceChoice::Worker => vec!["cpu".to_owned()],
        DeviceChoice::Cuda => cuda_devices(gpus(Path::new(GPUS)).unwrap_or(1)),
        DeviceChoice::Auto => match find_gpus(path.as_deref(), Path::new(GPUS)) {
            Ok(count) => cuda_devices(count),
            Err(missing) => {
                info!(missing, "models run on the server's own cores");
                monitor.no_gpu(missing);
                Vec::new()
            }
        },
    };
    let path = path.unwrap_or_else(|| PathBuf::from(WORKER));
    let start = |device: String| {
        let watch = Arc::new(Watch { device: device.clone(), registry: OnceLock::new(), supervisor: OnceLock::new() });
        let settings = WorkerSettings {
            path: path.clone(),
            device,
            allow_faults: faults,
            start_timeout: config.worker.start_timeout,
        };
        let supervisor = Supervisor::start(settings, Arc::clone(&watch) as Arc<dyn WorkerEvents>);
        // Set once, here.
        let _once = watch.supervisor.set(Arc::downgrade(&supervisor));
        let view: Arc<dyn WorkerView> = Arc::clone(&watch) as _;
        monitor.watch_worker(view);
        (supervisor, watch)
    };
    devices.into_iter().map(start).unzip()
}

fn cuda_devices(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("cuda:{at}")).collect()
}

/// How many GPUs can be used. Errors: what is missing, one of a few words.
fn find_gpus(worker: Option<&Path>, shown: &Path) -> Result<usize, &'static str> {
    let count = gpus(shown).ok_or("no NVIDIA driver")?;
    if count == 0 {
        return Err("no GPU");
    }
    if !worker.is_some_and(Path::is_file) {
        return Err("no sconce-worker beside the server's program");
    }
    Ok(count)
}

/// How many GPUs the driver shows; `None` without a driver.
fn gpus(shown: &Path) -> Option<usize> {
    fs::read_dir(shown).ok().map(Iterator::count)
}

/// Where the worker's program is, unless the configuration says where.
pub fn worker_beside_server() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.with_file_name(WORKER))
}

/// Tells of one worker to those who watch readiness, and to the monitor; its supervisor tells the log.
pub(super) struct Watch {
    device: String,
    registry: OnceLock<Weak<Registry>>,
    supervisor: OnceLock<Weak<Supervisor>>,
}

impl Watch {
    /// From now on these models may be more or less ready.
    pub(super) fn tells(&self, registry: &Arc<Registry>) {
        let _once = self.registry.set(Arc::downgrade(registry));
    }
}

impl WorkerEvents for Watch {
    fn changed(&self, _state: &WorkerState) {
        if let Some(registry) = self.registry.get().and_then(Weak::upgrade) {
            registry.tell_change();
        }
    }
}

impl WorkerView for Watch {
    fn device(&self) -> &str {
        &self.device
    }

    fn is_up(&self) -> bool {
        let supervisor = self.supervisor.get().and_then(Weak::upgrade);
        supervisor.is_some_and(|supervisor| matches!(supervisor.state(), WorkerState::Up(_)))
    }

    fn restarts(&self) -> u64 {
        self.supervisor.get().and_then(Weak::upgrade).map_or(0, |supervisor| supervisor.restarts())
    }

    fn memory_bytes(&self) -> u64 {
        match self.supervisor.get().and_then(Weak::upgrade).map(|supervisor| supervisor.state()) {
            Some(WorkerState::Up(about)) => about.memory_total,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{cuda_devices, find_gpus};

    #[test]
    fn what_is_missing_for_a_gpu_is_told() {
        let folder = std::env::temp_dir().join(format!("sconce-gpus-{}", std::process::id()));
        let (shown, worker) = (folder.join("gpus"), folder.join("sconce-worker"));
        assert_eq!(find_gpus(Some(&worker), &shown), Err("no NVIDIA driver"));
        fs::create_dir_all(&shown).expect("a folder");
        assert_eq!(find_gpus(Some(&worker), &shown), Err("no GPU"));
        fs::create_dir_all(shown.join("0000:01:00.0")).expect("a GPU");
        fs::create_dir_all(shown.join("0000:02:00.0")).expect("a GPU");
        assert_eq!(find_gpus(Some(&worker), &shown), Err("no sconce-worker beside the server's program"));
        fs::write(&worker, b"").expect("a program");
        assert_eq!(find_gpus(Some(&worker), &shown), Ok(2));
        assert_eq!(cuda_devices(2), ["cuda:0", "cuda:1"]);
        fs::remove_dir_all(folder).expect("removed");
    }
}
