//! The workers' processes, and what is missing for a GPU.

use std::sync::Arc;

use super::catalogue as named;
use super::page::{Page, float};

/// What can be seen of a worker's process.
pub trait WorkerView: Send + Sync {
    /// Which device it computes on.
    fn device(&self) -> &str;
    /// Is it there?
    fn is_up(&self) -> bool;
    /// How often it was started again.
    fn restarts(&self) -> u64;
    /// Memory of its device; 0 while it is not there.
    fn memory_bytes(&self) -> u64;
}

/// What is shown of all of them.
#[derive(Default)]
pub(super) struct Workers {
    pub(super) views: Vec<Arc<dyn WorkerView>>,
    /// Why the server uses no GPU, where it was to look for one.
    pub(super) no_gpu: Option<&'static str>,
}

impl Workers {
    pub(super) fn show(&self, page: &mut Page) {
        if let Some(reason) = self.no_gpu {
            page.gauge(named::GPU_MISSING, &[reason], 1.0);
        }
        for view in &self.views {
            let device = [view.device()];
            page.gauge(named::WORKER_UP, &device, f64::from(u8::from(view.is_up())));
            page.counter(named::WORKER_RESTARTS, &device, view.restarts());
            page.gauge(named::DEVICE_MEMORY, &device, float(view.memory_bytes()));
        }
    }
}
