//! The coefficients of a block: all at once, or in a progressive image a few at a time and bit by bit.

use super::Damage;
use super::bits::Bits;
use super::scan::Part;

/// Where the coefficients of a block stand, in the order of a scan.
const ORDER: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];
const BEYOND: Damage = Damage::Wrong("a block has more coefficients than there can be");

/// Coefficients of a block, row by row.
pub(super) type Block = [i16; 64];

/// Numbers in the order of a scan as they stand in a block.
pub(super) fn in_place(numbers: &[u16; 64]) -> [u16; 64] {
    let mut placed = [0; 64];
    for (place, number) in ORDER.into_iter().zip(numbers) {
        placed[place] = *number;
    }
    placed
}

/// What one block tells the next.
#[derive(Default)]
pub(super) struct State {
    /// The first coefficient of the block before, of each part of the scan.
    means: [i32; 4],
    /// How many blocks have no more coefficients in this band.
    ended: i32,
}

/// Reads one block of a scan.
pub(super) struct Reader<'a, 'b> {
    pub(super) part: Part<'a>,
    /// Which part of the scan it is.
    pub(super) at: usize,
    /// First and last coefficient of the scan.
    pub(super) band: (usize, usize),
    /// The lowest bit that the scan knows.
    pub(super) after: u32,
    pub(super) bits: &'a mut Bits<'b>,
    pub(super) state: &'a mut State,
}

impl Reader<'_, '_> {
    /// All coefficients (F.2.2).
    pub(super) fn sequential(&mut self, block: &mut Block) -> Result<(), Damage> {
        block[0] = narrow(self.mean()?);
        let mut at = 1;
        while at < 64 {
            let (zeros, size) = self.run_and_size()?;
            if size == 0 {
                if zeros < 15 {
                    break;
                }
                at += 16;
                continue;
            }
            let place = ORDER.get(at + zeros).ok_or(BEYOND)?;
            block[*place] = narrow(self.bits.signed(size)?);
            at += zeros + 1;
        }
        Ok(())
    }

    /// The upper bits of the coefficients in the band (G.1.2.1, G.1.2.2).
    pub(super) fn first(&mut self, block: &mut Block) -> Result<(), Damage> {
        if self.band.0 == 0 {
            block[0] = narrow(self.mean()?.saturating_mul(1 << self.after));
            return Ok(());
        }
        if self.state.ended > 0 {
            self.state.ended -= 1;
            return Ok(());
        }
        let mut at = self.band.0;
        while at <= self.band.1 {
            let (zeros, size) = self.run_and_size()?;
            if size == 0 {
                if zeros < 15 {
                    self.state.ended = self.blocks_ended(zeros)? - 1;
                    break;
                }
                at += 16;
                continue;
            }
            let place = ORDER.get(at + zeros).ok_or(BEYOND)?;
            block[*place] = narrow(self.bits.signed(size)?.saturating_mul(1 << self.after));
            at += zeros + 1;
        }
        Ok(())
    }

    /// One more bit of the coefficients in the band (G.1.2.1, G.1.2.3).
    pub(super) fn refine(&mut self, block: &mut Block) -> Result<(), Damage> {
        let bit = narrow(1 << self.after);
        if self.band.0 == 0 {
            if self.bits.take(1)? == 1 {
                block[0] |= bit;
            }
            return Ok(());
        }
        let mut at = self.band.0;
        while at <= self.band.1 && self.state.ended == 0 {
            let (zeros, size) = self.run_and_size()?;
            if size == 0 && zeros < 15 {
                self.state.ended = self.blocks_ended(zeros)?;
                break;
            }
            let new = match (size, self.bits.take(size.min(1))?) {
                (0, _) => 0,
                (_, 1) => bit,
                _ => -bit,
            };
            at = self.refine_known(block, at, Some(zeros), bit)?;
            if new != 0 {
                let place = ORDER.get(at).filter(|_| at <= self.band.1).ok_or(BEYOND)?;
                block[*place] = new;
            }
            at += 1;
        }
        if self.state.ended > 0 {
            self.refine_known(block, at, None, bit)?;
            self.state.ended -= 1;
        }
        Ok(())
    }

    /// Refines what is known from coefficient `at` on, past so many zeros. Returns the place of the zero after them, or the end
    /// of the band.
    fn refine_known(&mut self, block: &mut Block, at: usize, zeros: Option<usize>, bit: i16) -> Result<usize, Damage> {
        let mut zeros = zeros.unwrap_or(usize::MAX);
        for (at, place) in ORDER.iter().enumerate().take(self.band.1 + 1).skip(at) {
            let known = &mut block[*place];
            if *known == 0 {
                if zeros == 0 {
                    return Ok(at);
                }
                zeros -= 1;
            } else if self.bits.take(1)? == 1 && *known & bit == 0 {
                *known = known.saturating_add(if *known > 0 { bit } else { -bit });
            }
        }
        Ok(self.band.1 + 1)
    }

    /// The first coefficient, which is told as the difference from the block before.
    fn mean(&mut self) -> Result<i32, Damage> {
        let size = self.part.dc.ok_or(Damage::NO_TABLE)?.next(self.bits)?;
        if size > 11 {
            return Err(Damage::Code);
        }
        let difference = self.bits.signed(u32::from(size))?;
        let mean = &mut self.state.means[self.at];
        *mean = mean.saturating_add(difference);
        Ok(*mean)
    }

    /// How many zeros, and the size of the coefficient after them.
    fn run_and_size(&mut self) -> Result<(usize, u32), Damage> {
        let packed = self.part.ac.ok_or(Damage::NO_TABLE)?.next(self.bits)?;
        Ok((usize::from(packed >> 4), u32::from(packed & 15)))
    }

    /// How many blocks end here, this one included.
    fn blocks_ended(&mut self, size: usize) -> Result<i32, Damage> {
        let size = u32::try_from(size).unwrap_or(0);
        Ok((1 << size) + self.bits.take(size)?)
    }
}

fn narrow(number: i32) -> i16 {
    i16::try_from(number.clamp(i16::MIN.into(), i16::MAX.into())).unwrap_or(0)
}
