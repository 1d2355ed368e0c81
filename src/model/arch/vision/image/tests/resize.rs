//! Resizing against Pillow's `Image.resize`, value by value.

use proptest::prelude::*;

use super::super::{Filter, First, Part, Picture, resize};

/// A colour of what Pillow 13 makes of [`chequered`] with these sides.
const KNOWN: [(Filter, (usize, usize), &[u8]); 5] = [
    (Filter::Bilinear, (3, 4), &[58, 128, 171, 158, 162, 103, 132, 116, 109, 130, 105, 133]),
    (
        Filter::Bilinear,
        (11, 8),
        &[
            0, 17, 40, 64, 87, 111, 135, 158, 182, 205, 222, 40, 60, 88, 117, 145, 173, 130, 118, 146, 174, 194, 97,
            122, 155, 180, 211, 246, 128, 72, 96, 130, 155, 154, 183, 209, 139, 133, 175, 165, 131, 60, 86, 116, 130,
            165, 198, 134, 106, 103, 152, 153, 89, 78, 76, 27, 67, 121, 166, 130, 32, 87, 138, 184, 106, 37, 68, 113,
            161, 132, 114, 105, 75, 85, 147, 148, 142, 108, 156, 199, 103, 100, 167, 71, 45, 111, 178, 226,
        ],
    ),
    (Filter::Bicubic, (4, 3), &[57, 136, 134, 175, 161, 149, 137, 83, 114, 124, 85, 148]),
    (
        Filter::Bicubic,
        (9, 7),
        &[
            0, 16, 46, 74, 103, 143, 175, 204, 228, 43, 71, 118, 167, 198, 100, 109, 165, 193, 121, 165, 179, 187, 239,
            114, 66, 95, 144, 179, 243, 174, 67, 139, 211, 104, 35, 99, 49, 107, 163, 146, 39, 126, 171, 121, 26, 42,
            111, 153, 133, 80, 58, 132, 165, 111, 108, 197, 148, 67, 175, 34, 53, 163, 243,
        ],
    ),
    (Filter::Lanczos, (4, 3), &[56, 142, 133, 174, 161, 156, 136, 78, 112, 121, 82, 151]),
];

fn painted((width, height): (usize, usize), value: impl Fn(usize, usize, usize) -> usize) -> Picture {
    let value = |x, y, colour| u8::try_from(value(x, y, colour)).expect("a byte");
    let pixel = |x, y| (0..3).map(move |colour| value(x, y, colour));
    let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    Picture { width, height, pixels, transparent: None }
}

fn chequered() -> Picture {
    painted((7, 5), |x, y, colour| (x * 37 + y * 91 + colour * 53 + x * y * 17) % 256)
}

fn whole(picture: &Picture, sides: (usize, usize), filter: Filter, first: First) -> Vec<u8> {
    resize(picture, sides, &Part::whole(sides), filter, first).pixels
}

fn red(pixels: &[u8]) -> Vec<u8> {
    pixels.iter().step_by(3).copied().collect()
}

#[test]
fn numbers_are_pillows() {
    for (filter, sides, expected) in KNOWN {
        for first in [First::Across, First::Cheaper] {
            assert_eq!(red(&whole(&chequered(), sides, filter, first)), expected, "{filter:?} {sides:?}");
        }
    }
}

#[test]
fn the_order_of_passes_shows_in_tall_pictures() {
    let tall = painted((4, 9), |x, y, _| (x * 97 + y * 61 + x * y * 29) % 2 * 255);
    let pillow = [153, 182, 210, 167, 192, 216, 165, 191, 216, 167, 192, 216, 153, 182, 210];
    assert_eq!(red(&whole(&tall, (3, 5), Filter::Bicubic, First::Cheaper)), pillow);
    let torchvision = [153, 182, 210, 167, 192, 216, 166, 191, 216, 167, 192, 216, 153, 182, 210];
    assert_eq!(red(&whole(&tall, (3, 5), Filter::Bicubic, First::Across)), torchvision);
}

#[test]
fn nearest_takes_the_pixel_in_the_middle() {
    let row = painted((4, 1), |x, _, _| x * 10);
    assert_eq!(red(&whole(&row, (3, 1), Filter::Nearest, First::Across)), [0, 20, 30]);
    assert_eq!(red(&whole(&row, (6, 1), Filter::Nearest, First::Across)), [0, 10, 10, 20, 30, 30]);
}

fn filters() -> impl Strategy<Value = Filter> {
    prop::sample::select(&[Filter::Nearest, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos][..])
}

proptest! {
    #[test]
    fn a_part_is_that_part_of_the_whole(
        old in (1_usize..12, 1_usize..40),
        new in (1_usize..30, 1_usize..30),
        cuts in (0_usize..30, 0_usize..30, 0_usize..30, 0_usize..30),
        filter in filters(),
        first in prop::sample::select(&[First::Across, First::Cheaper][..]),
    ) {
        let picture = painted(old, |x, y, colour| (x * 151 + y * 77 + colour * 19 + x * y * 101) % 256);
        let range = |one: usize, other: usize, side: usize| {
            let (one, other) = (one % side, other % side);
            one.min(other)..one.max(other) + 1
        };
        let part = Part { across: range(cuts.0, cuts.1, new.0), down: range(cuts.2, cuts.3, new.1) };
        let all = resize(&picture, new, &Part::whole(new), filter, first);
        prop_assert_eq!(resize(&picture, new, &part, filter, first), all.cut(&part));
        prop_assert_eq!(resize(&picture, old, &Part::whole(old), filter, first), picture);
    }
}
