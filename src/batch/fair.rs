//! Fairness among the clients of one queue: start-time fair queueing (Goyal, Vin and Cheng 1996), counted in rows.
//!
//! Every item gets a tag: the row at which it would begin if the clients that wait took turns row by row. The least tag
//! goes first. A client alone is served in order of arrival; one that floods the queue waits behind those that do not.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Who waits, and how far each has been served.
#[derive(Debug, Default)]
pub(super) struct Fair {
    /// Tag of the item that was served last: virtual time.
    now: u64,
    clients: HashMap<u64, Account, BuildHasherDefault<Number>>,
}

/// Hashes the server's own numbers of its clients, which nobody outside can choose.
#[derive(Debug, Default)]
struct Number(u64);

impl Hasher for Number {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Knuth's multiplicative hashing: the golden ratio of 2^64.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug, Default)]
struct Account {
    /// Rows that wait.
    rows: usize,
    /// Where its last item ends.
    end: u64,
}

impl Fair {
    /// Rows of `client` that wait.
    pub(super) fn rows(&self, client: u64) -> usize {
        self.clients.get(&client).map_or(0, |account| account.rows)
    }

    /// The tag that the next item of `client` would get.
    pub(super) fn next_tag(&self, client: u64) -> u64 {
        self.clients.get(&client).map_or(self.now, |account| account.end.max(self.now))
    }

    /// An item of `rows` rows begins to wait; its tag.
    pub(super) fn arrived(&mut self, client: u64, rows: usize) -> u64 {
        let account = self.clients.entry(client).or_default();
        let tag = account.end.max(self.now);
        account.end = tag.saturating_add(rows as u64);
        account.rows += rows;
        tag
    }

    /// An item was taken to be served.
    pub(super) fn served(&mut self, client: u64, rows: usize, tag: u64) {
        self.now = self.now.max(tag);
        let Some(account) = self.clients.get_mut(&client) else { return };
        account.rows = account.rows.saturating_sub(rows);
        if account.rows == 0 && account.end <= self.now {
            self.clients.remove(&client);
        }
    }

    /// An item left without being served. That is not held against its client, as far as its other items keep their order.
    pub(super) fn withdrawn(&mut self, client: u64, rows: usize, tag: u64) {
        let Some(account) = self.clients.get_mut(&client) else { return };
        if account.end == tag.saturating_add(rows as u64) {
            account.end = tag;
        }
        account.rows = account.rows.saturating_sub(rows);
        if account.rows == 0 {
            self.clients.remove(&client);
        }
    }

    /// Nothing waits any more: nobody has anything to make up for.
    pub(super) fn idle(&mut self) {
        self.clients.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Fair;

    #[test]
    fn a_newcomer_begins_beside_those_who_wait() {
        let mut fair = Fair::default();
        let tags: Vec<u64> = (0..4).map(|_| fair.arrived(1, 10)).collect();
        assert_eq!((tags, fair.rows(1)), (vec![0, 10, 20, 30], 40));
        fair.served(1, 10, 0);
        fair.served(1, 10, 10);
        assert_eq!((fair.next_tag(2), fair.arrived(2, 1), fair.arrived(2, 1)), (10, 10, 11));
    }

    #[test]
    fn what_was_not_served_is_not_held_against_its_client() {
        let mut fair = Fair::default();
        let tags: Vec<u64> = (0..100).map(|_| fair.arrived(1, 1)).collect();
        tags[50..].iter().rev().for_each(|tag| fair.withdrawn(1, 1, *tag));
        assert_eq!((fair.rows(1), fair.next_tag(1)), (50, 50));
        tags[..49].iter().for_each(|tag| fair.withdrawn(1, 1, *tag));
        assert_eq!((fair.rows(1), fair.next_tag(1)), (1, 50), "behind the one that waits");
        fair.withdrawn(1, 1, 49);
        assert!(fair.clients.is_empty());
    }
}
