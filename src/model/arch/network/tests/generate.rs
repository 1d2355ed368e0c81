//! Random networks from a seed: text, weights, and what the reference makes of a row.

use std::fmt::Write as _;

use safetensors::tensor::{Dtype, TensorView, serialize};

use super::reference::{self, Row, Tensors};
use crate::config::Document;
use crate::model::arch::network::declared::Declared;

/// Every type of layer.
pub(super) const LAYERS: [&str; 17] = [
    "standardise",
    "linear",
    "conv1d",
    "conv2d",
    "batch_norm",
    "layer_norm",
    "max_pool",
    "average_pool",
    "global_pool",
    "flatten",
    "relu",
    "gelu",
    "silu",
    "tanh",
    "sigmoid",
    "softmax",
    "dropout",
];

/// A declared network with its weights.
pub(super) struct Net {
    pub(super) dims: Vec<usize>,
    layers: String,
    count: usize,
    pub(super) tensors: Tensors,
}

impl Net {
    pub(super) fn new(dims: &[usize]) -> Self {
        Self { dims: dims.to_vec(), layers: String::new(), count: 0, tensors: Tensors::new() }
    }

    /// Appends a layer with its settings, a line each.
    pub(super) fn add(&mut self, name: &str, settings: &str) {
        write!(self.layers, "[[layer]]\ntype = \"{name}\"\n{settings}").expect("a string");
        self.count += 1;
    }

    /// A tensor of the layer that is added next.
    fn tensor(&mut self, part: &str, dims: &[usize], values: Vec<f32>) {
        assert_eq!(dims.iter().product::<usize>(), values.len());
        self.tensors.insert(format!("{}.{part}", self.count), (dims.to_vec(), values));
    }

    pub(super) fn text(&self) -> String {
        format!("[input]\ndims = {:?}\n{}", self.dims, self.layers)
    }

    pub(super) fn weights(&self) -> Vec<u8> {
        serialized(&self.tensors)
    }

    /// Dimensions of a row after the last layer.
    pub(super) fn row_dims(&self) -> Vec<usize> {
        self.run(&vec![0.0; self.dims.iter().product()]).dims
    }

    pub(super) fn reference(&self, row: &[f32]) -> Vec<f64> {
        self.run(row).values
    }

    fn run(&self, row: &[f32]) -> Row {
        let text = self.text();
        let document = Document::parse("network.toml", &text).expect("TOML");
        let declared = Declared::read(&document.root());
        let mut row = Row { dims: self.dims.clone(), values: row.iter().map(|value| f64::from(*value)).collect() };
        for (position, layer) in declared.layers.iter().enumerate() {
            row = reference::layer(layer.kind, position, &self.tensors, &row);
        }
        row
    }
}

/// A safetensors file.
pub(super) fn serialized(tensors: &Tensors) -> Vec<u8> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (dims, values))| {
            (name.clone(), dims.clone(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, dims, bytes)| (name.clone(), TensorView::new(Dtype::F32, dims.clone(), bytes).expect("a view")));
    serialize(views, None).expect("a file")
}

