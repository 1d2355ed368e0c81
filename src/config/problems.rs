//! Everything that is wrong with a configuration, so that it can be put right in one go.

use std::fmt;

use crate::types::printable;

const LINE_CHARS_MAX: usize = 512;
const LINES_MAX: usize = 100;

/// One or more problems: a printable line each, naming the place, what was expected and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    lines: Vec<String>,
    more: usize,
}

impl Problems {
    /// No problem yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One problem.
    pub fn one(line: impl AsRef<str>) -> Self {
        let mut problems = Self::new();
        problems.push(line);
        problems
    }

    /// Adds a problem; one that is already there is not said twice, and from the hundredth on they are only counted.
    pub fn push(&mut self, line: impl AsRef<str>) {
        let line = printable(line.as_ref(), LINE_CHARS_MAX);
        if self.lines.contains(&line) {
            return;
        }
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }

    /// Adds the problems of another part.
    pub fn extend(&mut self, others: Problems) {
        for line in others.lines {
            self.push(line);
        }
        self.more += others.more;
    }

    /// The lines, in the order of the file; at most 100.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// `value` if there is no problem, else the problems.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl FromIterator<String> for Problems {
    fn from_iter<I: IntoIterator<Item = String>>(lines: I) -> Self {
        let mut problems = Self::new();
        lines.into_iter().for_each(|line| problems.push(line));
        problems
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.lines.join("\n"))?;
        if self.more > 0 { write!(out, "\nand {} more problems", self.more) } else { Ok(()) }
    }
}

impl std::error::Error for Problems {}

/// The candidate that `wrong` was most likely meant to be.
pub(super) fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let folded = wrong.to_lowercase();
    let scored =
        candidates.map(|candidate| (strsim::damerau_levenshtein(&folded, &candidate.to_lowercase()), candidate));
    let (distance, best) = scored.min_by_key(|(distance, _)| *distance)?;
    let close_enough = (best.chars().count().max(folded.chars().count()) / 3).max(1);
    (distance <= close_enough).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::{Problems, nearest};

    #[test]
    fn a_problem_is_one_line_and_said_once() {
        let mut problems = Problems::one("a\nb");
        problems.push("c");
        problems.push("c");
        problems.extend(Problems::one("c"));
        assert_eq!(problems.to_string(), "a\\u{a}b\nc");
        assert!(problems.or(()).is_err());
        assert_eq!(Problems::new().or(7), Ok(7));
        let many: Problems = (0..103).map(|number| number.to_string()).collect();
        assert!(many.to_string().ends_with("99\nand 3 more problems"));
    }

    #[test]
    fn suggestions_are_close() {
        let known = ["max_batch_size", "versions", "timeout", "p"];
        for (wrong, meant) in [
            ("max_batchsize", Some("max_batch_size")),
            ("max-batch-size", Some("max_batch_size")),
            ("MaxBatchSize", Some("max_batch_size")),
            ("version", Some("versions")),
            ("tiemout", Some("timeout")),
            ("colour", None),
            ("", Some("p")),
        ] {
            assert_eq!(nearest(wrong, known.into_iter()), meant, "{wrong}");
        }
        assert_eq!(nearest("x", std::iter::empty()), None);
    }
}
