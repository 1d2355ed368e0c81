//! How tensors lie in the staging area.

/// Where a tensor may begin: what vector instructions and copies to a device are fastest from.
const ALIGNMENT: u64 = 64;
/// The area's first size: what a small model's batch takes, so that most areas never grow.
const AREA_BYTES_MIN: u64 = 64 * 1024;
/// Bytes of a batch, with its outputs, which the other side may make us copy.
pub const AREA_BYTES_MAX: u64 = 4 << 30;

/// The first place at or behind `offset` where a tensor may begin.
pub fn aligned(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGNMENT)
}

/// How large an area is made that has to hold `bytes`: it grows by doubling, since both sides map it anew each time.
///
/// `None` if that is more than an area may have.
pub fn area_bytes(bytes: u64) -> Option<u64> {
    (bytes <= AREA_BYTES_MAX).then(|| bytes.max(AREA_BYTES_MIN).next_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::{AREA_BYTES_MAX, aligned, area_bytes};

    #[test]
    fn areas_double_up_to_their_limit() {
        let sizes = [1, 65_537, AREA_BYTES_MAX, AREA_BYTES_MAX + 1].map(area_bytes);
        assert_eq!(sizes, [Some(65_536), Some(131_072), Some(AREA_BYTES_MAX), None]);
        assert_eq!([0, 1, 64, 65].map(aligned), [0, 64, 64, 128]);
    }
}
