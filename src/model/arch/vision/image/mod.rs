//! Encoded images and their pixels.
//!
//! Deliberately absent: models, requests. Everything that is wrong with an image is a [`Damage`].

mod exif;
mod jpeg;
mod picture;
mod png;
mod resize;
#[cfg(test)]
mod tests;

use std::fmt;

use self::jpeg::Jpeg;
use self::picture::Orientation;
pub(super) use self::picture::{Part, Picture};
use self::png::Png;
pub(super) use self::resize::{Filter, First, resize};

/// Most pixels of an image.
const PIXELS_MAX: usize = 1 << 26;
/// Largest side, that of a JPEG: a longer one would make much of little while it is resized.
const SIDE_MAX: usize = 0xffff;

/// Why an image cannot be decoded. Reads as the end of a sentence that names the format.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// It ends before everything is there.
    CutShort,
    /// Bits that stand for nothing.
    Code,
    /// Something that no such image has.
    Wrong(&'static str),
    /// Something that such an image may have, but is not supported.
    Unsupported(String),
    /// What a library says.
    Said(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort => out.write_str("it is cut short"),
            Self::Code => out.write_str("it is damaged: a code that stands for nothing"),
            Self::Wrong(what) => write!(out, "it is damaged: {what}"),
            Self::Unsupported(what) => write!(out, "not supported: {what}"),
            Self::Said(what) => write!(out, "it is damaged: {what}"),
        }
    }
}

/// An encoded image whose header was read and found to be within limits.
pub(super) struct Encoded<'a>(Header<'a>);

enum Header<'a> {
    Jpeg(Box<Jpeg<'a>>),
    Png(Box<Png<'a>>),
}

impl<'a> Encoded<'a> {
    /// Reads the header. Errors: what is wrong, with the format's name.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let header = match format(bytes) {
            Format::Jpeg => Jpeg::read(bytes).map(|jpeg| Header::Jpeg(Box::new(jpeg))),
            Format::Png => Png::read(bytes).map(|png| Header::Png(Box::new(png))),
            Format::Other(name) => return Err(format!("expected a JPEG or PNG, got {name}")),
        };
        let header = header.map_err(|damage| format!("{}: {damage}", format(bytes).name()))?;
        let encoded = Self(header);
        let (width, height) = encoded.size();
        let is_long = width.max(height) > SIDE_MAX;
        match width.checked_mul(height) {
            Some(1..=PIXELS_MAX) if !is_long => Ok(encoded),
            _ => Err(format!(
                "{width} x {height} pixels; expected sides of at most {SIDE_MAX} and at most {PIXELS_MAX} in all"
            )),
        }
    }

    /// Most bytes that decoding takes, the picture and a turned copy of it included.
    pub(super) fn bytes(&self) -> usize {
        let (width, height) = self.size();
        let own = match &self.0 {
            Header::Jpeg(jpeg) => jpeg.bytes(),
            Header::Png(png) => png.bytes(),
        };
        // The sides were multiplied at the start.
        own.saturating_add(width * height * 6)
    }

    /// The picture, turned as its orientation says. Errors: what is wrong, with the format's name.
    pub(super) fn decode(self) -> Result<Picture, String> {
        let (name, decoded) = match self.0 {
            Header::Jpeg(jpeg) => ("JPEG", jpeg.decode()),
            Header::Png(png) => ("PNG", png.decode()),
        };
        let (picture, orientation) = decoded.map_err(|damage| format!("{name}: {damage}"))?;
        Ok(picture.turned(orientation))
    }

    /// Width and height, as they are stored.
    pub(super) fn size(&self) -> (usize, usize) {
        match &self.0 {
            Header::Jpeg(jpeg) => jpeg.size(),
            Header::Png(png) => png.size(),
        }
    }
}

/// What the first bytes say.
enum Format {
    Jpeg,
    Png,
    Other(&'static str),
}

impl Format {
    fn name(&self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Other(name) => name,
        }
    }
}

fn format(bytes: &[u8]) -> Format {
    match bytes {
        [] => Format::Other("no bytes"),
        [0xff, 0xd8, 0xff, ..] => Format::Jpeg,
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Format::Png,
        [b'G', b'I', b'F', b'8', ..] => Format::Other("a GIF"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Format::Other("a WebP"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Format::Other("a TIFF"),
        [b'B', b'M', ..] => Format::Other("a BMP"),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Format::Other("a HEIF, AVIF or video"),
        [0, 0, 0, 12, b'j', b'P', ..] => Format::Other("a JPEG 2000"),
        _ => Format::Other("something else"),
    }
}
