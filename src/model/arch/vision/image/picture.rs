//! Pixels in memory.

use std::ops::Range;

/// An image: red, green and blue of 8 bits each, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::model::arch::vision) struct Picture {
    pub(in crate::model::arch::vision) width: usize,
    pub(in crate::model::arch::vision) height: usize,
    pub(in crate::model::arch::vision) pixels: Vec<u8>,
    /// A colour that stands for what is seen through.
    pub(in crate::model::arch::vision) transparent: Option<[u8; 3]>,
}

/// What has to be done to an image so that it stands upright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orientation {
    /// Lines become columns.
    transpose: bool,
    /// Then left becomes right.
    mirror: bool,
    /// Then top becomes bottom.
    flip: bool,
}

impl Orientation {
    /// By the number of the Exif standard; others say nothing.
    pub(super) fn from_exif(number: u32) -> Self {
        let (transpose, mirror, flip) = match number {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => (false, false, false),
        };
        Self { transpose, mirror, flip }
    }
}

impl Picture {
    /// The pixels of a line.
    pub(super) fn line(&self, y: usize) -> &[[u8; 3]] {
        let (pixels, _) = self.pixels.as_chunks::<3>();
        pixels.get(y * self.width..(y + 1) * self.width).unwrap_or_default()
    }

    /// The picture turned upright.
    pub(super) fn turned(self, orientation: Orientation) -> Self {
        if orientation == Orientation::default() {
            return self;
        }
        let Orientation { transpose, mirror, flip } = orientation;
        let (width, height) = if transpose { (self.height, self.width) } else { (self.width, self.height) };
        let (stored, _) = self.pixels.as_chunks::<3>();
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for y in 0..height {
            let y = if flip { height - 1 - y } else { y };
            for x in 0..width {
                let x = if mirror { width - 1 - x } else { x };
                let at = if transpose { x * self.width + y } else { y * self.width + x };
                pixels.extend_from_slice(stored.get(at).unwrap_or(&[0; 3]));
            }
        }
        Self { width, height, pixels, transparent: self.transparent }
    }

    /// White in place of the colour that is seen through.
    #[must_use]
    pub(in crate::model::arch::vision) fn on_white(mut self) -> Self {
        let Some(transparent) = self.transparent.take() else { return self };
        for pixel in self.pixels.as_chunks_mut::<3>().0 {
            if *pixel == transparent {
                *pixel = [u8::MAX; 3];
            }
        }
        self
    }

    /// A part of it.
    pub(in crate::model::arch::vision) fn cut(&self, part: &Part) -> Self {
        let mut pixels = Vec::with_capacity(part.across.len() * part.down.len() * 3);
        for y in part.down.clone() {
            pixels.extend(self.line(y).get(part.across.clone()).unwrap_or_default().as_flattened());
        }
        Self { width: part.across.len(), height: part.down.len(), pixels, transparent: self.transparent }
    }

    /// It on a black ground of so many pixels, its upper left corner at `(left, top)`.
    pub(in crate::model::arch::vision) fn placed(
        self,
        (left, top): (usize, usize),
        (width, height): (usize, usize),
    ) -> Self {
        if (self.width, self.height) == (width, height) {
            return self;
        }
        let mut pixels = vec![0; width * height * 3];
        for (y, line) in pixels.chunks_exact_mut((width * 3).max(1)).skip(top).take(self.height).enumerate() {
            let places = line.iter_mut().skip(left * 3);
            places.zip(self.line(y).as_flattened()).for_each(|(place, value)| *place = *value);
        }
        Self { width, height, pixels, transparent: self.transparent }
    }
}

/// A part of a picture: its columns and lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::model::arch::vision) struct Part {
    pub(in crate::model::arch::vision) across: Range<usize>,
    pub(in crate::model::arch::vision) down: Range<usize>,
}

impl Part {
    /// All of a picture of this width and height.
    pub(in crate::model::arch::vision) fn whole((width, height): (usize, usize)) -> Self {
        Self { across: 0..width, down: 0..height }
    }
}
