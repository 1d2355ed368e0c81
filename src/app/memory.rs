//! Watches the process's memory and acts on it: connections are shed, requests refused.

use std::sync::Arc;

use tokio::time::{Duration, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::guard::{Admission, Pressure};
use crate::monitor::resident_bytes;
use crate::net::Shed;

const EVERY: Duration = Duration::from_millis(100);

/// Watches until `stop`. Cancel safe.
pub(super) async fn watch(admission: Arc<Admission>, shed: Shed, stop: CancellationToken) {
    let memory = admission.memory();
    let mut ticks = interval(EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let Some(resident) = resident_bytes() else { return };
        let before = memory.pressure();
        let pressure = memory.observe(usize::try_from(resident).unwrap_or(usize::MAX));
        if pressure > Pressure::Normal && before == Pressure::Normal {
            shed.shed();
        }
        let limit = memory.limit();
        match pressure {
            _ if pressure == before => {}
            Pressure::Normal => info!(resident, limit, "enough memory again"),
            Pressure::Draining => warn!(resident, limit, "memory is short: connections are told to go"),
            Pressure::Refusing => warn!(resident, limit, "memory is nearly used up: requests are refused"),
        }
    }
}
