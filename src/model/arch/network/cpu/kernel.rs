//! A small matrix product in plain Rust, with its weights packed once, for products that fit into the caches.
//!
//! Candle's own product asks the system for the number of its cores at every call, unless a variable of the
//! environment says it: 35 µs on Linux, where `/proc/cpuinfo` is read, against 1 µs of arithmetic. It also packs the
//! weights anew each time. Sums run over the inputs in order, so a row's result does not depend on its neighbours.

/// Columns that are computed together: two registers of the smallest vector unit.
const COLUMNS: usize = 8;
/// Rows that are computed together, so that weights are loaded once for all of them.
const ROWS: usize = 4;

type Lane = [f32; COLUMNS];

/// Weights `[inputs, outputs]` and bias, cut into panels of columns; missing columns are zeros.
pub(super) struct Panels {
    inputs: usize,
    outputs: usize,
    /// `inputs` lanes for each panel.
    weights: Vec<Lane>,
    /// A lane for each panel.
    bias: Vec<Lane>,
}

/// Where the inputs of a row lie: in runs that begin at its base plus each of `taps`.
///
/// A linear layer's row is one run. A convolution's is a run for each line of its window: nothing has to be gathered.
pub(super) struct Windows<'a> {
    pub(super) values: &'a [f32],
    pub(super) taps: &'a [usize],
    pub(super) run: usize,
}

/// Where results go: the columns of row `i` begin at `first + i * stride`.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) first: usize,
    pub(super) stride: usize,
}

impl Panels {
    /// `weight`: `[inputs, outputs]`, row-major.
    pub(super) fn new(inputs: usize, outputs: usize, weight: &[f32], bias: Option<&[f32]>) -> Self {
        let mut weights = Vec::with_capacity(inputs * outputs.div_ceil(COLUMNS));
        for first in (0..outputs).step_by(COLUMNS) {
            weights.extend(weight.chunks_exact(outputs.max(1)).map(|row| lane(row, first)));
        }
        let bias = bias.map_or(vec![[0.0; COLUMNS]; outputs.div_ceil(COLUMNS)], |bias| {
            (0..outputs).step_by(COLUMNS).map(|first| lane(bias, first)).collect()
        });
        Self { inputs, outputs, weights, bias }
    }

    /// Multiplies `count` rows, whose inputs begin at `base(i)`, and writes `x * weight + bias` into `out`.
    pub(super) fn multiply(
        &self,
        windows: &Windows<'_>,
        count: usize,
        base: impl Fn(usize) -> usize,
        out: &mut [f32],
        target: Target,
    ) {
        let whole = count - count % ROWS;
        for first in (0..whole).step_by(ROWS) {
            let bases = [base(first), base(first + 1), base(first + 2), base(first + 3)];
            for (panel, (weights, bias)) in self.panels().enumerate() {
                let lanes = windows.four(bases, weights, *bias);
                for (row, lane) in lanes.iter().enumerate() {
                    self.store(lane, panel, target.first + (first + row) * target.stride, out);
                }
            }
        }
        for row in whole..count {
            let base = base(row);
            for (panel, (weights, bias)) in self.panels().enumerate() {
                let lane = windows.one(base, weights, *bias);
                self.store(&lane, panel, target.first + row * target.stride, out);
            }
        }
    }

    fn panels(&self) -> impl Iterator<Item = (&[Lane], &Lane)> {
        self.weights.chunks_exact(self.inputs.max(1)).zip(&self.bias)
    }

    fn store(&self, lane: &Lane, panel: usize, row: usize, out: &mut [f32]) {
        let first = panel * COLUMNS;
        let columns = COLUMNS.min(self.outputs - first);
        let out = out.get_mut(row + first..row + first + columns).unwrap_or_default();
        // A copy of known length is two moves, not a call.
        match <&mut Lane>::try_from(&mut *out) {
            Ok(out) => *out = *lane,
            Err(_) => out.iter_mut().zip(lane).for_each(|(out, value)| *out = *value),
        }
    }
}

impl Windows<'_> {
    fn four(&self, bases: [usize; ROWS], weights: &[Lane], bias: Lane) -> [Lane; ROWS] {
        let [mut a, mut b, mut c, mut d] = [bias; ROWS];
        for (tap, weights) in self.taps.iter().zip(weights.chunks_exact(self.run.max(1))) {
            let [xa, xb, xc, xd] = bases.map(|base| self.run_at(base + tap));
            for ((((weight, xa), xb), xc), xd) in weights.iter().zip(xa).zip(xb).zip(xc).zip(xd) {
                add(&mut a, *xa, weight);
                add(&mut b, *xb, weight);
                add(&mut c, *xc, weight);
                add(&mut d, *xd, weight);
            }
        }
        [a, b, c, d]
    }

    fn one(&self, base: usize, weights: &[Lane], bias: Lane) -> Lane {
        let mut a = bias;
        for (tap, weights) in self.taps.iter().zip(weights.chunks_exact(self.run.max(1))) {
            for (weight, x) in weights.iter().zip(self.run_at(base + tap)) {
                add(&mut a, *x, weight);
            }
        }
        a
    }

    fn run_at(&self, first: usize) -> &[f32] {
        self.values.get(first..first + self.run).unwrap_or_default()
    }
}

#[inline]
fn add(sums: &mut Lane, x: f32, weight: &Lane) {
    for (sum, weight) in sums.iter_mut().zip(weight) {
        *sum += x * weight;
    }
}

fn lane(row: &[f32], first: usize) -> Lane {
    let mut lane = [0.0; COLUMNS];
    for (place, value) in lane.iter_mut().zip(row.iter().skip(first)) {
        *place = *value;
    }
    lane
}
