//! From a picture to the numbers that a model takes, as a folder says.

mod hub;
mod timm;

pub(super) use self::hub::{Kind, hub};
pub(super) use self::timm::timm;
use super::image::{Filter, First, Part, Picture, resize};

/// Steps of preprocessing, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recipe {
    /// Is a colour that is seen through made white?
    pub(super) on_white: bool,
    pub(super) resize: Option<Resize>,
    /// What is cut out of the middle.
    pub(super) crop: Option<Crop>,
    /// Subtracted from each colour's numbers, of 0 to 255.
    pub(super) center: [f32; 3],
    /// What they are then divided by.
    pub(super) spread: [f32; 3],
}

/// How a picture is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resize {
    pub(super) to: Sides,
    pub(super) filter: Filter,
    pub(super) first: First,
}

/// Sides that a picture is resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sides {
    /// Width and height.
    Both(usize, usize),
    /// The shorter side; the other keeps its proportion, rounded down.
    Shorter(usize),
}

/// A part of the middle of a picture; where the picture is smaller, it is black around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crop {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Where half a pixel goes.
    pub(super) half: Half,
}

/// How the middle is found where an odd number of pixels is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// Rounded down, as transformers does.
    Down,
    /// Rounded to an even number, as torchvision does.
    Even,
}

impl Recipe {
    /// Width and height of what a model gets; `None` if they would depend on the picture.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        match (self.crop, self.resize.map(|resize| resize.to)) {
            (Some(crop), _) => Some((crop.width, crop.height)),
            (None, Some(Sides::Both(width, height))) => Some((width, height)),
            (None, _) => None,
        }
    }

    /// Bytes that preparing a picture of this size takes for a while.
    pub(super) fn bytes(&self, (width, height): (usize, usize)) -> usize {
        let (new_width, new_height) = self.size().unwrap_or((width, height));
        // Between the passes lies a picture of a new and an old side; which are new depends on what is done first.
        3_usize.saturating_mul((new_width.saturating_mul(height)).max(width.saturating_mul(new_height)))
    }

    /// Appends the numbers `[3, height, width]` of a picture.
    pub(super) fn apply(&self, picture: Picture, numbers: &mut Vec<f32>) {
        let picture = if self.on_white { picture.on_white() } else { picture };
        let whole = self.resize.map_or((picture.width, picture.height), |resize| resize.to.of(&picture));
        let (part, left, top) = match self.crop {
            None => (Part::whole(whole), 0, 0),
            Some(crop) => crop.of(whole),
        };
        let resized = match self.resize {
            Some(Resize { filter, first, .. }) => resize(&picture, whole, &part, filter, first),
            None => picture.cut(&part),
        };
        let (width, height) = self.size().unwrap_or(whole);
        let placed = resized.placed((left, top), (width, height));
        for (colour, (center, spread)) in self.center.iter().zip(&self.spread).enumerate() {
            let values = placed.pixels.iter().skip(colour).step_by(3);
            numbers.extend(values.map(|value| (f32::from(*value) - center) / spread));
        }
    }
}

/// A side before the edges are cut off, of which `share` is kept.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a side is small, and a share at least a twentieth"
)]
fn enlarged(side: usize, share: f64) -> usize {
    (side as f64 / share) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "what pixels are computed with is f32")]
fn by_colour(numbers: [f64; 3], factor: f64) -> [f32; 3] {
    numbers.map(|number| (number * factor) as f32)
}

impl Sides {
    fn of(self, picture: &Picture) -> (usize, usize) {
        let (width, height) = (picture.width, picture.height);
        match self {
            Self::Both(width, height) => (width, height),
            Self::Shorter(side) if width <= height => (side, (side * height / width.max(1)).max(1)),
            Self::Shorter(side) => ((side * width / height.max(1)).max(1), side),
        }
    }
}

impl Crop {
    /// The part of a picture of these sides that is kept, and where it lies in what is cut out.
    fn of(self, (width, height): (usize, usize)) -> (Part, usize, usize) {
        let (across, left) = self.middle(width, self.width);
        let (down, top) = self.middle(height, self.height);
        (Part { across, down }, left, top)
    }

    fn middle(self, side: usize, kept: usize) -> (std::ops::Range<usize>, usize) {
        match side.checked_sub(kept) {
            None => (0..side, (kept - side) / 2),
            Some(more) => {
                let is_rounded_up = self.half == Half::Even && more % 4 == 3;
                let first = more / 2 + usize::from(is_rounded_up);
                (first..first + kept, 0)
            }
        }
    }
}
