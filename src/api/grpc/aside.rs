//! Work that would hold up the network's other calls.

use crate::types::{Error, Reason};

/// Runs work where it holds nobody up: here if it is little, else on a thread of its own.
///
/// Errors: the server is shutting down.
pub(super) async fn aside<T: Send + 'static>(
    much: bool,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if !much {
        return work();
    }
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(Error::new(Reason::Panic, format!("decode a message: {error}"))))
}
