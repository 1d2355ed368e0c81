//! What a JPEG's frame header says: its sizes, its components, and how they are sampled.

use super::Damage;

/// Bytes of an image's components, in memory.
const BLOCK: usize = 64;

/// The header of a frame (B.2.2).
pub(super) struct Frame {
    pub(super) progressive: bool,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: Vec<Component>,
    /// Largest sampling factors, across and down.
    pub(super) most: (usize, usize),
    /// Groups of blocks in which components are interleaved, across and down.
    pub(super) groups: (usize, usize),
}

/// A component, and the blocks that it has.
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors, across and down.
    pub(super) factors: (usize, usize),
    /// Which quantisation table is its own.
    pub(super) table: usize,
    /// Samples that belong to the image.
    pub(super) size: (usize, usize),
    /// Blocks in memory: those of whole groups.
    pub(super) blocks: (usize, usize),
}

impl Frame {
    /// `body`: what follows the marker and length; `progressive` as the marker says.
    pub(super) fn read(body: &[u8], progressive: bool) -> Result<Self, Damage> {
        let [precision, h1, h0, w1, w0, count, rest @ ..] = body else { return Err(Damage::CutShort) };
        if *precision != 8 {
            return Err(Damage::Unsupported(format!("{precision} bits a sample; 8 are supported")));
        }
        let (height, width) =
            (usize::from(u16::from_be_bytes([*h1, *h0])), usize::from(u16::from_be_bytes([*w1, *w0])));
        if height == 0 || width == 0 {
            return Err(Damage::Wrong("it has no pixels"));
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(Damage::Unsupported(format!("{count} components; 1, 3 or 4 are supported")));
        }
        let (parts, _) = rest.as_chunks::<3>();
        if parts.len() != usize::from(*count) {
            return Err(Damage::Wrong("its frame header has another length than its components take"));
        }
        let factors = |packed: u8| (usize::from(packed >> 4), usize::from(packed & 15));
        let parts = || parts.iter().map(|[id, packed, table]| (*id, factors(*packed), usize::from(*table)));
        if parts().any(|(_, (across, down), table)| !(1..=4).contains(&across) || !(1..=4).contains(&down) || table > 3)
        {
            return Err(Damage::Wrong("its components have impossible sampling factors"));
        }
        let most = parts().fold((1, 1), |most, (_, own, _)| (most.0.max(own.0), most.1.max(own.1)));
        if parts().any(|(_, (across, down), _)| most.0 % across != 0 || most.1 % down != 0) {
            return Err(Damage::Unsupported("sampling factors that do not divide each other".to_owned()));
        }
        let groups = (width.div_ceil(most.0 * 8), height.div_ceil(most.1 * 8));
        let components = parts().map(|(id, factors, table)| Component {
            id,
            factors,
            table,
            size: ((width * factors.0).div_ceil(most.0), (height * factors.1).div_ceil(most.1)),
            blocks: (groups.0 * factors.0, groups.1 * factors.1),
        });
        Ok(Self { progressive, width, height, components: components.collect(), most, groups })
    }

    /// Bytes of samples, and of coefficients where they are kept.
    pub(super) fn bytes(&self) -> usize {
        let blocks: usize = self.components.iter().map(|component| component.blocks.0 * component.blocks.1).sum();
        blocks * if self.progressive { BLOCK * 3 } else { BLOCK }
    }
}
