//! Images against what Pillow makes of them, and images that are none.

mod hostile;
mod pictures;
mod resize;

use super::Encoded;
use super::Picture;

fn decode(bytes: &[u8]) -> Result<Picture, String> {
    Encoded::read(bytes).and_then(Encoded::decode)
}
