//! Which processes models run in: what the configuration asks for, and what the machine has.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use tracing::{info, warn};

use crate::config::{Config, DeviceChoice};
use crate::device::wire::CUDA;
use crate::device::{
    DRIVER, Gpus, NoGpu, PROBE_MAX, Supervisor, WorkerEvents, WorkerSettings, WorkerState, find_gpus, shown_gpus,
};
use crate::monitor::{Monitor, WorkerView};
use crate::registry::{Accelerators, Registry};

/// The worker's program.
const WORKER: &str = "sconce-worker";

/// Starts the workers that the configuration asks for. Where it leaves the choice, what is missing for a GPU is told in the
/// log, by a metric and by readiness.
pub(super) fn start(config: &Config, monitor: &Arc<Monitor>, faults: bool) -> (Accelerators, Vec<Arc<Watch>>) {
    let path = config.worker.path.clone().or_else(worker_beside_server);
    let Chosen { devices, left_out } = match config.device {
        DeviceChoice::Cpu => Chosen::default(),
        DeviceChoice::Worker => Chosen { devices: vec!["cpu".to_owned()], ..Chosen::default() },
        DeviceChoice::Cuda => Chosen { devices: all_gpus(Path::new(DRIVER)), ..Chosen::default() },
        DeviceChoice::Auto => choose(find_gpus(path.as_deref(), Path::new(DRIVER), PROBE_MAX), monitor),
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
    let (supervisors, watches) = devices.into_iter().map(start).unzip();
    (Accelerators::new(supervisors, left_out, config.worker.start_timeout), watches)
}

/// Devices that get a worker, and those that get none, with the reason.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chosen {
    devices: Vec<String>,
    left_out: Vec<(String, String)>,
}

/// What was found is used; what was not is told, once.
fn choose(found: Result<Gpus, NoGpu>, monitor: &Monitor) -> Chosen {
    match found {
        Ok(Gpus { usable, left_out }) => {
            for (device, why) in &left_out {
                warn!(device, why, "a GPU is left out");
            }
            Chosen { devices: usable, left_out }
        }
        Err(no_gpu) => {
            let (missing, detail) = (no_gpu.missing.label(), &no_gpu.detail);
            monitor.no_gpu(missing);
            if no_gpu.missing.is_fault() {
                warn!(missing, detail, "the GPU cannot be used; models run on the server's own cores");
            } else {
                info!(missing, detail, "models run on the server's own cores");
            }
            Chosen { devices: Vec::new(), left_out: vec![(CUDA.to_owned(), no_gpu.to_string())] }
        }
    }
}

/// One device for each GPU that the driver shows; the first where it shows none, whose worker will tell why it cannot start.
fn all_gpus(shown: &Path) -> Vec<String> {
    (0..shown_gpus(shown).unwrap_or(1).max(1)).map(|at| format!("{CUDA}:{at}")).collect()
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

    /// While there is one.
    fn supervisor(&self) -> Option<Arc<Supervisor>> {
        self.supervisor.get().and_then(Weak::upgrade)
    }

    fn state(&self) -> Option<WorkerState> {
        self.supervisor().map(|supervisor| supervisor.state())
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
        matches!(self.state(), Some(WorkerState::Up(_)))
    }

    fn restarts(&self) -> u64 {
        self.supervisor().map_or(0, |supervisor| supervisor.restarts())
    }

    fn memory_bytes(&self) -> u64 {
        if let Some(WorkerState::Up(about)) = self.state() { about.memory_total } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::{Chosen, all_gpus, choose};
    use crate::device::{Gpus, Missing, NoGpu};
    use crate::monitor::{Monitor, Settings};

    fn monitor() -> Arc<Monitor> {
        Monitor::new(Settings::default())
    }

    #[test]
    fn what_is_missing_is_a_label_and_what_is_found_is_used() {
        let no_gpu = NoGpu { missing: Missing::WorkingDriver, detail: "CUDA_ERROR_NO_DEVICE".to_owned() };
        let (without, told) = (monitor(), "the driver does not work with the worker: CUDA_ERROR_NO_DEVICE");
        let left_out = vec![("cuda".to_owned(), told.to_owned())];
        assert_eq!(choose(Err(no_gpu), &without), Chosen { devices: Vec::new(), left_out });
        let page = without.render(Instant::now());
        assert!(page.contains("sconce_gpu_missing{reason=\"the driver does not work with the worker\"} 1"), "{page}");
        let (some, with) = (Gpus { usable: vec!["cuda:1".to_owned()], left_out: Vec::new() }, monitor());
        let devices = vec!["cuda:1".to_owned()];
        assert_eq!(choose(Ok(some), &with), Chosen { devices, ..Chosen::default() });
        assert!(!with.render(Instant::now()).contains("sconce_gpu_missing{"));
    }

    #[test]
    fn without_a_choice_each_gpu_is_tried_that_is_shown() {
        let shown = std::env::temp_dir().join(format!("sconce-gpus-{}", std::process::id()));
        assert_eq!(all_gpus(&shown), ["cuda:0"]);
        fs::create_dir_all(shown.join("0000:01:00.0")).expect("a GPU");
        fs::create_dir_all(shown.join("0000:02:00.0")).expect("a GPU");
        assert_eq!(all_gpus(&shown), ["cuda:0", "cuda:1"]);
        fs::remove_dir_all(shown).expect("removed");
    }
}
