//! The networks written out for one row at a time, in `f64`, from the papers and the libraries' equations.

use super::folder::{Family, Folder, HEADS, HIDDEN, Tensors};

pub(super) type Matrix = Vec<Vec<f64>>;

/// Weights by name.
pub(super) struct Reference<'a> {
    pub(super) tensors: &'a Tensors,
    pub(super) prefix: &'a str,
    pub(super) eps: f64,
}

impl Reference<'_> {
    fn numbers(&self, name: &str) -> Option<Vec<f64>> {
        let (_, numbers) = self.tensors.get(&format!("{}{name}", self.prefix))?;
        Some(numbers.iter().map(|number| f64::from(*number)).collect())
    }

    fn row(&self, table: &str, at: usize) -> Vec<f64> {
        self.numbers(table).expect("a table")[at * HIDDEN..(at + 1) * HIDDEN].to_vec()
    }

    pub(super) fn linear(&self, name: &str, rows: &Matrix) -> Matrix {
        let weight = self.numbers(&format!("{name}.weight")).expect("a weight");
        let bias = self.numbers(&format!("{name}.bias"));
        let inputs = rows[0].len();
        let output = |row: &Vec<f64>, at: usize| {
            let products = row.iter().zip(&weight[at * inputs..(at + 1) * inputs]).map(|(one, other)| one * other);
            products.sum::<f64>() + bias.as_ref().map_or(0.0, |bias| bias[at])
        };
        rows.iter().map(|row| (0..weight.len() / inputs).map(|at| output(row, at)).collect()).collect()
    }

    pub(super) fn norm(&self, name: &str, rows: &Matrix) -> Matrix {
        let weight = self.numbers(&format!("{name}.weight")).expect("a weight");
        let bias = self.numbers(&format!("{name}.bias")).unwrap_or_else(|| vec![0.0; weight.len()]);
        let one = |row: &Vec<f64>| {
            let count = f64::from(u32::try_from(row.len()).expect("few"));
            let mean = row.iter().sum::<f64>() / count;
            let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            let deviation = (variance + self.eps).sqrt();
            (0..row.len()).map(|at| (row[at] - mean) / deviation * weight[at] + bias[at]).collect()
        };
        rows.iter().map(one).collect()
    }

    /// BERT, and the families built as it is.
    pub(super) fn bert(&self, family: &Family, ids: &[usize], types: &[usize]) -> Matrix {
        let embed = |at: usize| {
            let position = if family.is_roberta() {
                let counted = ids[..=at].iter().filter(|id| **id != 1).count();
                if ids[at] == 1 { 1 } else { 1 + counted }
            } else {
                at
            };
            let word = self.row("embeddings.word_embeddings.weight", ids[at]);
            let mut sum = added(&word, &self.row("embeddings.position_embeddings.weight", position));
            if family.has_types {
                sum = added(&sum, &self.row("embeddings.token_type_embeddings.weight", types[at]));
            }
            sum
        };
        let mut rows = self.norm("embeddings.LayerNorm", &(0..ids.len()).map(embed).collect());
        for layer in 0..2 {
            let name = |part: &str| format!("{}.{layer}.{part}", family.layers);
            let [query, key, value, output, first, up, down, second] = family.parts.map(name);
            let [queries, keys, values] = [query, key, value].map(|name| self.linear(&name, &rows));
            let seen = self.linear(&output, &attend(&queries, &keys, &values, usize::MAX));
            rows = self.norm(&first, &sum(&rows, &seen));
            let inner = mapped(&self.linear(&up, &rows), gelu);
            rows = self.norm(&second, &sum(&rows, &self.linear(&down, &inner)));
        }
        rows
    }

    /// ModernBERT.
    pub(super) fn modernbert(&self, ids: &[usize]) -> Matrix {
        let words = ids.iter().map(|id| self.row("embeddings.tok_embeddings.weight", *id)).collect();
        let mut rows = self.norm("embeddings.norm", &words);
        for layer in 0..4 {
            let name = |part: &str| format!("layers.{layer}.{part}");
            let (reach, theta) = if layer % 3 == 0 { (usize::MAX, 160_000.0) } else { (2, 100.0) };
            let taken = if layer == 0 { rows.clone() } else { self.norm(&name("attn_norm"), &rows) };
            let qkv = self.linear(&name("attn.Wqkv"), &taken);
            let part =
                |at: usize| -> Matrix { qkv.iter().map(|row| row[at * HIDDEN..(at + 1) * HIDDEN].to_vec()).collect() };
            let seen = attend(&turned(&part(0), theta), &turned(&part(1), theta), &part(2), reach);
            rows = sum(&rows, &self.linear(&name("attn.Wo"), &seen));
            let both = self.linear(&name("mlp.Wi"), &self.norm(&name("mlp_norm"), &rows));
            let half = both[0].len() / 2;
            let gate = |row: &Vec<f64>| (0..half).map(|at| gelu(row[at]) * row[half + at]).collect();
            rows = sum(&rows, &self.linear(&name("mlp.Wo"), &both.iter().map(gate).collect()));
        }
        self.norm("final_norm", &rows)
    }
}

