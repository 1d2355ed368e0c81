//! JPEG: baseline and progressive, Huffman-coded, 8 bits a sample; to the bit what libjpeg-turbo, and so Pillow, makes of it.
//!
//! Our own, since the decoders that there are in Rust differ from libjpeg by up to 7 of 255 where colours change: transform,
//! upsampling and conversion are rounded otherwise. Numbers in parentheses are sections of ITU-T T.81.

mod bits;
mod block;
mod colour;
mod frame;
mod huffman;
mod markers;
mod scan;
mod transform;
mod upsample;

use std::collections::HashSet;

use self::bits::Bits;
use self::block::{Block, in_place};
use self::colour::Colours;
use self::frame::Frame;
use self::huffman::Huffman;
use self::markers::{Marker, Markers};
use self::scan::{Part, Scan};
use self::upsample::Plane;
use super::{Damage, Orientation, Picture, exif};

/// Most scans of an image: a progressive one has about ten. Each may go through all blocks for a few bytes.
const SCANS_MAX: usize = 64;

impl Damage {
    /// A scan's code was never defined.
    const NO_TABLE: Self = Self::Wrong("a Huffman table is missing");
}

/// A JPEG whose header was read.
pub(super) struct Jpeg<'a> {
    markers: Markers<'a>,
    tables: Tables,
    frame: Frame,
}

/// What markers have defined so far.
#[derive(Default)]
struct Tables {
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    restart: usize,
    /// Was there a JFIF marker?
    jfif: bool,
    /// The transform that an Adobe marker tells.
    adobe: Option<u8>,
    orientation: Orientation,
}

/// What scans have told of a component.
struct Content {
    quantisation: Option<[u16; 64]>,
    /// Of a progressive image.
    coefficients: Vec<Block>,
    samples: Vec<u8>,
}

impl<'a> Jpeg<'a> {
    /// Reads everything before the first scan.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Damage> {
        let mut markers = Markers::new(bytes)?;
        let mut tables = Tables::default();
        loop {
            match markers.next()? {
                Marker::Frame { progressive, body } => {
                    let frame = Frame::read(body, progressive)?;
                    return Ok(Self { markers, tables, frame });
                }
                Marker::Scan(_) | Marker::End => return Err(Damage::Wrong("it has no frame header")),
                other => tables.note(&other)?,
            }
        }
    }

    /// Width and height, as they are stored.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.frame.width, self.frame.height)
    }

    /// Bytes that decoding takes, beside the picture.
    pub(super) fn bytes(&self) -> usize {
        self.frame.bytes()
    }

    /// The picture.
    pub(super) fn decode(mut self) -> Result<(Picture, Orientation), Damage> {
        let mut contents: Vec<Content> =
            self.frame.components.iter().map(|part| Content::new(part, &self.frame)).collect();
        let (mut scans, mut seen) = (0, HashSet::new());
        loop {
            match self.markers.next()? {
                Marker::Scan(body) => {
                    scans += 1;
                    if scans > SCANS_MAX {
                        return Err(Damage::Unsupported(format!("more than {SCANS_MAX} scans")));
                    }
                    let scan = self.tables.scan(body, &self.frame)?;
                    for part in &scan.parts {
                        let again = !seen.insert(part.component) && !self.frame.progressive;
                        if again {
                            return Err(Damage::Wrong("a component has two scans"));
                        }
                        self.tables.latch(&self.frame, part.component, &mut contents)?;
                    }
                    let end = run(&scan, &self.frame, self.markers.bits(), &mut contents)?;
                    self.markers.go_on(end);
                }
                Marker::Frame { .. } => return Err(Damage::Wrong("it has two frames")),
                Marker::End => break,
                other => self.tables.note(&other)?,
            }
        }
        if seen.len() != self.frame.components.len() {
            return Err(Damage::Wrong("a component has no scan"));
        }
        let colours = Colours::of(&self.frame, self.tables.jfif, self.tables.adobe);
        let planes = self.planes(contents);
        Ok((picture(&self.frame, &planes, colours), self.tables.orientation))
    }

    fn planes(&self, contents: Vec<Content>) -> Vec<Plane> {
        let most = self.frame.most;
        let parts = self.frame.components.iter().zip(contents);
        let plane = |(component, content): (&frame::Component, Content)| {
            let stride = component.blocks.0 * 8;
            Plane {
                samples: content.finish(component.blocks.0),
                stride,
                width: component.size.0,
                height: component.size.1,
                spread: (most.0 / component.factors.0, most.1 / component.factors.1),
            }
        };
        parts.map(plane).collect()
    }
}

