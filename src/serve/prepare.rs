//! Makes a model's rows of what clients send, on a pool of its own: reading texts and images takes too long for the network's
//! threads, and must not hold up the devices' either.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::check::Checked;
use super::entry::Entry;
use super::pipeline::expired;
use crate::device::Cores;
use crate::model::Prepared;
use crate::registry::Deployment;
use crate::types::{Error, Reason, Rows};

/// Requests that may wait for the pool; each takes a fraction of a millisecond, or some for an image.
const WAITING_MAX: usize = 1024;

/// The pool, and what waits for it.
pub(super) struct Preparer {
    pool: Cores,
    waiting: Arc<AtomicUsize>,
}

impl Preparer {
    pub(super) fn new(pool: Cores) -> Self {
        Self { pool, waiting: Arc::default() }
    }

    /// The request's rows, until `until`. Takes the inputs out of `checked`.
    ///
    /// Errors: what the model's [`crate::model::Prepare`] finds wrong; the pool is full; the deadline passed; more than may
    /// ever wait. Cancel safe: what has begun ends for nobody.
    pub(super) async fn rows(
        &self,
        deployment: &Deployment,
        checked: &mut Checked,
        entry: &Arc<Entry>,
        until: Instant,
    ) -> Result<Prepared, Error> {
        let inputs = std::mem::take(&mut checked.inputs);
        let Some(prepare) = deployment.about.prepare.clone() else {
            let rows = Rows::uniform(inputs.into_iter().flatten().collect(), checked.rows);
            return Ok(Prepared { rows, truncated: Vec::new() });
        };
        let place = Place::take(&self.waiting)?;
        let (done, prepared) = oneshot::channel();
        let room = Arc::clone(entry);
        self.pool.spawn(move || {
            let _place = place;
            if done.is_closed() {
                return;
            }
            let work = AssertUnwindSafe(|| prepare.prepare(inputs, &mut |bytes| room.grow(bytes)));
            // The receiver may have gone; then nobody wants to know.
            let _gone = done.send(catch_unwind(work).unwrap_or_else(|_| Err(panicked())));
        });
        let answered = tokio::time::timeout_at(until, prepared).await;
        let prepared = answered.map_err(|_| expired(entry))?.unwrap_or_else(|_| Err(panicked()))?;
        fits(deployment, &prepared.rows)?;
        Ok(prepared)
    }
}

/// More than a queue holds can never wait in it.
fn fits(deployment: &Deployment, rows: &Rows) -> Result<(), Error> {
    let limits = deployment.limits();
    let (size, most, unit) = (rows.size(), limits.queue_size_max, limits.unit.name());
    if size <= most {
        return Ok(());
    }
    Err(Error::new(Reason::TooBig, format!("{size} {unit} in one request exceed the model's limit of {most}")))
}

fn panicked() -> Error {
    Error::new(Reason::Panic, "the server failed on these inputs")
}

/// A place among those that wait.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>) -> Result<Self, Error> {
        let place = Self(Arc::clone(waiting));
        if waiting.fetch_add(1, Relaxed) >= WAITING_MAX {
            let detail = format!("{WAITING_MAX} requests wait already for their texts or images to be read");
            return Err(Error::new(Reason::PrepareFull, detail));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Place, WAITING_MAX};
    use crate::types::Reason;

    #[test]
    fn no_more_wait_than_may() {
        let waiting = Arc::default();
        let mut places: Vec<Place> = (0..WAITING_MAX).map(|_| Place::take(&waiting).expect("a place")).collect();
        for _ in 0..2 {
            let error = Place::take(&waiting).expect_err("full");
            let told = "1024 requests wait already for their texts or images to be read";
            assert_eq!((error.reason(), error.detail()), (Reason::PrepareFull, told));
        }
        places.pop();
        assert!(Place::take(&waiting).is_ok());
    }
}
