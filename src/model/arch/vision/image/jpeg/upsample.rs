//! A JPEG's colour differences at the full size: between two samples lie values of three parts of the nearer and one of the
//! farther, as libjpeg's "fancy upsampling" (`jdsample.c`) computes them, bit for bit.

/// Samples of one component.
pub(super) struct Plane {
    pub(super) samples: Vec<u8>,
    /// Distance between lines.
    pub(super) stride: usize,
    /// The part that belongs to the image.
    pub(super) width: usize,
    pub(super) height: usize,
    /// How many pixels of the image there are for a sample, across and down.
    pub(super) spread: (usize, usize),
}

impl Plane {
    /// Writes the samples of line `y` of the image into `out`.
    pub(super) fn line(&self, y: usize, out: &mut [u8]) {
        let (across, down) = self.spread;
        let near = self.own(y / down.max(1));
        let far = || self.own(if y % 2 == 1 { y / 2 + 1 } else { (y / 2).saturating_sub(1) });
        match (across, down) {
            (1, 1) => out.iter_mut().zip(near).for_each(|(place, sample)| *place = *sample),
            (2, 1) if self.width > 2 => widen(near, out),
            (2, 2) if self.width > 2 => widen_between(near, far(), out),
            (1, 2) => between(near, far(), y.is_multiple_of(2), out),
            _ => {
                let samples = near.iter().flat_map(|sample| std::iter::repeat_n(*sample, across));
                out.iter_mut().zip(samples).for_each(|(place, sample)| *place = sample);
            }
        }
    }

    /// A line of samples; the last one below the image.
    fn own(&self, line: usize) -> &[u8] {
        let first = line.min(self.height.saturating_sub(1)) * self.stride;
        self.samples.get(first..first + self.width).unwrap_or_default()
    }
}

/// Twice as wide.
fn widen(line: &[u8], out: &mut [u8]) {
    spread(line.iter().map(|sample| u16::from(*sample)), 2, [1, 2], out);
}

/// Twice as wide, between two lines: their sums are taken first and rounded only once.
fn widen_between(near: &[u8], far: &[u8], out: &mut [u8]) {
    let sums = near.iter().zip(far).map(|(near, far)| u16::from(*near) * 3 + u16::from(*far));
    spread(sums, 4, [8, 7], out);
}

/// Two pixels for each sum, of three parts of it and one of the sum before or after it; the first and last stand in for what
/// would lie beyond. Rounded by so many bits, the two differently, so that errors do not add up.
fn spread(sums: impl Iterator<Item = u16>, bits: u32, [left, right]: [u16; 2], out: &mut [u8]) {
    let mut sums = sums.peekable();
    let Some(mut before) = sums.peek().copied() else { return };
    let narrow = |sum: u16| u8::try_from(sum >> bits).unwrap_or(u8::MAX);
    for pair in out.chunks_mut(2) {
        let Some(here) = sums.next() else { return };
        let after = sums.peek().copied().unwrap_or(here);
        let pixels = [narrow(here * 3 + before + left), narrow(here * 3 + after + right)];
        pair.iter_mut().zip(pixels).for_each(|(place, pixel)| *place = pixel);
        before = here;
    }
}

/// Between two lines, in the upper or the lower half of the nearer one.
fn between(near: &[u8], far: &[u8], upper: bool, out: &mut [u8]) {
    let rounding = if upper { 1 } else { 2 };
    for ((place, near), far) in out.iter_mut().zip(near).zip(far) {
        let sum = u16::from(*near) * 3 + u16::from(*far) + rounding;
        *place = u8::try_from(sum >> 2).unwrap_or(u8::MAX);
    }
}
