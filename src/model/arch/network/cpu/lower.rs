//! Lowers steps to operations on plain memory, and decides where an image has its channels last.

use super::convolve::{Convolution, Kernels};
use super::pool::{Global, Image, Move, Pool};
use super::product::Product;
use super::rows::{Affine, Norm, Turn};
use super::{Branches, Op};
use crate::model::arch::network::layer::Activation;
use crate::model::arch::network::step::{self, Axis, Step, Work};

/// Operations that do what `steps` say, in order.
pub(super) fn lower(steps: Vec<Step>) -> Vec<Op> {
    let mut lowering = Lowering { ops: Vec::new(), last: None };
    for step in steps {
        lowering.add(step);
    }
    lowering.channels_first();
    lowering.ops
}

impl Branches {
    /// Both keep channels where they are when rows come, and where they are in an image when rows leave.
    fn new(residual: step::Residual, last: Option<(usize, usize)>) -> Self {
        let lower = |steps: Vec<Step>| {
            let mut lowering = Lowering { ops: Vec::new(), last };
            for step in steps {
                lowering.add(step);
            }
            lowering.ops
        };
        Self { main: lower(residual.main), shortcut: lower(residual.shortcut) }
    }
}

struct Lowering {
    ops: Vec<Op>,
    /// Channels and positions of the rows, if they have their channels last now, though the network has them first.
    last: Option<(usize, usize)>,
}

impl Lowering {
    fn add(&mut self, step: Step) {
        let Step { from, to, work } = step;
        match work {
            Work::Activate(function) => self.activate(function),
            Work::Linear(linear) => self.linear(linear, from.len()),
            Work::Convolve(convolve) => {
                self.channels_last(&from);
                self.ops.push(Op::Convolve(convolution(convolve, &from, &to)));
                self.last = split(&to);
            }
            Work::Pool { of, window } => {
                self.channels_last(&from);
                let flat = from.len() == 2;
                self.ops.push(Op::Pool(Pool::new(of, window, image(&from), image(&to), flat)));
                self.last = split(&to);
            }
            Work::GlobalPool(of) => {
                self.channels_last(&from);
                let (channels, positions) = sizes(&from);
                self.ops.push(Op::Global(Global { of, positions, channels }));
                self.last = None;
            }
            Work::Affine(step::Affine { axis, center, scale, shift }) => {
                // In flat rows the channel is the feature, by its place in the network's order.
                if axis == Axis::Channel && from.len() > 1 {
                    self.channels_last(&from);
                } else {
                    self.channels_first();
                }
                self.ops.push(Op::Affine(Affine { center, scale, shift, then: None }));
            }
            Work::Normalise(step::Normalise { weight, bias, epsilon }) => {
                self.channels_first();
                self.ops.push(Op::Norm(Norm { weight, bias, epsilon }));
            }
            Work::Residual(residual) => {
                self.channels_last(&from);
                self.ops.push(Op::Residual(Branches::new(residual, self.last)));
                self.last = split(&to);
            }
            // What follows finds out whether the numbers have to be brought into order.
            Work::Flatten => {}
            Work::Softmax => {
                self.channels_first();
                self.ops.push(Op::Softmax(from.last().copied().unwrap_or(1)));
            }
        }
    }

    /// Joins an activation to the operation before it, where that can take it.
    fn activate(&mut self, function: Activation) {
        let joined = match self.ops.last_mut() {
            Some(Op::Product(product)) if product.then.is_none() => product.then.replace(function).is_none(),
            Some(Op::Affine(affine)) if affine.then.is_none() => affine.then.replace(function).is_none(),
            Some(Op::Convolve(convolution)) => convolution.attach(function),
            _ => false,
        };
        if !joined {
            self.ops.push(Op::Activate(function));
        }
    }

    fn linear(&mut self, linear: step::Linear, rank: usize) {
        let step::Linear { inputs, outputs, mut weight, bias } = linear;
        match self.last.take() {
            // After flatten the rows of the weights are brought into the order of the numbers, once, instead.
            Some((channels, positions)) if rank == 1 => weight = reorder(&weight, outputs, channels, positions),
            last => {
                self.last = last;
                self.channels_first();
            }
        }
        self.ops.push(Op::Product(Product::new(inputs, outputs, weight, bias)));
    }

    fn channels_last(&mut self, row: &[usize]) {
        if self.last.is_none() && split(row).is_some() {
            let (first, second) = sizes(row);
            self.ops.push(Op::Turn(Turn { first, second }));
            self.last = split(row);
        }
    }

    fn channels_first(&mut self) {
        if let Some((channels, positions)) = self.last.take() {
            self.ops.push(Op::Turn(Turn { first: positions, second: channels }));
        }
    }
}

/// Channels and positions of a row.
fn sizes(row: &[usize]) -> (usize, usize) {
    let channels = row.first().copied().unwrap_or(1);
    (channels, row.iter().skip(1).product())
}

/// Channels and positions, if it matters which come first.
fn split(row: &[usize]) -> Option<(usize, usize)> {
    let (channels, positions) = sizes(row);
    (channels > 1 && positions > 1).then_some((channels, positions))
}

fn image(row: &[usize]) -> Image {
    if let [channels, height, width] = row {
        return Image { height: *height, width: *width, channels: *channels };
    }
    let (channels, width) = sizes(row);
    Image { height: 1, width, channels }
}

/// Rows of a weight `[channels * positions, outputs]` as `[positions * channels, outputs]`.
fn reorder(weight: &[f32], outputs: usize, channels: usize, positions: usize) -> Vec<f32> {
    let mut ordered = Vec::with_capacity(weight.len());
    for position in 0..positions {
        for channel in 0..channels {
            let first = (channel * positions + position) * outputs;
            ordered.extend_from_slice(weight.get(first..first + outputs).unwrap_or_default());
        }
    }
    ordered
}

fn convolution(convolve: step::Convolve, from: &[usize], to: &[usize]) -> Convolution {
    let step::Convolve { how, sizes, weight, bias } = convolve;
    let [outputs, of_group, height, width] = sizes;
    let flat = how.dimensions == 1;
    let both = |size: usize, of_height: usize| [if flat { of_height } else { size }, size];
    let window = Move {
        kernel: [height, width],
        stride: both(how.stride, 1),
        padding: both(how.padding, 0),
        dilation: both(how.dilation, 1),
    };
    let taps = height * width;
    let kernels = if of_group == 1 && outputs == how.groups && how.groups > 1 {
        Kernels::Single { weight: kernels_last(&weight, outputs, 1, taps), bias, then: None }
    } else {
        let outputs = outputs / how.groups;
        let groups = weight.chunks_exact((outputs * of_group * taps).max(1)).enumerate().map(|(group, weight)| {
            let bias = bias.as_ref().map(|bias| bias.iter().skip(group * outputs).take(outputs).copied().collect());
            Product::new(taps * of_group, outputs, kernels_last(weight, outputs, of_group, taps), bias)
        });
        Kernels::Groups(groups.collect())
    };
    Convolution { from: image(from), to: image(to), window, kernels }
}

/// `[outputs, inputs, taps]` as `[taps, inputs, outputs]`.
fn kernels_last(weight: &[f32], outputs: usize, inputs: usize, taps: usize) -> Vec<f32> {
    let mut ordered = Vec::with_capacity(weight.len());
    for tap in 0..taps {
        for input in 0..inputs {
            ordered.extend(weight.iter().skip(input * taps + tap).step_by(inputs * taps).take(outputs));
        }
    }
    ordered
}
