//! What the whole server holds at once: requests and their bytes, as holds that are given back when dropped.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::memory::Memory;
use super::share::{Account, Pool, may_take};
use crate::types::{Error, Reason};

const RETRY_AFTER: Duration = Duration::from_millis(50);
/// α of a call of which nothing is known but its head: that of an urgent one; [`Hold::assign`] asks again.
const ALPHA_OF_HEAD: usize = 16;
/// α of bytes: that of the least urgent, since one message may be a good part of the limit.
const ALPHA_OF_BYTES: usize = 4;
/// A model's α is so many times a client's, so that no client alone uses up what its model may hold.
const MODEL_STEP: usize = 4;
/// Accounts of clients that have gone are looked for when there are so many more than at the last look.
const SWEEP_EVERY: usize = 256;

/// What the server may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight.
    pub requests_max: usize,
    /// Bytes of requests in flight, and of answers that their clients have not read yet.
    pub bytes_max: usize,
}

/// Counts what is in flight against the limits.
#[derive(Debug)]
pub struct Admission {
    requests: Pool,
    bytes: Pool,
    memory: Memory,
    clients: Mutex<Clients>,
    next_client: AtomicU64,
}

/// Clients that have a connection, by address.
#[derive(Debug, Default)]
struct Clients {
    by_address: HashMap<IpAddr, Weak<Client>>,
    sweep_at: usize,
}

/// One client of the server: everything that comes from one address.
#[derive(Debug)]
pub struct Client {
    address: IpAddr,
    number: u64,
    tenant: Tenant,
}

/// A holder of parts of the server's limits: a client, or a model.
#[derive(Debug, Default)]
pub struct Tenant {
    requests: Account,
    bytes: Account,
}

/// One request's part of the limits; given back when dropped.
#[derive(Debug)]
pub struct Hold {
    admission: Arc<Admission>,
    client: Arc<Client>,
    /// Whose rows it brings, once that is known.
    model: OnceLock<Arc<Tenant>>,
    bytes: AtomicUsize,
}

impl Client {
    /// A number of its own, for as long as the server runs.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Tenant {
    /// Its requests in flight.
    pub fn requests(&self) -> usize {
        self.requests.held()
    }

    fn leave(&self, bytes: usize) {
        self.requests.give(1);
        self.bytes.give(bytes);
    }
}

impl Admission {
    /// Nothing in flight yet.
    pub fn new(limits: Limits, memory: Memory) -> Arc<Self> {
        Arc::new(Self {
            requests: Pool::new(limits.requests_max),
            bytes: Pool::new(limits.bytes_max),
            memory,
            clients: Mutex::default(),
            next_client: AtomicU64::new(1),
        })
    }

    /// The client at `address`; the same one while any of its connections or requests is there.
    pub fn client(&self, address: IpAddr) -> Arc<Client> {
        let address = address.to_canonical();
        let mut clients = self.clients.lock();
        if let Some(client) = clients.by_address.get(&address).and_then(Weak::upgrade) {
            return client;
        }
        let number = self.next_client.fetch_add(1, Relaxed);
        let client = Arc::new(Client { address, number, tenant: Tenant::default() });
        clients.by_address.insert(address, Arc::downgrade(&client));
        if clients.by_address.len() > clients.sweep_at {
            clients.by_address.retain(|_, client| client.strong_count() > 0);
            clients.sweep_at = clients.by_address.len() + SWEEP_EVERY;
        }
        client
    }

    /// Lets one request of `client` in, of which nothing has been read but its head.
    ///
    /// Errors: [`Reason::Memory`], [`Reason::InFlight`], [`Reason::ClientShare`], each naming its limit.
    pub fn enter(self: &Arc<Self>, client: &Arc<Client>) -> Result<Hold, Error> {
        self.memory.admit(self.bytes.used(), self.bytes.max())?;
        let max = self.requests.max();
        let free = self.requests.take(1).map_err(|used| {
            let detail = format!("{used} requests are in flight, the limit is {max}");
            Error::new(Reason::InFlight, detail).retry_after(RETRY_AFTER)
        })?;
        if let Err(held) = client.tenant.requests.take(1, 0, free, ALPHA_OF_HEAD) {
            self.requests.give(1);
            return Err(unfair(client, held, "requests", free, ALPHA_OF_HEAD));
        }
        let (admission, client) = (Arc::clone(self), Arc::clone(client));
        Ok(Hold { admission, client, model: OnceLock::new(), bytes: AtomicUsize::new(0) })
    }

