//! Fairness among the clients of one queue: start-time fair queueing (Goyal, Vin and Cheng 1996), counted in sizes.
//!
//! Every item gets a tag: the place at which it would begin if the clients that wait took turns one by one. The least tag
//! goes first. A client alone is served in order of arrival; one that floods the queue waits behind those that do not.
//!
//! Within a client, classes of items take turns in the same way: its short texts do not wait behind its long ones, nor the
//! long ones behind ever more short ones. A client of several classes has several flows, each of which advances as many
//! times as fast, so that together they get one client's share.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use smallvec::SmallVec;

type ByNumber<K, V> = HashMap<K, V, BuildHasherDefault<Number>>;

/// Who waits, and how far each has been served.
#[derive(Debug, Default)]
pub(super) struct Fair {
    /// Tag of the item that was served last: virtual time.
    now: u64,
    clients: ByNumber<u64, Client>,
}

/// What waits of one client.
#[derive(Debug, Default)]
struct Client {
    size: usize,
    /// By class; few.
    flows: SmallVec<[Flow; 1]>,
}

/// What waits of one client's class.
#[derive(Debug)]
struct Flow {
    class: u8,
    size: usize,
    /// Where its last item ends.
    end: u64,
    /// Tag of the item that arrived last.
    last: u64,
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

impl Fair {
    /// Size of what waits of `client`.
    pub(super) fn size(&self, client: u64) -> usize {
        self.clients.get(&client).map_or(0, |client| client.size)
    }

    /// The tag that the next item of `client` would get in `class`.
    pub(super) fn next_tag(&self, client: u64, class: u8) -> u64 {
        let flow = self.clients.get(&client).and_then(|client| client.flows.iter().find(|flow| flow.class == class));
        flow.map_or(self.now, |flow| flow.end.max(self.now))
    }

    /// An item begins to wait; its tag.
    pub(super) fn arrived(&mut self, client: u64, class: u8, size: usize) -> u64 {
        let now = self.now;
        let client = self.clients.entry(client).or_default();
        client.size += size;
        let at = client.flows.iter().position(|flow| flow.class == class).unwrap_or_else(|| {
            client.flows.push(Flow { class, size: 0, end: now, last: now });
            client.flows.len() - 1
        });
        let flows = client.flows.iter().filter(|flow| flow.size > 0 || flow.class == class).count();
        let flow = &mut client.flows[at];
        let tag = flow.end.max(now);
        flow.end = tag.saturating_add((size as u64).saturating_mul(flows as u64));
        flow.size += size;
        flow.last = tag;
        tag
    }

    /// An item was taken to be served.
    pub(super) fn served(&mut self, client: u64, class: u8, size: usize, tag: u64) {
        self.now = self.now.max(tag);
        self.leave(client, class, size, |flow, now| flow.size == 0 && flow.end <= now);
    }

    /// An item left without being served. That is not held against its client, as far as its other items keep their order.
    pub(super) fn withdrawn(&mut self, client: u64, class: u8, size: usize, tag: u64) {
        let is_last = |flow: &Flow| flow.last == tag || tag.saturating_add(size as u64) == flow.end;
        if let Some(client) = self.clients.get_mut(&client)
            && let Some(flow) = client.flows.iter_mut().find(|flow| flow.class == class && is_last(flow))
        {
            flow.end = tag;
        }
        self.leave(client, class, size, |flow, _| flow.size == 0);
    }

    fn leave(&mut self, number: u64, class: u8, size: usize, is_over: impl Fn(&Flow, u64) -> bool) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.size = client.size.saturating_sub(size);
        if let Some(flow) = client.flows.iter_mut().find(|flow| flow.class == class) {
            flow.size = flow.size.saturating_sub(size);
        }
        client.flows.retain(|flow| !is_over(flow, self.now));
        if client.flows.is_empty() {
            self.clients.remove(&number);
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
        let tags: Vec<u64> = (0..4).map(|_| fair.arrived(1, 0, 10)).collect();
        assert_eq!((tags, fair.size(1)), (vec![0, 10, 20, 30], 40));
        fair.served(1, 0, 10, 0);
        fair.served(1, 0, 10, 10);
        assert_eq!((fair.next_tag(2, 0), fair.arrived(2, 0, 1), fair.arrived(2, 0, 1)), (10, 10, 11));
    }

    #[test]
    fn what_was_not_served_is_not_held_against_its_client() {
        let mut fair = Fair::default();
        let tags: Vec<u64> = (0..100).map(|_| fair.arrived(1, 0, 1)).collect();
        tags[50..].iter().rev().for_each(|tag| fair.withdrawn(1, 0, 1, *tag));
        assert_eq!((fair.size(1), fair.next_tag(1, 0)), (50, 50));
        tags[..49].iter().for_each(|tag| fair.withdrawn(1, 0, 1, *tag));
        assert_eq!((fair.size(1), fair.next_tag(1, 0)), (1, 50), "behind the one that waits");
        fair.withdrawn(1, 0, 1, 49);
        assert!(fair.clients.is_empty());
    }

    #[test]
    fn short_items_do_not_wait_behind_long_ones_nor_long_ones_for_ever() {
        let mut fair = Fair::default();
        let long: Vec<u64> = (0..3).map(|_| fair.arrived(1, 5, 512)).collect();
        let short: Vec<u64> = (0..100).map(|_| fair.arrived(1, 0, 8)).collect();
        assert_eq!(long, [0, 512, 1024]);
        // All short ones that are 512 in size together, twice as fast as a client of one class would be, go first.
        let before = short.iter().filter(|tag| **tag < long[1]).count();
        assert_eq!((short[0], before), (0, 32));
    }

    #[test]
    fn a_client_of_many_classes_gets_one_share() {
        let mut fair = Fair::default();
        for class in 0..4 {
            fair.arrived(1, class, 8);
        }
        let many: Vec<u64> = (0..40).map(|number| fair.arrived(1, number % 4, 8)).collect();
        let one: Vec<u64> = (0..40).map(|_| fair.arrived(2, 0, 8)).collect();
        let until = 160;
        let served = |tags: &[u64]| tags.iter().filter(|tag| **tag < until).count();
        assert!(served(&many).abs_diff(served(&one)) <= 4, "{} of many, {} of one", served(&many), served(&one));
    }
}
