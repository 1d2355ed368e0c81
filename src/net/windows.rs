//! Flow-control windows: what clients may send before anyone reads it, for all connections together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The protocol's own size: less is no use.
const LEAST: usize = 64 << 10;
/// More does not make a fast network faster.
const MOST: usize = 4 << 20;
/// A connection gets so small a part of what is free that there is always some for the next.
const PART: usize = 16;

/// Bytes that all windows together may have.
#[derive(Debug)]
pub(super) struct Windows {
    free: AtomicUsize,
}

/// One connection's window; given back when dropped.
#[derive(Debug)]
pub(super) struct Window {
    windows: Arc<Windows>,
    taken: usize,
    size: u32,
}

impl Windows {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { free: AtomicUsize::new(bytes_max) })
    }

    /// A sixteenth of what is free, 64 KiB at least and 4 MiB at most. The first few connections get the most, and if
    /// there are very many each still gets the least.
    pub(super) fn open(self: &Arc<Self>) -> Window {
        let size = (self.free.load(Relaxed) / PART).clamp(LEAST, MOST);
        let take = |free: usize| Some(free.saturating_sub(size));
        let before = self.free.fetch_update(Relaxed, Relaxed, take).unwrap_or(0);
        let size_max = u32::try_from(size).unwrap_or(u32::MAX);
        Window { windows: Arc::clone(self), taken: size.min(before), size: size_max }
    }
}

impl Window {
    /// Bytes.
    pub(super) fn size(&self) -> u32 {
        self.size
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.windows.free.fetch_add(self.taken, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAST, MOST, Windows};

    #[test]
    fn many_connections_share_what_there_is() {
        let all = 256 << 20;
        let windows = Windows::new(all);
        let open: Vec<_> = (0..10_000).map(|_| windows.open()).collect();
        assert_eq!((open[0].size() as usize, open[9_999].size() as usize), (MOST, LEAST));
        let large: usize = open.iter().map(|window| window.size() as usize).filter(|size| *size > LEAST).sum();
        assert!(large <= all);
        drop(open);
        assert_eq!(windows.free.load(std::sync::atomic::Ordering::Relaxed), all);
    }
}