    /// Requests in flight.
    pub fn requests(&self) -> usize {
        self.requests.used()
    }

    /// Bytes that may be in flight.
    pub fn bytes_max(&self) -> usize {
        self.bytes.max()
    }

    /// Bytes in flight.
    pub fn bytes(&self) -> usize {
        self.bytes.used()
    }

    /// What is left of the server's memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl Hold {
    /// Whose request it is.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Bytes held for it.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Takes room for `amount` more bytes, before they are read.
    ///
    /// Errors: [`Reason::Memory`], [`Reason::InFlight`], [`Reason::ClientShare`]; nothing was taken then.
    pub fn grow(&self, amount: usize) -> Result<(), Error> {
        let bytes = &self.admission.bytes;
        self.admission.memory.admit(bytes.used().saturating_add(amount), bytes.max())?;
        let free = bytes.take(amount).map_err(|used| {
            let max = bytes.max();
            let detail = format!("{used} bytes are in flight, {amount} more exceed the limit of {max}");
            Error::new(Reason::InFlight, detail).retry_after(RETRY_AFTER)
        })?;
        if let Err(held) = self.client.tenant.bytes.take(amount, self.bytes(), free, ALPHA_OF_BYTES) {
            bytes.give(amount);
            return Err(unfair(&self.client, held, "bytes", free, ALPHA_OF_BYTES));
        }
        if let Some(model) = self.model.get() {
            model.bytes.force(amount);
        }
        self.bytes.fetch_add(amount, Relaxed);
        Ok(())
    }

    /// From now on it holds `bytes` bytes instead of what it held: the answer, its request being used up.
    pub fn become_answer(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Relaxed);
        let accounts = [Some(&self.client.tenant), self.model.get().map(|model| &**model)];
        for account in accounts.into_iter().flatten() {
            account.bytes.force(bytes);
            account.bytes.give(before);
        }
        self.admission.bytes.force(bytes);
        self.admission.bytes.give(before);
    }

    /// Counts it as a request for `model` at a level of this α, once; later calls change nothing.
    ///
    /// Errors: [`Reason::ClientShare`], [`Reason::ModelShare`] where client or model hold more than such a level may.
    pub fn assign(&self, model: &Arc<Tenant>, alpha: usize) -> Result<(), Error> {
        if self.model.get().is_some() {
            return Ok(());
        }
        let (admission, of_client) = (&self.admission, &self.client.tenant);
        let bytes = self.bytes();
        let pools = [
            (&admission.requests, "requests", 1, &of_client.requests, &model.requests),
            (&admission.bytes, "bytes", bytes, &of_client.bytes, &model.bytes),
        ];
        for (pool, what, amount, of_client, of_model) in pools {
            // As it was before this request came.
            let free = pool.free().saturating_add(amount);
            let held = of_client.held().saturating_sub(amount);
            if !may_take(amount, held, free, alpha) {
                return Err(unfair(&self.client, held, what, free, alpha));
            }
            let (held, alpha) = (of_model.held(), alpha * MODEL_STEP);
            if !may_take(amount, held, free, alpha) {
                let detail = format!(
                    "the model holds {held} {what} in flight, its share is {alpha} times the {free} that are free"
                );
                return Err(Error::new(Reason::ModelShare, detail).retry_after(RETRY_AFTER));
            }
        }
        if self.model.set(Arc::clone(model)).is_ok() {
            model.requests.force(1);
            model.bytes.force(bytes);
        }
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let bytes = self.bytes();
        self.admission.requests.give(1);
        self.admission.bytes.give(bytes);
        self.client.tenant.leave(bytes);
        if let Some(model) = self.model.get() {
            model.leave(bytes);
        }
    }
}

