//! Bits of a JPEG's scans, where a byte 0xff that is no marker is followed by a zero.

use super::Damage;

/// Reads bits, highest first, up to the next marker.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, from the highest on; zeros after the last.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// Reads from byte `at` of `data` on.
    pub(super) fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at, buffer: 0, count: 0 }
    }

    /// The next 16 bits, zeros where the data has ended.
    pub(super) fn peek(&mut self) -> usize {
        if self.count < 16 {
            self.refill();
        }
        (self.buffer >> 48) as usize
    }

    /// Goes past `count` bits that were peeked at, at most 16. Errors: the data has ended before.
    pub(super) fn skip(&mut self, count: u32) -> Result<(), Damage> {
        self.count = self.count.checked_sub(count).ok_or(Damage::CutShort)?;
        self.buffer <<= count;
        Ok(())
    }

    /// The next `count` bits, at most 16, as a number. Errors: the data has ended before.
    pub(super) fn take(&mut self, count: u32) -> Result<i32, Damage> {
        let bits = self.peek() >> (16 - count.min(16));
        self.skip(count)?;
        Ok(i32::try_from(bits).unwrap_or(0))
    }

    /// A number of `size` bits whose first bit says that it is positive (F.2.2.1, EXTEND).
    pub(super) fn signed(&mut self, size: u32) -> Result<i32, Damage> {
        let bits = self.take(size)?;
        let half = (1_i32 << size) >> 1;
        Ok(if bits < half { bits - (1 << size) + 1 } else { bits })
    }

    /// Goes past the restart marker of this number. Errors: something else is there.
    pub(super) fn restart(&mut self, number: u8) -> Result<(), Damage> {
        let marker = self.end();
        match self.data.get(marker..) {
            Some([0xff, code, ..]) if *code == 0xd0 + number => {
                *self = Self::new(self.data, marker + 2);
                Ok(())
            }
            Some([0xff, _, ..]) => Err(Damage::Wrong("a restart marker is missing")),
            _ => Err(Damage::CutShort),
        }
    }

    /// Where the next marker begins, or the data ends. Fill bytes before it are gone past.
    pub(super) fn end(&self) -> usize {
        let mut at = self.at;
        while let Some(byte) = self.data.get(at) {
            if *byte == 0xff && self.data.get(at + 1).is_none_or(|next| !matches!(next, 0 | 0xff)) {
                break;
            }
            at += 1;
        }
        at
    }

    fn refill(&mut self) {
        while self.count <= 56 {
            let Some(byte) = self.data.get(self.at) else { return };
            if *byte == 0xff {
                if self.data.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.buffer |= u64::from(*byte) << (56 - self.count);
            self.count += 8;
        }
    }
}
