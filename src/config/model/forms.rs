//! Values that only a model's settings have: which versions, and a range.

use std::num::NonZeroUsize;

use super::VersionPolicy;
use crate::config::form::{Form, List, Number, Positive, Whole};
use crate::config::tree::Value;

const ALL: &str = "all";
const LATEST: &str = "latest";
/// More versions than this are all.
const LATEST_MAX: u32 = 1 << 20;

/// `"latest"`, `"latest:2"`, `"all"` or a list of version numbers.
pub(super) struct Versions;

impl Form for Versions {
    type Output = VersionPolicy;

    fn expected(&self) -> String {
        "\"latest\", \"latest:2\" for the newest two, \"all\" or a list of version numbers such as [1, 3]".to_owned()
    }

    fn noun(&self) -> &'static str {
        "VERSIONS"
    }

    fn read(&self, value: &Value) -> Option<VersionPolicy> {
        if let Value::Text(text) = value {
            return self.parse(text);
        }
        let mut numbers = Vec::new();
        for number in List(Whole(1..=i64::MAX)).read(value)? {
            numbers.push(u64::try_from(number).ok()?);
        }
        numbers.sort_unstable();
        numbers.dedup();
        (!numbers.is_empty()).then_some(VersionPolicy::Only(numbers))
    }

    fn parse(&self, text: &str) -> Option<VersionPolicy> {
        match text.split_once(':') {
            None if text == ALL => Some(VersionPolicy::All),
            None if text == LATEST => Some(VersionPolicy::default()),
            Some((LATEST, count)) => Positive(LATEST_MAX).parse(count).map(VersionPolicy::Latest),
            _ => None,
        }
    }

    fn show(&self, value: &VersionPolicy) -> String {
        match value {
            VersionPolicy::Latest(NonZeroUsize::MIN) => format!("\"{LATEST}\""),
            VersionPolicy::Latest(count) => format!("\"{LATEST}:{count}\""),
            VersionPolicy::All => format!("\"{ALL}\""),
            VersionPolicy::Only(numbers) => format!("{numbers:?}"),
        }
    }
}

/// A pair of numbers, the first below the second.
pub(super) struct Range;

impl Form for Range {
    type Output = (f64, f64);

    fn expected(&self) -> String {
        "two numbers, the lower first, such as [0.0, 350.0]".to_owned()
    }

    fn noun(&self) -> &'static str {
        "RANGE"
    }

    fn read(&self, value: &Value) -> Option<(f64, f64)> {
        match List(Number(f64::MIN..=f64::MAX)).read(value)?.as_slice() {
            [low, high] if low < high => Some((*low, *high)),
            _ => None,
        }
    }

    /// No model's setting comes from text.
    fn parse(&self, _text: &str) -> Option<(f64, f64)> {
        None
    }

    fn show(&self, (low, high): &(f64, f64)) -> String {
        format!("[{low:?}, {high:?}]")
    }
}
