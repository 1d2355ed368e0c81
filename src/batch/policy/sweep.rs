//! Takes out of what waits: what has expired, or all of it.

use tokio::time::Instant;

use super::Policy;
use crate::batch::item::Item;

impl<T> Policy<T> {
    /// Takes out what has expired. Cheap when nothing has.
    pub(in crate::batch) fn sweep(&mut self, now: Instant) -> Vec<Item<T>> {
        if self.deadline_floor.is_none_or(|floor| floor > now) {
            return Vec::new();
        }
        self.take_out(|item| item.deadline.is_some_and(|deadline| deadline <= now))
    }

    /// Takes out all that waits.
    pub(in crate::batch) fn clear(&mut self) -> Vec<Item<T>> {
        self.take_out(|_| true)
    }

    fn take_out(&mut self, goes: impl Fn(&Item<T>) -> bool) -> Vec<Item<T>> {
        let mut gone = Vec::new();
        for line in &mut self.lines {
            line.size = 0;
            for item in std::mem::take(&mut line.items) {
                if goes(&item) {
                    gone.push(item);
                } else {
                    line.size += item.size;
                    line.items.push_back(item);
                }
            }
        }
        for item in &gone {
            self.forget(item);
        }
        self.drop_empty_lines();
        let waiting = self.lines.iter().flat_map(|line| &line.items);
        self.deadline_floor = waiting.filter_map(|item| item.deadline).min();
        gone
    }
}