fn unfair(client: &Client, held: usize, what: &str, free: usize, alpha: usize) -> Error {
    let address = client.address;
    let detail =
        format!("client {address} holds {held} {what} in flight, its share is {alpha} times the {free} that are free");
    Error::new(Reason::ClientShare, detail).retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::{Admission, Client, Limits, Memory, Tenant};
    use crate::types::Reason;

    fn admission(requests_max: usize, bytes_max: usize) -> Arc<Admission> {
        Admission::new(Limits { requests_max, bytes_max }, Memory::new(1 << 30))
    }

    fn client(admission: &Admission, last: u8) -> Arc<Client> {
        admission.client(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn limits_hold_and_holds_come_back() {
        let admission = admission(2, 100);
        let client = client(&admission, 1);
        let first = admission.enter(&client).expect("room");
        first.grow(60).expect("room");
        let refused = first.grow(50).expect_err("too many bytes");
        assert_eq!(refused.detail(), "60 bytes are in flight, 50 more exceed the limit of 100");
        let second = admission.enter(&client).expect("room");
        let refused = admission.enter(&client).expect_err("too many requests");
        assert_eq!(refused.detail(), "2 requests are in flight, the limit is 2");
        assert_eq!(admission.bytes(), 60);
        first.become_answer(7);
        assert_eq!(admission.bytes(), 7);
        drop((first, second));
        assert_eq!((admission.requests(), admission.bytes(), client.tenant.requests()), (0, 0, 0));
    }

    #[test]
    fn a_greedy_client_leaves_room_for_another() {
        let admission = admission(340, 1 << 20);
        let (greedy, modest) = (client(&admission, 1), client(&admission, 2));
        let mut holds = Vec::new();
        let refused = loop {
            match admission.enter(&greedy) {
                Ok(hold) => holds.push(hold),
                Err(error) => break error,
            }
        };
        assert_eq!((refused.reason(), holds.len()), (Reason::ClientShare, 320));
        assert!(refused.detail().starts_with("client 10.0.0.1 holds 320 requests in flight"), "{refused}");
        admission.enter(&modest).expect("room for another");
    }

    #[test]
    fn a_request_may_grow_in_parts_as_it_may_at_once() {
        let admission = admission(10, 1000);
        let client = client(&admission, 1);
        let (whole, second) = (admission.enter(&client).expect("room"), admission.enter(&client).expect("room"));
        whole.grow(900).expect("who holds nothing may take what is free");
        drop(whole);
        for part in 0..9 {
            second.grow(100).unwrap_or_else(|error| panic!("part {part}: {error}"));
        }
        assert_eq!(second.grow(200).expect_err("no room").reason(), Reason::InFlight);
    }

    #[test]
    fn a_greedy_model_leaves_room_for_another() {
        let admission = admission(85, 1 << 20);
        let (busy, idle) = (Arc::<Tenant>::default(), Arc::<Tenant>::default());
        let mut holds = Vec::new();
        for last in 0..80 {
            // Each from a client of its own.
            let hold = admission.enter(&client(&admission, last)).expect("room");
            hold.assign(&busy, 4).expect("within its share");
            holds.push(hold);
        }
        let next = |last| admission.enter(&client(&admission, last)).expect("room");
        let refused = next(100).assign(&busy, 4).expect_err("beyond its share");
        assert_eq!(
            refused.detail(),
            "the model holds 80 requests in flight, its share is 16 times the 5 that are free"
        );
        assert_eq!(refused.reason(), Reason::ModelShare);
        next(101).assign(&busy, 16).expect("an urgent one finds room");
        next(102).assign(&idle, 4).expect("another model finds room");
        holds.clear();
        assert_eq!((busy.requests(), idle.requests()), (0, 0));
    }

    #[test]
    fn clients_are_told_apart_by_address_and_forgotten() {
        let admission = admission(1, 1);
        let one = client(&admission, 1);
        assert!(Arc::ptr_eq(&one, &admission.client("::ffff:10.0.0.1".parse().expect("an address"))));
        for number in 0..2000_u32 {
            admission.client(IpAddr::from(number.to_be_bytes()));
        }
        assert!(admission.clients.lock().by_address.len() <= 600);
        assert!(Arc::ptr_eq(&one, &client(&admission, 1)));
    }
}