/// What the folder's encoder makes of a row.
pub(super) fn encode(folder: &Folder, family: Option<&Family>, prefix: &str, ids: &[i64]) -> Matrix {
    let ids: Vec<usize> = ids.iter().map(|id| usize::try_from(*id).expect("an id")).collect();
    let eps = if family.is_some_and(|family| family.model_type == "distilbert") { 1e-12 } else { 1e-5 };
    let reference = Reference { tensors: &folder.tensors, prefix, eps };
    match family {
        Some(family) => reference.bert(family, &ids, &vec![0; ids.len()]),
        None => reference.modernbert(&ids),
    }
}

fn added(one: &[f64], other: &[f64]) -> Vec<f64> {
    one.iter().zip(other).map(|(one, other)| one + other).collect()
}

fn sum(one: &Matrix, other: &Matrix) -> Matrix {
    one.iter().zip(other).map(|(one, other)| added(one, other)).collect()
}

pub(super) fn mapped(rows: &Matrix, of: impl Fn(f64) -> f64) -> Matrix {
    rows.iter().map(|row| row.iter().map(|value| of(*value)).collect()).collect()
}

/// The mean of all rows.
pub(super) fn mean(rows: &Matrix) -> Vec<f64> {
    let count = f64::from(u32::try_from(rows.len()).expect("few"));
    (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column]).sum::<f64>() / count).collect()
}

fn attend(queries: &Matrix, keys: &Matrix, values: &Matrix, reach: usize) -> Matrix {
    let width = HIDDEN / HEADS;
    let mut seen = vec![vec![0.0; HIDDEN]; queries.len()];
    for head in 0..HEADS {
        let columns = head * width..(head + 1) * width;
        for (at, query) in queries.iter().enumerate() {
            let score = |other: usize| {
                let products = columns.clone().map(|column| query[column] * keys[other][column]);
                products.sum::<f64>() / f64::from(u32::try_from(width).expect("few")).sqrt()
            };
            let near: Vec<usize> = (0..keys.len()).filter(|other| at.abs_diff(*other) <= reach).collect();
            let weights: Vec<f64> = near.iter().map(|other| score(*other).exp()).collect();
            let total: f64 = weights.iter().sum();
            for column in columns.clone() {
                let products = near.iter().zip(&weights).map(|(other, weight)| weight * values[*other][column]);
                seen[at][column] = products.sum::<f64>() / total;
            }
        }
    }
    seen
}

/// Pairs of halves of each head, turned by their position.
fn turned(rows: &Matrix, theta: f64) -> Matrix {
    let width = HIDDEN / HEADS;
    let mut turned = rows.clone();
    for (position, row) in rows.iter().enumerate() {
        for head in 0..HEADS {
            for pair in 0..width / 2 {
                let (one, other) = (head * width + pair, head * width + pair + width / 2);
                let number = |count: usize| f64::from(u32::try_from(count).expect("few"));
                let angle = number(position) / theta.powf(2.0 * number(pair) / number(width));
                turned[position][one] = row[one] * angle.cos() - row[other] * angle.sin();
                turned[position][other] = row[other] * angle.cos() + row[one] * angle.sin();
            }
        }
    }
    turned
}

pub(super) fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + error_function(x / 2.0_f64.sqrt()))
}

/// By Simpson's rule, with steps so short that only rounding is left.
fn error_function(x: f64) -> f64 {
    const STEPS: u32 = 2000;
    let at = |step: u32| (-(x * f64::from(step) / f64::from(STEPS)).powi(2)).exp();
    let inner: f64 = (1..STEPS).map(|step| if step % 2 == 1 { 4.0 * at(step) } else { 2.0 * at(step) }).sum();
    (at(0) + inner + at(STEPS)) * x / f64::from(STEPS) / 3.0 * std::f64::consts::FRAC_2_SQRT_PI
}