/// Draws networks and rows.
pub(super) struct Generator(u64);

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// splitmix64
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    fn flip(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }

    /// Uniform in [-1, 1).
    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn numbers(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.number() * scale).collect()
    }

    fn positive(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| 0.5 + self.number().abs()).collect()
    }

    pub(super) fn row(&mut self, dims: &[usize]) -> Vec<f32> {
        self.numbers(dims.iter().product(), 2.0)
    }

    /// One to eight layers on rows of one to three dimensions.
    pub(super) fn network(&mut self) -> Net {
        let mut net = self.empty();
        let layers = self.between(1, 8);
        while net.count < layers {
            let name = LAYERS[self.below(LAYERS.len())];
            self.layer(&mut net, name);
        }
        net
    }

    /// Rows of a kind that the layer takes, and the layer.
    pub(super) fn single(&mut self, name: &str) -> Net {
        loop {
            let mut net = self.empty();
            if self.layer(&mut net, name) {
                return net;
            }
        }
    }

    fn empty(&mut self) -> Net {
        let rank = self.between(1, 3);
        let dims: Vec<usize> = (0..rank).map(|_| self.between(1, 9)).collect();
        Net::new(&dims)
    }

    /// Adds a layer if it fits.
    fn layer(&mut self, net: &mut Net, name: &str) -> bool {
        let row = net.row_dims();
        let least = row.iter().skip(1).copied().min().unwrap_or(0);
        match name {
            "linear" => {
                let outputs = self.between(1, 12);
                self.linear(net, outputs);
            }
            "standardise" => self.standardise(net, *row.last().expect("a dimension")),
            "batch_norm" => self.batch_norm(net),
            "layer_norm" => self.layer_norm(net, &row),
            "conv1d" | "conv2d" => {
                let dimensions = if name == "conv1d" { 1 } else { 2 };
                if row.len() != dimensions + 1 {
                    return false;
                }
                let (stride, padding, dilation) = (self.between(1, 2), self.between(0, 2), self.between(1, 2));
                let kernel = self.between(1, 3);
                if least + 2 * padding < dilation * (kernel - 1) + 1 {
                    return false;
                }
                let groups = if self.flip() { row[0] } else { 1 };
                self.convolution(net, dimensions, kernel, [stride, padding, dilation, groups]);
            }
            "max_pool" | "average_pool" => {
                let (kernel, stride) = (self.between(1, 3), self.between(1, 3));
                let padding = self.between(0, kernel / 2);
                if !(2..=3).contains(&row.len()) || least + 2 * padding < kernel {
                    return false;
                }
                net.add(name, &format!("kernel = {kernel}\nstride = {stride}\npadding = {padding}\n"));
            }
            "global_pool" if row.len() < 2 => return false,
            "global_pool" => net.add(name, if self.flip() { "kind = \"max\"\n" } else { "" }),
            "gelu" => net.add(name, if self.flip() { "approximate = \"tanh\"\n" } else { "" }),
            "dropout" => net.add(name, "p = 0.3\n"),
            _ => net.add(name, ""),
        }
        true
    }

    pub(super) fn standardise(&mut self, net: &mut Net, width: usize) {
        let (mean, scale) = (self.numbers(width, 3.0), self.positive(width));
        net.tensor("mean", &[width], mean);
        net.tensor("scale", &[width], scale);
        net.add("standardise", "");
    }

    pub(super) fn linear(&mut self, net: &mut Net, outputs: usize) {
        let inputs = *net.row_dims().last().expect("a dimension");
        let weight = self.numbers(outputs * inputs, 1.5 / (inputs as f32).sqrt());
        net.tensor("weight", &[outputs, inputs], weight);
        if self.flip() {
            let bias = self.numbers(outputs, 0.5);
            net.tensor("bias", &[outputs], bias);
        }
        net.add("linear", "");
    }

    /// `how`: stride, padding, dilation, groups. Gives one to three output channels for each group.
    pub(super) fn convolution(&mut self, net: &mut Net, dimensions: usize, kernel: usize, how: [usize; 4]) {
        let each = self.between(1, 3);
        self.convolution_to(net, dimensions, kernel, how, how[3] * each);
    }

    pub(super) fn convolution_to(
        &mut self,
        net: &mut Net,
        dimensions: usize,
        kernel: usize,
        how: [usize; 4],
        outputs: usize,
    ) {
        let [stride, padding, dilation, groups] = how;
        let channels = net.row_dims()[0];
        let mut dims = vec![outputs, channels / groups];
        dims.extend(std::iter::repeat_n(kernel, dimensions));
        let count = dims.iter().product::<usize>();
        let weight = self.numbers(count, 1.5 / ((count / outputs) as f32).sqrt());
        net.tensor("weight", &dims, weight);
        if self.flip() {
            let bias = self.numbers(outputs, 0.5);
            net.tensor("bias", &[outputs], bias);
        }
        let settings = format!("stride = {stride}\npadding = {padding}\ndilation = {dilation}\ngroups = {groups}\n");
        net.add(&format!("conv{dimensions}d"), &settings);
    }

    pub(super) fn batch_norm(&mut self, net: &mut Net) {
        let channels = net.row_dims()[0];
        let (mean, variance) = (self.numbers(channels, 1.0), self.positive(channels));
        net.tensor("running_mean", &[channels], mean);
        net.tensor("running_var", &[channels], variance);
        if self.flip() {
            let (weight, bias) = (self.numbers(channels, 1.5), self.numbers(channels, 0.5));
            net.tensor("weight", &[channels], weight);
            net.tensor("bias", &[channels], bias);
        }
        net.tensor("num_batches_tracked", &[], vec![3.0]);
        net.add("batch_norm", "");
    }

    fn layer_norm(&mut self, net: &mut Net, row: &[usize]) {
        let dims = row[self.below(row.len())..].to_vec();
        let count = dims.iter().product();
        let weight = self.positive(count);
        net.tensor("weight", &dims, weight);
        if self.flip() {
            let bias = self.numbers(count, 0.5);
            net.tensor("bias", &dims, bias);
        }
        // A group of one number has no variance; a larger epsilon keeps its square root away from rounding.
        net.add("layer_norm", "eps = 1e-2\n");
    }
}
