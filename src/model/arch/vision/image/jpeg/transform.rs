//! The inverse cosine transform of a JPEG's blocks, as libjpeg's `jidctint.c` computes it ("islow"), bit for bit.
//!
//! Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications", ICASSP 1989, in integers
//! of 13 fractional bits. The columns come first and keep two bits more.

/// Numbers are held to what any real block stays far below, so that no sum overflows.
const LIMIT: i32 = (1 << 14) - 1;
const FRACTION: u32 = 13;
const KEPT: u32 = 2;

/// The samples of a block, row by row, of its coefficients in the same order and the quantisation table.
pub(super) fn invert(coefficients: &[i16; 64], table: &[u16; 64]) -> [u8; 64] {
    let mut numbers = [0; 64];
    for ((number, coefficient), step) in numbers.iter_mut().zip(coefficients).zip(table) {
        *number = (i32::from(*coefficient) * i32::from(*step)).clamp(-LIMIT, LIMIT);
    }
    if numbers.iter().skip(1).all(|number| *number == 0) {
        return [sample(((numbers[0] << KEPT) + 16) >> (KEPT + 3)); 64];
    }
    for column in 0..8 {
        let line = std::array::from_fn(|row| numbers[row * 8 + column]);
        let turned = line_of(line, FRACTION - KEPT);
        for (row, number) in turned.into_iter().enumerate() {
            numbers[row * 8 + column] = number.clamp(-LIMIT, LIMIT);
        }
    }
    let mut samples = [0; 64];
    let (lines, _) = numbers.as_chunks::<8>();
    for (line, places) in lines.iter().zip(samples.chunks_exact_mut(8)) {
        for (place, number) in places.iter_mut().zip(line_of(*line, FRACTION + KEPT + 3)) {
            *place = sample(number);
        }
    }
    samples
}

fn sample(number: i32) -> u8 {
    u8::try_from((number + 128).clamp(0, 255)).unwrap_or(0)
}

/// One line of eight, rounded by so many bits.
fn line_of(line: [i32; 8], bits: u32) -> [i32; 8] {
    let round = |number: i32| (number + (1 << (bits - 1))) >> bits;
    let [x0, x1, x2, x3, x4, x5, x6, x7] = line;
    if [x1, x2, x3, x4, x5, x6, x7] == [0; 7] {
        return [round(x0 << FRACTION); 8];
    }
    let [e0, e1, e2, e3] = even([x0, x2, x4, x6]);
    let [o0, o1, o2, o3] = odd([x1, x3, x5, x7]);
    [e0 + o0, e1 + o1, e2 + o2, e3 + o3, e3 - o3, e2 - o2, e1 - o1, e0 - o0].map(round)
}

fn even([x0, x2, x4, x6]: [i32; 4]) -> [i32; 4] {
    let turned = (x2 + x6) * 4433; // 0.541196100
    let (high, low) = (turned - x6 * 15137, turned + x2 * 6270); // 1.847759065, 0.765366865
    let (sum, difference) = ((x0 + x4) << FRACTION, (x0 - x4) << FRACTION);
    [sum + low, difference + high, difference - high, sum - low]
}

fn odd([x1, x3, x5, x7]: [i32; 4]) -> [i32; 4] {
    let all = (x7 + x3 + x5 + x1) * 9633; // 1.175875602
    let far = (x7 + x1) * 7373; // 0.899976223
    let near = (x5 + x3) * 20995; // 2.562915447
    let first = all - (x7 + x3) * 16069; // 1.961570560
    let second = all - (x5 + x1) * 3196; // 0.390180644
    // 1.501321110, 3.072711026, 2.053119869, 0.298631336
    [x1 * 12299 + (second - far), x3 * 25172 + (first - near), x5 * 16819 + (second - near), x7 * 2446 + (first - far)]
}
