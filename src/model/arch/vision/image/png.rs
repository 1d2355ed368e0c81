//! PNG: every colour type and depth, as Pillow's `convert("RGB")` makes pixels of them.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Info, Limits, Reader, Transformations};

use super::{Damage, Orientation, Picture, exif};

/// What the library may allocate for itself: lines, palettes.
const OWN_BYTES_MAX: usize = 16 << 20;

/// A PNG whose header was read.
pub(super) struct Png<'a> {
    reader: Reader<Cursor<&'a [u8]>>,
    bytes: usize,
}

impl<'a> Png<'a> {
    /// Reads everything before the pixels.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Damage> {
        let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: OWN_BYTES_MAX });
        decoder.set_transformations(Transformations::IDENTITY);
        // Both are compressed, and pixels do not depend on them.
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        let reader = decoder.read_info().map_err(|error| damage(&error))?;
        let bytes = reader.output_buffer_size().ok_or(Damage::Wrong("it has more pixels than can be counted"))?;
        Ok(Self { reader, bytes })
    }

    /// Width and height, as they are stored.
    pub(super) fn size(&self) -> (usize, usize) {
        let (width, height) = self.reader.info().size();
        (width as usize, height as usize)
    }

    /// Bytes that decoding takes, beside the picture.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The picture; of an animation, the image for programs that cannot show it.
    pub(super) fn decode(mut self) -> Result<(Picture, Orientation), Damage> {
        let (width, height) = self.size();
        let mut stored = vec![0; self.bytes];
        let line = self.reader.next_frame(&mut stored).map_err(|error| damage(&error))?.line_size;
        // The orientation may stand behind the pixels.
        self.reader.finish().map_err(|error| damage(&error))?;
        let info = self.reader.info();
        let orientation = info.exif_metadata.as_deref().map_or(Orientation::default(), exif::orientation);
        let mut pixels = Vec::with_capacity(width * height * 3);
        for line in stored.chunks_exact(line.max(1)).take(height) {
            match (info.color_type, info.bit_depth) {
                (ColorType::Indexed, depth) => {
                    let colours = info.palette.as_deref().unwrap_or_default().as_chunks::<3>().0;
                    let colour = |index: u8| colours.get(usize::from(index)).copied().unwrap_or([0; 3]);
                    pixels.extend(unpacked(line, depth).take(width).flat_map(colour));
                }
                (ColorType::Grayscale, BitDepth::Sixteen) => {
                    // Pillow's "I;16" is cut off, not scaled.
                    let gray = |[high, low]: &[u8; 2]| [if *high > 0 { u8::MAX } else { *low }; 3];
                    pixels.extend(line.as_chunks::<2>().0.iter().flat_map(gray));
                }
                (ColorType::Grayscale, depth) => {
                    let white = u8::MAX >> (8 - depth as u8);
                    let gray = |value: u8| [value * (u8::MAX / white); 3];
                    pixels.extend(unpacked(line, depth).take(width).flat_map(gray));
                }
                (colour, depth) => extend(&mut pixels, line, colour, depth),
            }
        }
        let transparent = transparent(info);
        Ok((Picture { width, height, pixels, transparent }, orientation))
    }
}

/// The one colour that is seen through, where Pillow finds one: another transparency is lost when it converts to RGB.
fn transparent(info: &Info<'_>) -> Option<[u8; 3]> {
    let told: &[u8] = info.trns.as_deref()?;
    match (info.color_type, info.bit_depth, told) {
        (ColorType::Rgb, BitDepth::Eight, [red, green, blue]) => Some([*red, *green, *blue]),
        (ColorType::Grayscale, BitDepth::Eight, [gray]) => Some([*gray; 3]),
        (ColorType::Indexed, ..) => {
            let index = told.iter().position(|alpha| *alpha == 0)?;
            let others_are_opaque = told.iter().enumerate().all(|(at, alpha)| at == index || *alpha == u8::MAX);
            let colours = info.palette.as_deref().filter(|_| others_are_opaque)?;
            colours.as_chunks::<3>().0.get(index).copied()
        }
        _ => None,
    }
}

/// Pixels of whole bytes. What is seen through is ignored; of 16 bits the upper 8 are kept.
fn extend(pixels: &mut Vec<u8>, line: &[u8], colour: ColorType, depth: BitDepth) {
    let step = if depth == BitDepth::Sixteen { 2 } else { 1 };
    let samples = colour.samples();
    for pixel in line.chunks_exact(samples * step) {
        let sample = |at: usize| pixel.get(at * step).copied().unwrap_or(0);
        pixels.extend(if samples < 3 { [sample(0); 3] } else { [sample(0), sample(1), sample(2)] });
    }
}

/// Numbers of 1, 2, 4 or 8 bits; there may be more than there are pixels.
fn unpacked(line: &[u8], depth: BitDepth) -> impl Iterator<Item = u8> {
    let bits = (depth as u8).min(8);
    line.iter().flat_map(move |byte| (0..8 / bits).map(move |at| (byte << (at * bits)) >> (8 - bits)))
}

fn damage(error: &DecodingError) -> Damage {
    match error {
        DecodingError::IoError(_) => Damage::CutShort,
        other => Damage::Said(other.to_string()),
    }
}
