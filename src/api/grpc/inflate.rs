//! Inflates a compressed message as it arrives, within the byte budget and the limit of a message.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::write::{GzDecoder, ZlibDecoder};

use crate::serve::Entry;
use crate::types::{Error, Reason};

/// Room is taken from the budget in steps of so many bytes.
const STEP: usize = 64 << 10;
/// Flag and length, which come before a message.
pub(super) const PREFIX: usize = 5;

/// How a message is compressed, by the header `grpc-encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    /// zlib's format, by gRPC's custom.
    Deflate,
}

/// A message on its way from compressed to plain.
pub(super) enum Inflate {
    Gzip(GzDecoder<Plain>),
    Deflate(ZlibDecoder<Plain>),
}

impl Inflate {
    pub(super) fn new(encoding: Encoding, bytes_max: usize, entry: Option<Arc<Entry>>) -> Self {
        let plain = Plain::new(bytes_max, entry);
        match encoding {
            Encoding::Gzip => Self::Gzip(GzDecoder::new(plain)),
            Encoding::Deflate => Self::Deflate(ZlibDecoder::new(plain)),
        }
    }

    /// Takes compressed bytes. Errors: they are not what is expected, too much comes of them, or the budget has no room.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = match self {
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Deflate(decoder) => decoder.write_all(bytes),
        };
        written.map_err(|error| self.refused(&error))
    }

    /// What has come of it so far.
    pub(super) fn so_far(&self) -> &[u8] {
        self.plain().message.get(PREFIX..).unwrap_or_default()
    }

    /// The whole message, with the prefix of a plain one. Errors: it is cut off, or its checksum is wrong.
    pub(super) fn finish(mut self) -> Result<Bytes, Error> {
        let finished = match &mut self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Deflate(decoder) => decoder.try_finish(),
        };
        finished.map_err(|error| self.refused(&error))?;
        let plain = self.plain_mut();
        let mut message = std::mem::take(&mut plain.message);
        let length = u32::try_from(message.len() - PREFIX).unwrap_or(u32::MAX);
        if let Some(place) = message.get_mut(1..PREFIX) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        Ok(message.freeze())
    }

    fn refused(&mut self, error: &io::Error) -> Error {
        let refusal = self.plain_mut().refusal.take();
        refusal.unwrap_or_else(|| Error::invalid(format!("the compressed message cannot be inflated: {error}")))
    }

    fn plain(&self) -> &Plain {
        match self {
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Deflate(decoder) => decoder.get_ref(),
        }
    }

    fn plain_mut(&mut self) -> &mut Plain {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
        }
    }
}

/// Where the plain bytes go, after room was made for them.
pub(super) struct Plain {
    /// A plain message's prefix, then its bytes.
    message: BytesMut,
    bytes_max: usize,
    entry: Option<Arc<Entry>>,
    /// Bytes for which room was taken.
    room: usize,
    refusal: Option<Error>,
}

impl Plain {
    fn new(bytes_max: usize, entry: Option<Arc<Entry>>) -> Self {
        let mut message = BytesMut::new();
        message.put_bytes(0, PREFIX);
        Self { message, bytes_max, entry, room: 0, refusal: None }
    }

    fn make_room(&mut self, bytes: usize) -> Result<(), Error> {
        let length = self.message.len() - PREFIX + bytes;
        if length > self.bytes_max {
            return Err(too_big(self.bytes_max));
        }
        if length > self.room {
            let room = length.next_multiple_of(STEP).min(self.bytes_max);
            if let Some(entry) = &self.entry {
                entry.grow(room - self.room)?;
            }
            self.room = room;
        }
        Ok(())
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.make_room(bytes.len()) {
            self.refusal = Some(error);
            return Err(io::Error::other("no room"));
        }
        self.message.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A message over the limit.
pub(super) fn too_big(bytes_max: usize) -> Error {
    Error::new(Reason::TooBig, format!("the request message is larger than the limit of {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::{Encoding, Inflate};
    use crate::types::Reason;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn inflate(encoding: Encoding, bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, crate::types::Error> {
        let mut inflate = Inflate::new(encoding, bytes_max, None);
        for part in bytes.chunks(7) {
            inflate.feed(part)?;
        }
        inflate.finish().map(|message| message.to_vec())
    }

    #[test]
    fn both_formats_come_back_with_a_plain_prefix() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"hello").expect("memory");
        let zlib = encoder.finish().expect("memory");
        let expected = b"\0\0\0\0\x05hello";
        assert_eq!(inflate(Encoding::Gzip, &gzip(b"hello"), 5).expect("plain"), expected);
        assert_eq!(inflate(Encoding::Deflate, &zlib, 5).expect("plain"), expected);
    }

    #[test]
    fn what_grows_too_large_or_is_broken_is_refused() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert_eq!(inflate(Encoding::Gzip, &bomb, 1 << 19).expect_err("too big").reason(), Reason::TooBig);
        let cut = &bomb[..bomb.len() - 3];
        assert_eq!(inflate(Encoding::Gzip, cut, 1 << 20).expect_err("cut off").reason(), Reason::Invalid);
        let mut wrong = gzip(b"hello");
        *wrong.last_mut().expect("bytes") ^= 1;
        for bytes in [&wrong[..], &[&gzip(b"hello")[..], b"more"].concat(), b"nonsense"] {
            assert_eq!(inflate(Encoding::Gzip, bytes, 100).expect_err("broken").reason(), Reason::Invalid);
        }
    }
}
