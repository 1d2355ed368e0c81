//! Resizing as Pillow does it, and as torchvision does it on 8-bit images, bit for bit: two passes, each rounded.
//!
//! A pixel is the sum of those around its place, weighted by a filter that grows with the scale where an image becomes
//! smaller ("antialias"). Weights have 22 bits of fraction in Pillow (`PRECISION_BITS` of its `Resample.c`); in torch as many as
//! let the largest of a pass fit into 16 bits.

use std::ops::Range;

use super::{Part, Picture};

const FRACTION: u32 = 22;

/// What weighs the pixels around a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model::arch::vision) enum Filter {
    Nearest,
    Bilinear,
    Bicubic,
    Lanczos,
}

/// Which pass comes first, where both are needed. It matters where a pass leaves the range of 8 bits and is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model::arch::vision) enum First {
    /// As in torchvision.
    Across,
    /// As in Pillow: what leaves less to do.
    Cheaper,
}

/// A part of the picture as it would be with other sides, which are at least 1. Only that part is computed.
pub(in crate::model::arch::vision) fn resize(
    picture: &Picture,
    (width, height): (usize, usize),
    part: &Part,
    filter: Filter,
    first: First,
) -> Picture {
    if filter == Filter::Nearest {
        return nearest(picture, (width, height), part);
    }
    let across = Pass::new(filter, first, (picture.width, width), part.across.clone());
    let down = Pass::new(filter, first, (picture.height, height), part.down.clone());
    if first == First::Cheaper && is_down_cheaper((picture.width, picture.height), (width, height)) {
        return across.across(&down.down(picture, 0), &(0..part.down.len()));
    }
    let lines = down.needed();
    let narrowed = across.across(picture, &lines);
    down.down(&narrowed, lines.start)
}

/// Which pass Pillow 13 does first: down, where that loses more than twice as many lines as going across loses columns.
fn is_down_cheaper(old: (usize, usize), new: (usize, usize)) -> bool {
    new.1 < old.1 && old.1 + 2 * new.0 > new.1 + 2 * old.0
}

/// As torchvision's `NEAREST_EXACT` does it: the pixel in the middle of each new one.
fn nearest(picture: &Picture, (width, height): (usize, usize), part: &Part) -> Picture {
    let mut pixels = Vec::with_capacity(part.across.len() * part.down.len() * 3);
    for y in part.down.clone() {
        let line = picture.line((2 * y + 1) * picture.height / (2 * height.max(1)));
        for x in part.across.clone() {
            let at = (2 * x + 1) * picture.width / (2 * width.max(1));
            pixels.extend_from_slice(line.get(at).unwrap_or(&[0; 3]));
        }
    }
    Picture { width: part.across.len(), height: part.down.len(), pixels, transparent: None }
}

/// A pass in one direction. For each new pixel: the first old one that counts, and the weights from it on.
struct Pass {
    firsts: Vec<usize>,
    weights: Vec<i32>,
    /// Weights for each new pixel; the last may be zero.
    each: usize,
    /// Bits behind the point of the weights.
    fraction: u32,
}

impl Pass {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides are far below what f64 counts exactly, and weights within 2"
    )]
    fn new(filter: Filter, library: First, (old, new): (usize, usize), part: Range<usize>) -> Self {
        let scale = old as f64 / new as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let each = (support.ceil() as usize * 2 + 1).min(old);
        let exact = |at: usize| {
            let center = (at as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(old);
            let weight = |old: usize| filter.weight((old as f64 - center + 0.5) / stretch);
            let sum: f64 = (first..end).map(weight).sum();
            (first, (first..end).map(move |old| weight(old) / sum).collect::<Vec<f64>>())
        };
        let fraction = match library {
            First::Cheaper => FRACTION,
            First::Across => fraction_of((0..new).flat_map(|at| exact(at).1).fold(0.0, f64::max)),
        };
        let (mut firsts, mut weights) = (Vec::with_capacity(part.len()), Vec::with_capacity(part.len() * each));
        for at in part {
            let (first, exact) = exact(at);
            let rounded = exact.iter().map(|weight| (weight * f64::from(1 << fraction)).round() as i32);
            firsts.push(first);
            weights.extend(rounded.chain(std::iter::repeat(0)).take(each));
        }
        Self { firsts, weights, each, fraction }
    }

    fn half(&self) -> i32 {
        (1 << self.fraction) >> 1
    }

    fn clip(&self, sum: i32) -> u8 {
        u8::try_from((sum >> self.fraction).clamp(0, 255)).unwrap_or(0)
    }

    fn rows(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.firsts.iter().copied().zip(self.weights.chunks_exact(self.each.max(1)))
    }

    /// The old pixels that count, of all that lie in this direction.
    fn needed(&self) -> Range<usize> {
        let first = self.firsts.first().copied().unwrap_or(0);
        first..self.firsts.last().map_or(first, |last| last + self.each)
    }

    /// Lines of the picture, with other columns. There may be fewer lines than asked for.
    fn across(&self, picture: &Picture, lines: &Range<usize>) -> Picture {
        let width = self.firsts.len();
        let end = lines.end.min(picture.height);
        let mut pixels = Vec::with_capacity(width * end.saturating_sub(lines.start) * 3);
        for y in lines.start..end {
            let line = picture.line(y);
            for (first, weights) in self.rows() {
                let mut sums = [self.half(); 3];
                for (pixel, weight) in line.get(first..).unwrap_or_default().iter().zip(weights) {
                    for (sum, value) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(*value) * weight;
                    }
                }
                pixels.extend(sums.map(|sum| self.clip(sum)));
            }
        }
        Picture { width, height: end.saturating_sub(lines.start), pixels, transparent: None }
    }

    /// The picture with other lines. Its own begin at line `start` of all.
    fn down(&self, picture: &Picture, start: usize) -> Picture {
        let height = self.firsts.len();
        let stride = picture.width * 3;
        let mut pixels = Vec::with_capacity(stride * height);
        let mut sums = vec![0; stride];
        for (first, weights) in self.rows() {
            sums.fill(self.half());
            let lines = picture.pixels.chunks_exact(stride.max(1)).skip(first.saturating_sub(start));
            for (line, weight) in lines.zip(weights) {
                for (sum, value) in sums.iter_mut().zip(line) {
                    *sum += i32::from(*value) * weight;
                }
            }
            pixels.extend(sums.iter().map(|sum| self.clip(*sum)));
        }
        Picture { width: picture.width, height, pixels, transparent: None }
    }
}

/// Bits that torch gives weights of which this is the largest: as many as let it fit into 16.
fn fraction_of(largest: f64) -> u32 {
    let fits = |fraction: &u32| (largest * f64::from(1 << (fraction + 1)) + 0.5).floor() < f64::from(1 << 15);
    (0..FRACTION).find(|fraction| !fits(fraction)).unwrap_or(FRACTION)
}

impl Filter {
    /// How far it reaches.
    fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.5,
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Nearest => 1.0,
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => bicubic(x.abs()),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

/// Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}
