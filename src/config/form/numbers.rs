//! Numbers with a range, and amounts of time and memory with a unit.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Form, text};
use crate::config::tree::Value;
use crate::config::units;

/// A whole number in a range.
pub(in crate::config) struct Whole(pub(in crate::config) RangeInclusive<i64>);

impl Form for Whole {
    type Output = i64;

    fn expected(&self) -> String {
        match (*self.0.start(), *self.0.end()) {
            (i64::MIN, i64::MAX) => "a whole number".to_owned(),
            (min, i64::MAX) => format!("a whole number of at least {min}"),
            (min, max) => format!("a whole number from {min} to {max}"),
        }
    }

    fn noun(&self) -> &'static str {
        "NUMBER"
    }

    fn read(&self, value: &Value) -> Option<i64> {
        let Value::Whole(number) = value else { return None };
        i64::try_from(*number).ok().filter(|number| self.0.contains(number))
    }

    fn parse(&self, text: &str) -> Option<i64> {
        text.parse().ok().filter(|number| self.0.contains(number))
    }

    fn show(&self, value: &i64) -> String {
        value.to_string()
    }
}

/// A whole number from 1 to a largest.
pub(in crate::config) struct Positive(pub(in crate::config) u32);

impl Positive {
    fn range(&self) -> Whole {
        Whole(1..=i64::from(self.0))
    }

    fn check(number: i64) -> Option<NonZeroUsize> {
        NonZeroUsize::new(usize::try_from(number).ok()?)
    }
}

impl Form for Positive {
    type Output = NonZeroUsize;

    fn expected(&self) -> String {
        self.range().expected()
    }

    fn noun(&self) -> &'static str {
        "NUMBER"
    }

    fn read(&self, value: &Value) -> Option<NonZeroUsize> {
        self.range().read(value).and_then(Self::check)
    }

    fn parse(&self, text: &str) -> Option<NonZeroUsize> {
        self.range().parse(text).and_then(Self::check)
    }

    fn show(&self, value: &NonZeroUsize) -> String {
        value.to_string()
    }
}

/// A finite number in a range; a file may write it without a point.
pub(in crate::config) struct Number(pub(in crate::config) RangeInclusive<f64>);

impl Form for Number {
    type Output = f64;

    fn expected(&self) -> String {
        match (*self.0.start(), *self.0.end()) {
            (f64::MIN, f64::MAX) => "a finite number".to_owned(),
            (min, max) => format!("a number from {min} to {max}"),
        }
    }

    fn noun(&self) -> &'static str {
        "NUMBER"
    }

    fn read(&self, value: &Value) -> Option<f64> {
        match value {
            Value::Number(number) => Some(*number),
            // Exact to 2^53, beyond which nobody sets a number.
            Value::Whole(number) => number.to_string().parse().ok(),
            _ => None,
        }
        .filter(|number| self.0.contains(number))
    }

    fn parse(&self, text: &str) -> Option<f64> {
        text.parse().ok().filter(|number| self.0.contains(number))
    }

    fn show(&self, value: &f64) -> String {
        format!("{value:?}")
    }
}

/// A duration in a range, with its unit.
pub(in crate::config) struct Time(pub(in crate::config) RangeInclusive<Duration>);

impl Form for Time {
    type Output = Duration;

    fn expected(&self) -> String {
        let (min, max) = (units::show_duration(*self.0.start()), units::show_duration(*self.0.end()));
        format!("a duration from {min} to {max}, such as \"250ms\"")
    }

    fn noun(&self) -> &'static str {
        "DURATION"
    }

    fn read(&self, value: &Value) -> Option<Duration> {
        self.parse(text(value)?)
    }

    fn parse(&self, text: &str) -> Option<Duration> {
        units::duration(text).filter(|duration| self.0.contains(duration))
    }

    fn show(&self, value: &Duration) -> String {
        format!("\"{}\"", units::show_duration(*value))
    }
}

/// A number of bytes in a range, with its unit; never zero.
pub(in crate::config) struct Size(pub(in crate::config) RangeInclusive<usize>);

impl Form for Size {
    type Output = NonZeroUsize;

    fn expected(&self) -> String {
        let (min, max) = (units::show_size(*self.0.start()), units::show_size(*self.0.end()));
        format!("a size from {min} to {max}, such as \"64MiB\"")
    }

    fn noun(&self) -> &'static str {
        "SIZE"
    }

    fn read(&self, value: &Value) -> Option<NonZeroUsize> {
        self.parse(text(value)?)
    }

    fn parse(&self, text: &str) -> Option<NonZeroUsize> {
        units::size(text).filter(|bytes| self.0.contains(bytes)).and_then(NonZeroUsize::new)
    }

    fn show(&self, value: &NonZeroUsize) -> String {
        format!("\"{}\"", units::show_size(value.get()))
    }
}
