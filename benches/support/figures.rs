//! How figures are told: the median of the rounds and what the rounds lay between.

use std::io::Write as _;

/// Median and range of one figure over the rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub(crate) median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// The spread of `values`; zero if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        let (count, half) = (sorted.len(), sorted.len() / 2);
        let median = if count % 2 == 1 { at(half) } else { f64::midpoint(at(half.saturating_sub(1)), at(half)) };
        Self { median, least: at(0), most: at(count.saturating_sub(1)) }
    }

    /// `median (least..most)`, with so many digits behind the point.
    pub(crate) fn show(&self, digits: usize) -> String {
        let Self { median, least, most } = self;
        format!("{median:.digits$} ({least:.digits$}..{most:.digits$})")
    }
}

/// Prints a line. A reader that has gone ends the printing, not the benchmark.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = writeln!(out, "{text}").and_then(|()| out.flush());
}
