//! Huffman codes of a JPEG: a table for the short ones, and ranges by length for the others.

use super::Damage;
use super::bits::Bits;

const FAST_BITS: u32 = 9;
const LENGTH_MAX: u32 = 16;

/// A code for each of up to 256 symbols.
#[derive(Clone)]
pub(super) struct Huffman {
    /// By the next bits: length and symbol of the code that they begin with; length 0 for longer ones.
    fast: Vec<(u8, u8)>,
    /// Of each length from 1 on: the first code, how many there are, and where their symbols begin.
    ranges: [Range; 16],
    symbols: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
struct Range {
    first: usize,
    count: usize,
    at: usize,
}

impl Huffman {
    /// `counts`: how many codes there are of each length from 1 on. Errors: they do not fit, or there are not as many symbols.
    pub(super) fn new(counts: [u8; 16], symbols: &[u8]) -> Result<Self, Damage> {
        let mut fast = vec![(0, 0); 1 << FAST_BITS];
        let mut ranges = [Range::default(); 16];
        let (mut code, mut at) = (0_usize, 0);
        for ((length, count), range) in (1_u32..).zip(counts).zip(&mut ranges) {
            let count = usize::from(count);
            *range = Range { first: code, count, at };
            let own = symbols.get(at..at + count).ok_or(Damage::Wrong("a Huffman table is cut short"))?;
            if code + count > 1 << length {
                return Err(Damage::Wrong("a Huffman table has more codes than there can be"));
            }
            if length <= FAST_BITS {
                let width = 1 << (FAST_BITS - length);
                let places = fast.iter_mut().skip(code * width);
                let entries = own.iter().flat_map(|symbol| std::iter::repeat_n((length, *symbol), width));
                for (place, (length, symbol)) in places.zip(entries) {
                    *place = (u8::try_from(length).unwrap_or(0), symbol);
                }
            }
            code = (code + count) << 1;
            at += count;
        }
        let symbols = symbols.get(..at).unwrap_or_default().to_vec();
        Ok(Self { fast, ranges, symbols })
    }

    /// The next symbol. Errors: no code of the table, or the data has ended.
    pub(super) fn next(&self, bits: &mut Bits<'_>) -> Result<u8, Damage> {
        let peeked = bits.peek();
        if let Some((length @ 1.., symbol)) = self.fast.get(peeked >> (LENGTH_MAX - FAST_BITS)) {
            bits.skip(u32::from(*length))?;
            return Ok(*symbol);
        }
        for (length, range) in (1_u32..).zip(&self.ranges).skip(FAST_BITS as usize) {
            let code = peeked >> (LENGTH_MAX - length);
            if code < range.first + range.count {
                bits.skip(length)?;
                let place = code.checked_sub(range.first).map(|place| place + range.at);
                return place.and_then(|place| self.symbols.get(place)).copied().ok_or(Damage::Code);
            }
        }
        Err(Damage::Code)
    }
}
