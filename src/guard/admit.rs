//! Admission: how many requests and bytes the whole server may hold at once, as permits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::types::{Error, Reason};

const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Counts what is in flight against two limits.
#[derive(Debug)]
pub struct Admission {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    requests_max: usize,
    bytes_max: usize,
}

/// Room for one request; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Admission {
    /// Room for `requests_max` requests of `bytes_max` bytes together.
    pub fn new(requests_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { requests: AtomicUsize::new(0), bytes: AtomicUsize::new(0), requests_max, bytes_max })
    }

    /// Lets a request of `bytes` bytes in. Errors: [`Reason::InFlight`], naming the limit that was reached.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Result<Permit, Error> {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // From here on the permit gives both back, also on refusal.
        let permit = Permit { admission: Arc::clone(self), bytes };
        if requests >= self.requests_max {
            let detail = format!("{requests} requests are in flight, the limit is {}", self.requests_max);
            return Err(Error::new(Reason::InFlight, detail).retry_after(RETRY_AFTER));
        }
        if held.saturating_add(bytes) > self.bytes_max {
            let detail = format!("{held} bytes are in flight, {bytes} more exceed the limit of {}", self.bytes_max);
            return Err(Error::new(Reason::InFlight, detail).retry_after(RETRY_AFTER));
        }
        Ok(permit)
    }

    /// Requests in flight.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of requests in flight.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.requests.fetch_sub(1, Ordering::Relaxed);
        self.admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Admission;

    #[test]
    fn limits_hold_and_permits_come_back() {
        let admission = Admission::new(2, 100);
        let first = admission.admit(60).expect("room");
        let refused = admission.admit(50).expect_err("too many bytes");
        assert_eq!(refused.detail(), "60 bytes are in flight, 50 more exceed the limit of 100");
        let second = admission.admit(40).expect("room");
        let refused = admission.admit(0).expect_err("too many requests");
        assert_eq!(refused.detail(), "2 requests are in flight, the limit is 2");
        drop((first, second));
        assert_eq!((admission.requests(), admission.bytes()), (0, 0));
    }
}
