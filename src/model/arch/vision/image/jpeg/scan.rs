//! The scans of a JPEG: which blocks of which components they go through.

use super::Damage;
use super::bits::Bits;
use super::block::{Reader, State};
use super::frame::Frame;
use super::huffman::Huffman;

/// The header of a scan (B.2.3), with the codes that it uses.
pub(super) struct Scan<'a> {
    /// Index of each component in the frame, and its codes.
    pub(super) parts: Vec<Part<'a>>,
    /// First and last coefficient.
    pub(super) band: (usize, usize),
    /// The bit from which on coefficients were known before, 0 if they were not, and the one from which on they are then.
    pub(super) bits: (u32, u32),
    /// Groups between two restarts; 0 if there are none.
    pub(super) restart: usize,
}

/// A component of a scan. A code is missing if it was never defined.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) component: usize,
    pub(super) dc: Option<&'a Huffman>,
    pub(super) ac: Option<&'a Huffman>,
}

impl Scan<'_> {
    /// Checks what the header says against the frame (G.1.1.1).
    pub(super) fn check(&self, frame: &Frame) -> Result<(), Damage> {
        let ((first, last), (before, after)) = (self.band, self.bits);
        let fits = if frame.progressive {
            let band = if first == 0 { last == 0 } else { first <= last && last < 64 && self.parts.len() == 1 };
            band && after <= 13 && (before == 0 || before == after + 1)
        } else {
            (first, last, before, after) == (0, 63, 0, 0)
        };
        if fits { Ok(()) } else { Err(Damage::Wrong("a scan has impossible parameters")) }
    }

    /// Goes through all blocks. `block` is given the component, the place of the block among its blocks, and what reads it.
    /// Returns where the scan's data ends.
    pub(super) fn run(
        &self,
        frame: &Frame,
        mut bits: Bits<'_>,
        mut block: impl FnMut(usize, usize, &mut Reader<'_, '_>) -> Result<(), Damage>,
    ) -> Result<usize, Damage> {
        let groups = self.groups(frame);
        let mut state = State::default();
        for group in 0..groups.0 * groups.1 {
            if self.restart > 0 && group > 0 && group.is_multiple_of(self.restart) {
                bits.restart(u8::try_from((group / self.restart - 1) % 8).unwrap_or(0))?;
                state = State::default();
            }
            let (x, y) = (group % groups.0, group / groups.0);
            for (at, part) in self.parts.iter().enumerate() {
                let Some(component) = frame.components.get(part.component) else { continue };
                let (across, down) = if self.parts.len() == 1 { (1, 1) } else { component.factors };
                for inner in 0..across * down {
                    let line = y * down + inner / across;
                    let place = line * component.blocks.0 + x * across + inner % across;
                    let mut reader = Reader {
                        part: *part,
                        at,
                        band: self.band,
                        after: self.bits.1,
                        bits: &mut bits,
                        state: &mut state,
                    };
                    block(part.component, place, &mut reader)?;
                }
            }
        }
        Ok(bits.end())
    }

    /// How many groups of blocks there are, across and down: those of the image, or of one component alone.
    fn groups(&self, frame: &Frame) -> (usize, usize) {
        match self.parts.as_slice() {
            [part] => frame
                .components
                .get(part.component)
                .map_or((0, 0), |component| (component.size.0.div_ceil(8), component.size.1.div_ceil(8))),
            _ => frame.groups,
        }
    }
}
