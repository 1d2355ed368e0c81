//! A pipeline without models, for the tests of the doors.

use std::sync::Arc;

use tokio::time::Duration;

use crate::device::Cores;
use crate::guard::{Admission, Limits, Memory};
use crate::monitor::{Monitor, Settings};
use crate::registry::{Allowance, Pools, Registry};
use crate::serve::Pipeline;

/// Holds so many requests and bytes; its timeout is a minute.
pub(super) fn pipeline(requests_max: usize, bytes_max: usize) -> Arc<Pipeline> {
    let monitor = Monitor::new(Settings { page_age_max: Duration::ZERO, ..Settings::default() });
    let cores = Cores::new("test", 1).expect("a pool");
    let registry =
        Registry::new(Arc::clone(&monitor), Pools::alike(cores.clone()), Arc::new(|_, _, _| {}), Allowance::default());
    let admission = Admission::new(Limits { requests_max, bytes_max }, Memory::new(usize::MAX));
    Pipeline::new(registry, monitor, admission, cores, Duration::from_mins(1))
}
