//! Why a version of a model could not be loaded.

use std::fmt;

use crate::config::Problems;
use crate::types::printable;

const REASON_CHARS_MAX: usize = 1024;

/// A file of a version and what is wrong with it, as one printable line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    file: String,
    reason: String,
}

impl LoadError {
    /// `reason` says what was expected and what came. Both are escaped and cut here, so they may quote the file.
    pub fn new(file: impl AsRef<str>, reason: impl AsRef<str>) -> Self {
        let file = printable(file.as_ref(), REASON_CHARS_MAX);
        Self { file, reason: printable(reason.as_ref(), REASON_CHARS_MAX) }
    }

    /// All problems of a file on one line.
    pub fn of_problems(file: &str, problems: &Problems) -> Self {
        let place = format!("{file}:");
        let line = |problem: &String| match problem.strip_prefix(&place) {
            Some(rest) if rest.starts_with(|first: char| first.is_ascii_digit()) => format!("line {rest}"),
            Some(rest) => rest.trim_start().to_owned(),
            None => problem.clone(),
        };
        let lines: Vec<_> = problems.lines().iter().map(line).collect();
        Self::new(file, lines.join("; "))
    }

    /// The file that is wrong or missing.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What is wrong with it.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.file, self.reason)
    }
}

impl std::error::Error for LoadError {}
