//! Convolution of images that have their channels last, as a product of gathered windows and the kernels.

use std::borrow::Cow;

use candle_core::{CpuStorage, Result};

use super::Rows;
use super::kernel::{Target, Windows};
use super::pool::{Image, Move};
use super::product::Product;
use super::rows::apply;
use crate::model::arch::network::layer::Activation;

/// Multiplications up to which windows are multiplied where they lie. More than for a linear layer: candle's product
/// needs them gathered first, and gains less where the outputs are few.
const SMALL_CONVOLUTION: usize = 1 << 23;
/// Windows are gathered until they have so many numbers, then multiplied.
const TILE_NUMBERS: usize = 1 << 18;

/// A convolution.
pub(super) struct Convolution {
    pub(super) from: Image,
    pub(super) to: Image,
    pub(super) window: Move,
    pub(super) kernels: Kernels,
}

/// The weights, by how they are applied.
pub(super) enum Kernels {
    /// One product for each group of channels; kernels are `[height * width * inputs, outputs]`.
    Groups(Vec<Product>),
    /// A kernel `[height * width, channels]` for each channel alone.
    Single { weight: Vec<f32>, bias: Option<Vec<f32>>, then: Option<Activation> },
}

impl Convolution {
    pub(super) fn run(&self, input: &Rows<'_>, rows: usize) -> Result<Vec<f32>> {
        match &self.kernels {
            Kernels::Groups(groups) => self.multiply(groups, input, rows),
            Kernels::Single { weight, bias, then } => {
                let mut values = self.slide_single(weight, bias.as_deref(), input.values()?, rows);
                if let Some(function) = then {
                    apply(&mut values, *function);
                }
                Ok(values)
            }
        }
    }

    /// Adds an activation after it; `false` if there is one already.
    pub(super) fn attach(&mut self, function: Activation) -> bool {
        let free = |then: &mut Option<Activation>| then.replace(function).is_none();
        match &mut self.kernels {
            Kernels::Groups(groups) if groups.iter().all(|group| group.then.is_none()) => {
                groups.iter_mut().all(|group| free(&mut group.then))
            }
            Kernels::Single { then, .. } if then.is_none() => free(then),
            _ => false,
        }
    }

    fn multiply(&self, groups: &[Product], input: &Rows<'_>, rows: usize) -> Result<Vec<f32>> {
        if let [product] = groups
            && self.is_pointwise()
        {
            return product.run(input);
        }
        let values = input.values()?;
        let positions = rows * self.to.height * self.to.width;
        if groups.iter().all(|product| product.small(positions, SMALL_CONVOLUTION).is_some()) {
            return Ok(self.slide(groups, values, rows, positions));
        }
        let window = self.window.kernel.iter().product::<usize>() * (self.from.channels / groups.len().max(1));
        let tile = (TILE_NUMBERS / window.max(1)).max(16);
        let mut out = Vec::with_capacity(positions * self.to.channels);
        let mut first = 0;
        let mut gathered = CpuStorage::F32(Vec::with_capacity(window * tile.min(positions)));
        while first < positions {
            let count = tile.min(positions - first);
            let mut parts = Vec::with_capacity(groups.len());
            for (group, product) in groups.iter().enumerate() {
                if let CpuStorage::F32(numbers) = &mut gathered {
                    numbers.clear();
                    self.gather(values, first..first + count, (group, groups.len()), numbers);
                }
                parts.push(product.multiply(&gathered, 0, count)?);
            }
            join(&parts, count, &mut out);
            first += count;
        }
        Ok(out)
    }

    /// Multiplies the windows where they lie, in images with their padding around them.
    fn slide(&self, groups: &[Product], values: &[f32], rows: usize, positions: usize) -> Vec<f32> {
        let [pad_y, pad_x] = self.window.padding;
        let padded = if [pad_y, pad_x] == [0, 0] { Cow::Borrowed(values) } else { Cow::Owned(self.pad(values, rows)) };
        let (height, width) = (self.from.height + 2 * pad_y, self.from.width + 2 * pad_x);
        let (line, channels) = (width * self.from.channels, self.from.channels / groups.len().max(1));
        let mut out = vec![0.0; positions * self.to.channels];
        let base = |position: usize| {
            let (image, at) = self.place(position);
            let [y, x] = self.window.start(at);
            (image * height + y) * line + x * self.from.channels
        };
        for (group, product) in groups.iter().enumerate() {
            let (taps, run) = self.taps(line, group * channels, channels);
            let windows = Windows { values: &padded, taps: &taps, run };
            let target = Target { first: group * (self.to.channels / groups.len()), stride: self.to.channels };
            if let Some(panels) = product.small(positions, SMALL_CONVOLUTION) {
                panels.multiply(&windows, positions, base, &mut out, target);
            }
        }
        if let Some(function) = groups.first().and_then(|product| product.then) {
            apply(&mut out, function);
        }
        out
    }

    /// Where the runs of a window begin, from its first number on, and how long they are.
    fn taps(&self, line: usize, first: usize, channels: usize) -> (Vec<usize>, usize) {
        let ([height, width], [down, right]) = (self.window.kernel, self.window.dilation);
        // With all channels and no gaps, a line of the window lies in one piece.
        if right == 1 && channels == self.from.channels {
            return ((0..height).map(|y| y * down * line).collect(), width * channels);
        }
        let place = |tap: usize| first + (tap / width) * down * line + (tap % width) * right * self.from.channels;
        ((0..height * width).map(place).collect(), channels)
    }

