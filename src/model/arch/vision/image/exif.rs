//! The orientation of an image, as Exif tells it: a TIFF within the image.

use super::Orientation;

const ORIENTATION: u16 = 0x0112;

/// The orientation that a TIFF's first directory tells; upright if it tells none, or is damaged.
pub(super) fn orientation(tiff: &[u8]) -> Orientation {
    find(tiff).map_or(Orientation::default(), Orientation::from_exif)
}

fn find(tiff: &[u8]) -> Option<u32> {
    let little = match tiff.first_chunk::<4>()? {
        b"II\x2a\0" => true,
        b"MM\0\x2a" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk::<2>()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk::<4>()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let directory = usize::try_from(long(4)?).ok()?;
    for entry in 0..usize::from(short(directory)?) {
        let at = directory.checked_add(2 + entry * 12)?;
        if short(at)? == ORIENTATION {
            // Types 3 and 4: a short or long number, which stands in the entry itself.
            return match short(at + 2)? {
                3 => short(at + 8).map(u32::from),
                4 => long(at + 8),
                _ => None,
            };
        }
    }
    None
}
