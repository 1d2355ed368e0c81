//! The markers of a JPEG, one after the other (B.1.1).

use super::Damage;
use super::bits::Bits;

/// A marker and what it carries.
pub(super) enum Marker<'a> {
    Frame {
        progressive: bool,
        body: &'a [u8],
    },
    Scan(&'a [u8]),
    Quantisation(&'a [u8]),
    Huffman(&'a [u8]),
    /// Groups between two restarts.
    Restart(usize),
    App(u8, &'a [u8]),
    /// Something that pixels do not depend on.
    Other,
    End,
}

/// Goes from marker to marker.
pub(super) struct Markers<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Markers<'a> {
    /// Errors: the image does not begin as it should.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Damage> {
        if bytes.starts_with(&[0xff, 0xd8]) { Ok(Self { bytes, at: 2 }) } else { Err(Damage::CutShort) }
    }

    /// The next marker; between two of them anything may stand, as it may for libjpeg.
    pub(super) fn next(&mut self) -> Result<Marker<'a>, Damage> {
        let bits = Bits::new(self.bytes, self.at);
        let at = bits.end();
        let code = *self.bytes.get(at + 1).ok_or(Damage::CutShort)?;
        self.at = at + 2;
        match code {
            0xd9 => return Ok(Marker::End),
            // Those without a body.
            0x01 | 0xd0..=0xd8 => return Ok(Marker::Other),
            _ => {}
        }
        let body = self.body()?;
        Ok(match code {
            0xc0..=0xc2 => Marker::Frame { progressive: code == 0xc2, body },
            0xc4 => Marker::Huffman(body),
            0xc9..=0xcf => return Err(unsupported("arithmetic coding")),
            0xc3 | 0xc5..=0xc7 => return Err(unsupported("lossless or hierarchical coding")),
            0xda => Marker::Scan(body),
            0xdb => Marker::Quantisation(body),
            0xdd => match body {
                [high, low] => Marker::Restart(usize::from(u16::from_be_bytes([*high, *low]))),
                _ => return Err(Damage::Wrong("a restart interval is no number")),
            },
            0xe0..=0xef => Marker::App(code - 0xe0, body),
            _ => Marker::Other,
        })
    }

    /// The bits after the header of a scan.
    pub(super) fn bits(&self) -> Bits<'a> {
        Bits::new(self.bytes, self.at)
    }

    /// Goes on from where a scan has ended.
    pub(super) fn go_on(&mut self, at: usize) {
        self.at = at;
    }

    fn body(&mut self) -> Result<&'a [u8], Damage> {
        let length = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<2>).ok_or(Damage::CutShort)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length < 2 {
            return Err(Damage::Wrong("a marker has an impossible length"));
        }
        let body = self.bytes.get(self.at + 2..self.at + length).ok_or(Damage::CutShort)?;
        self.at += length;
        Ok(body)
    }
}

fn unsupported(what: &str) -> Damage {
    Damage::Unsupported(format!("{what}; baseline and progressive are supported"))
}