    /// The images with zeros around them.
    fn pad(&self, values: &[f32], rows: usize) -> Vec<f32> {
        let [pad_y, pad_x] = self.window.padding;
        let line = self.from.width * self.from.channels;
        let padded_line = line + 2 * pad_x * self.from.channels;
        let mut padded = vec![0.0; rows * (self.from.height + 2 * pad_y) * padded_line];
        let images = padded.chunks_exact_mut(((self.from.height + 2 * pad_y) * padded_line).max(1));
        for (image, padded) in values.chunks_exact(self.from.elements().max(1)).zip(images) {
            let lines = padded.chunks_exact_mut(padded_line.max(1)).skip(pad_y);
            for (line, padded) in image.chunks_exact(line.max(1)).zip(lines) {
                let inside = padded.iter_mut().skip(pad_x * self.from.channels);
                inside.zip(line).for_each(|(place, value)| *place = *value);
            }
        }
        padded
    }

    /// Is every window one place of the image?
    fn is_pointwise(&self) -> bool {
        self.window.kernel == [1, 1] && self.window.stride == [1, 1] && self.window.padding == [0, 0]
    }

    /// The image in which a position of the output lies, and where in it.
    fn place(&self, position: usize) -> (usize, [usize; 2]) {
        let positions = self.to.height * self.to.width;
        let inside = position % positions;
        (position / positions, [inside / self.to.width, inside % self.to.width])
    }

    /// Appends the windows of `positions`, for one of so many groups of channels; zeros where they lie in the padding.
    fn gather(
        &self,
        values: &[f32],
        positions: std::ops::Range<usize>,
        (group, groups): (usize, usize),
        out: &mut Vec<f32>,
    ) {
        let channels = self.from.channels / groups.max(1);
        let whole = groups == 1 && self.window.dilation[1] == 1;
        for position in positions {
            let (image, at) = self.place(position);
            let image = image * self.from.elements();
            let [start_y, start_x] = self.window.start(at);
            for down in 0..self.window.kernel[0] {
                let y = start_y + down * self.window.dilation[0];
                let Some(y) = self.window.inside(y, 0, self.from.height) else {
                    out.resize(out.len() + self.window.kernel[1] * channels, 0.0);
                    continue;
                };
                let line = image + y * self.from.width * self.from.channels;
                if whole {
                    self.gather_line(values, line, start_x, out);
                    continue;
                }
                for right in 0..self.window.kernel[1] {
                    let x = start_x + right * self.window.dilation[1];
                    match self.window.inside(x, 1, self.from.width) {
                        Some(x) => copy(values, line + x * self.from.channels + group * channels, channels, out),
                        None => out.resize(out.len() + channels, 0.0),
                    }
                }
            }
        }
    }

    /// Appends one line of a window, whose numbers lie side by side.
    fn gather_line(&self, values: &[f32], line: usize, start_x: usize, out: &mut Vec<f32>) {
        let (padding, channels, kernel) = (self.window.padding[1], self.from.channels, self.window.kernel[1]);
        let before = padding.saturating_sub(start_x).min(kernel);
        let first = (start_x + before).saturating_sub(padding);
        let inside = self.from.width.saturating_sub(first).min(kernel - before);
        out.resize(out.len() + before * channels, 0.0);
        if inside > 0 {
            copy(values, line + first * channels, inside * channels, out);
        }
        out.resize(out.len() + (kernel - before - inside) * channels, 0.0);
    }

    fn slide_single(&self, weight: &[f32], bias: Option<&[f32]>, values: &[f32], rows: usize) -> Vec<f32> {
        let channels = self.to.channels;
        let mut out = vec![0.0; rows * self.to.elements()];
        for (position, place) in out.chunks_exact_mut(channels.max(1)).enumerate() {
            let (image, at) = self.place(position);
            let [start_y, start_x] = self.window.start(at);
            if let Some(bias) = bias {
                place.copy_from_slice(bias);
            }
            for (tap, kernel) in weight.chunks_exact(channels.max(1)).enumerate() {
                let (down, right) = (tap / self.window.kernel[1], tap % self.window.kernel[1]);
                let y = self.window.inside(start_y + down * self.window.dilation[0], 0, self.from.height);
                let x = self.window.inside(start_x + right * self.window.dilation[1], 1, self.from.width);
                let (Some(y), Some(x)) = (y, x) else { continue };
                let first = image * self.from.elements() + (y * self.from.width + x) * channels;
                let source = values.get(first..first + channels).unwrap_or_default();
                for ((sum, value), weight) in place.iter_mut().zip(source).zip(kernel) {
                    *sum += value * weight;
                }
            }
        }
        out
    }
}

fn copy(values: &[f32], first: usize, count: usize, out: &mut Vec<f32>) {
    out.extend_from_slice(values.get(first..first + count).unwrap_or_default());
}

/// Appends `count` positions, each with the channels of all groups in turn.
fn join(parts: &[Vec<f32>], count: usize, out: &mut Vec<f32>) {
    if let [part] = parts {
        out.extend_from_slice(part);
        return;
    }
    let width = parts.first().map_or(0, |part| part.len() / count.max(1));
    for position in 0..count {
        for part in parts {
            copy(part, position * width, width, out);
        }
    }
}