impl Tables {
    /// Notes what a marker defines.
    fn note(&mut self, marker: &Marker<'_>) -> Result<(), Damage> {
        match marker {
            Marker::Quantisation(body) => self.quantisation(body)?,
            Marker::Huffman(body) => self.huffman(body)?,
            Marker::Restart(groups) => self.restart = *groups,
            Marker::App(0, [b'J', b'F', b'I', b'F', 0, ..]) => self.jfif = true,
            Marker::App(1, [b'E', b'x', b'i', b'f', 0, 0, body @ ..]) => self.orientation = exif::orientation(body),
            Marker::App(14, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..]) => {
                self.adobe = Some(*transform);
            }
            _ => {}
        }
        Ok(())
    }

    /// Tables of steps (B.2.4.1).
    fn quantisation(&mut self, mut body: &[u8]) -> Result<(), Damage> {
        while let Some((head, rest)) = body.split_first() {
            let wide = head >> 4 != 0;
            let (table, after) = rest.split_at_checked(if wide { 128 } else { 64 }).ok_or(Damage::CutShort)?;
            let mut steps = [0; 64];
            if wide {
                let (pairs, _) = table.as_chunks::<2>();
                steps.iter_mut().zip(pairs).for_each(|(step, pair)| *step = u16::from_be_bytes(*pair));
            } else {
                steps.iter_mut().zip(table).for_each(|(step, byte)| *step = u16::from(*byte));
            }
            let place = self.quantisation.get_mut(usize::from(head & 15));
            *place.ok_or(Damage::Wrong("a quantisation table has an impossible number"))? = Some(in_place(&steps));
            body = after;
        }
        Ok(())
    }

    /// Tables of codes (B.2.4.2).
    fn huffman(&mut self, mut body: &[u8]) -> Result<(), Damage> {
        while let Some((head, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(Damage::CutShort)?;
            let count: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, after) = rest.split_at_checked(count).ok_or(Damage::CutShort)?;
            let tables = if head >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let place = tables.get_mut(usize::from(head & 15));
            *place.ok_or(Damage::Wrong("a Huffman table has an impossible number"))? =
                Some(Huffman::new(*counts, symbols)?);
            body = after;
        }
        Ok(())
    }

    /// The header of a scan (B.2.3).
    fn scan(&self, body: &[u8], frame: &Frame) -> Result<Scan<'_>, Damage> {
        let [count @ 1..=4, rest @ ..] = body else { return Err(Damage::Wrong("a scan has no components")) };
        let (parts, last) = rest.split_at_checked(usize::from(*count) * 2).ok_or(Damage::CutShort)?;
        let [first, end, bits, ..] = last else { return Err(Damage::CutShort) };
        let mut scan = Scan {
            parts: Vec::new(),
            band: (usize::from(*first), usize::from(*end)),
            bits: (u32::from(bits >> 4), u32::from(bits & 15)),
            restart: self.restart,
        };
        for [id, tables] in parts.as_chunks::<2>().0 {
            let component = frame.components.iter().position(|component| component.id == *id);
            let component = component.ok_or(Damage::Wrong("a scan has an unknown component"))?;
            if scan.parts.iter().any(|part| part.component == component) {
                return Err(Damage::Wrong("a scan has a component twice"));
            }
            let dc = self.dc.get(usize::from(tables >> 4)).and_then(Option::as_ref);
            let ac = self.ac.get(usize::from(tables & 15)).and_then(Option::as_ref);
            scan.parts.push(Part { component, dc, ac });
        }
        scan.check(frame)?;
        Ok(scan)
    }

    /// A component has the quantisation table that is known when its first scan begins.
    fn latch(&self, frame: &Frame, component: usize, contents: &mut [Content]) -> Result<(), Damage> {
        let (Some(content), Some(component)) = (contents.get_mut(component), frame.components.get(component)) else {
            return Ok(());
        };
        if content.quantisation.is_none() {
            let table = self.quantisation.get(component.table).copied().flatten();
            content.quantisation = Some(table.ok_or(Damage::Wrong("a quantisation table is missing"))?);
        }
        Ok(())
    }
}

impl Content {
    fn new(component: &frame::Component, frame: &Frame) -> Self {
        let blocks = component.blocks.0 * component.blocks.1;
        let kept = if frame.progressive { blocks } else { 0 };
        Self { quantisation: None, coefficients: vec![[0; 64]; kept], samples: vec![0; blocks * 64] }
    }

    /// Puts the samples of a block in their places.
    fn place(samples: &mut [u8], blocks_across: usize, at: usize, block: &[u8; 64]) {
        let stride = blocks_across * 8;
        let first = (at / blocks_across) * stride * 8 + (at % blocks_across) * 8;
        let lines = samples.get_mut(first..).unwrap_or_default().chunks_mut(stride);
        for (line, own) in lines.zip(block.as_chunks::<8>().0) {
            if let Some(place) = line.first_chunk_mut::<8>() {
                *place = *own;
            }
        }
    }

    /// The samples, once all scans are read.
    fn finish(self, blocks_across: usize) -> Vec<u8> {
        let Self { quantisation, coefficients, mut samples } = self;
        let table = quantisation.unwrap_or([0; 64]);
        for (at, block) in coefficients.iter().enumerate() {
            Self::place(&mut samples, blocks_across, at, &transform::invert(block, &table));
        }
        samples
    }
}

/// Reads a scan. Returns where its data ends.
fn run(scan: &Scan<'_>, frame: &Frame, bits: Bits<'_>, contents: &mut [Content]) -> Result<usize, Damage> {
    scan.run(frame, bits, |component, at, reader| {
        let blocks_across = frame.components.get(component).map_or(1, |component| component.blocks.0);
        let Some(content) = contents.get_mut(component) else { return Ok(()) };
        if !frame.progressive {
            let mut block = [0; 64];
            reader.sequential(&mut block)?;
            let samples = transform::invert(&block, &content.quantisation.unwrap_or([0; 64]));
            Content::place(&mut content.samples, blocks_across, at, &samples);
            return Ok(());
        }
        let Some(block) = content.coefficients.get_mut(at) else { return Ok(()) };
        if scan.bits.0 == 0 { reader.first(block) } else { reader.refine(block) }
    })
}

fn picture(frame: &Frame, planes: &[Plane], colours: Colours) -> Picture {
    let mut pixels = Vec::with_capacity(frame.width * frame.height * 3);
    let mut lines = vec![vec![0; frame.width]; planes.len()];
    for y in 0..frame.height {
        for (plane, line) in planes.iter().zip(&mut lines) {
            plane.line(y, line);
        }
        colours.convert(&lines, &mut pixels);
    }
    Picture { width: frame.width, height: frame.height, pixels, transparent: None }
}
