//! How many files the process may open: raised to what the system allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Descriptors beside those of connections: files, threads, listeners.
const OTHERS: u64 = 64;

/// Raises the soft limit to the hard one, as servers do; warns where `connections` would not find enough.
pub(super) fn raise_limit(connections: usize) {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(error) => {
            debug!(%error, "raise the limit of open files");
            before.current
        }
    };
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        warn!(limit, needed, "the limit of open files is below what limits.connections_max needs");
    }
}
