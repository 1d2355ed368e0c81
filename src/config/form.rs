//! The forms that a setting's value can have: each knows what it accepts and how to say so.

mod numbers;
mod special;

use std::fmt::Write as _;

pub(super) use numbers::{Number, Positive, Size, Time, Whole};
pub(super) use special::{Address, FilePath, Folder, Levels};

use super::tree::Value;

const FOUND_CHARS_MAX: usize = 60;
const FOUND_ITEMS_MAX: usize = 8;

/// How a value is read from a file or from text, and how what is accepted is put into words.
pub(super) trait Form {
    /// What is read.
    type Output;

    /// What is accepted, to follow the word "expected".
    fn expected(&self) -> String;

    /// One word for it, where there is no room for more.
    fn noun(&self) -> &'static str;

    /// Reads a value of a file; `None` if it is not what is expected.
    fn read(&self, value: &Value) -> Option<Self::Output>;

    /// Reads a variable of the environment; `None` if it is not what is expected.
    fn parse(&self, text: &str) -> Option<Self::Output>;

    /// Reads a flag, given once or more; `None` if it is not what is expected.
    fn parse_flag(&self, texts: &[String]) -> Option<Self::Output> {
        self.parse(texts.last()?)
    }

    /// Writes a value as one would in a file.
    fn show(&self, value: &Self::Output) -> String;
}

/// Any string.
pub(super) struct Text;

impl Form for Text {
    type Output = String;

    fn expected(&self) -> String {
        "a string".to_owned()
    }

    fn noun(&self) -> &'static str {
        "TEXT"
    }

    fn read(&self, value: &Value) -> Option<String> {
        text(value).map(str::to_owned)
    }

    fn parse(&self, text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn show(&self, value: &String) -> String {
        format!("\"{value}\"")
    }
}

/// `true` or `false`.
pub(super) struct Switch;

impl Form for Switch {
    type Output = bool;

    fn expected(&self) -> String {
        "true or false".to_owned()
    }

    fn noun(&self) -> &'static str {
        "BOOL"
    }

    fn read(&self, value: &Value) -> Option<bool> {
        if let Value::Switch(switch) = value { Some(*switch) } else { None }
    }

    fn parse(&self, text: &str) -> Option<bool> {
        text.parse().ok()
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// One of several words, each with its meaning.
pub(super) struct Choice<'a, T>(pub(super) &'a [(&'a str, T)]);

impl<T: Clone + PartialEq> Form for Choice<'_, T> {
    type Output = T;

    fn expected(&self) -> String {
        let mut text = String::new();
        for (position, (word, _)) in self.0.iter().enumerate() {
            let joint = match position {
                0 => "",
                last if last + 1 == self.0.len() => " or ",
                _ => ", ",
            };
            // Writing to a String cannot fail.
            let _infallible = write!(text, "{joint}\"{word}\"");
        }
        text
    }

    fn noun(&self) -> &'static str {
        "WORD"
    }

    fn read(&self, value: &Value) -> Option<T> {
        self.parse(text(value)?)
    }

    fn parse(&self, text: &str) -> Option<T> {
        self.0.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone())
    }

    fn show(&self, value: &T) -> String {
        let word = self.0.iter().find(|(_, meaning)| meaning == value).map_or("", |(word, _)| word);
        format!("\"{word}\"")
    }
}

/// A list of values of one form; separated by `:` where it is text.
pub(super) struct List<F>(pub(super) F);

impl<F: Form> Form for List<F> {
    type Output = Vec<F::Output>;

    fn expected(&self) -> String {
        format!("a list, each item {}", self.0.expected())
    }

    fn noun(&self) -> &'static str {
        self.0.noun()
    }

    fn read(&self, value: &Value) -> Option<Vec<F::Output>> {
        let Value::List(items) = value else { return None };
        items.iter().map(|item| self.0.read(&item.value)).collect()
    }

    fn parse(&self, text: &str) -> Option<Vec<F::Output>> {
        text.split(':').map(|item| self.0.parse(item)).collect()
    }

    fn parse_flag(&self, texts: &[String]) -> Option<Vec<F::Output>> {
        texts.iter().map(|item| self.0.parse(item)).collect()
    }

    fn show(&self, value: &Vec<F::Output>) -> String {
        let items: Vec<_> = value.iter().map(|item| self.0.show(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

fn text(value: &Value) -> Option<&str> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

/// What stands in a file, shortly and in the file's own notation.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("\"{}\"", cut(text)),
        Value::Whole(number) => number.to_string(),
        Value::Number(number) => format!("{number:?}"),
        Value::Switch(switch) => switch.to_string(),
        Value::Date => "a date or time".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        Value::List(items) => {
            let shown: Vec<_> = items.iter().take(FOUND_ITEMS_MAX).map(|item| found_item(&item.value)).collect();
            let rest = if items.len() > FOUND_ITEMS_MAX { ", …" } else { "" };
            format!("[{}{rest}]", shown.join(", "))
        }
    }
}

/// The same for an item of a list, without descending further.
fn found_item(value: &Value) -> String {
    if matches!(value, Value::List(_)) { "a list".to_owned() } else { found(value) }
}

/// A text as it is quoted in a problem.
pub(super) fn cut(text: &str) -> String {
    crate::types::printable(text, FOUND_CHARS_MAX)
}
