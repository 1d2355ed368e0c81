//! A TOML file read strictly: every key is asked for by name, every problem is told with its line, all at once.
//!
//! The reader pulls what it knows; what it never asks for is unknown and refused by [`Document::finish`], with the
//! nearest asked key as a suggestion. Every pull returns an `Option`: `None` is "absent, or wrong and noted", so a
//! reader goes on with a default and the problems come out together at the end.
//!
//! ```
//! # use sconce::config::{Document, Problems};
//! # use std::time::Duration;
//! #[derive(Clone, PartialEq)]
//! enum Mode { Fast, Exact }
//!
//! # fn read() -> Result<(), Problems> {
//! let text = "dims = [2, 3]\nmode = \"exact\"\n[input]\nname = \"x\"\n[[layer]]\ntype = \"dropout\"\np = 0.2\n";
//! let document = Document::parse("models/x/1/network.toml", text)?;   // or Document::open(path)?
//! let root = document.root();
//! root.require(&["input", "layer"]);                    // notes "missing key `input`"
//! let dims = root.counts("dims", 1..=1 << 32).unwrap_or_default();
//! let mode = root.choice("mode", &[("fast", Mode::Fast), ("exact", Mode::Exact)]).unwrap_or(Mode::Fast);
//! let wait = root.duration("wait", Duration::ZERO..=Duration::from_secs(1)).unwrap_or_default();
//! if let Some(input) = root.table("input") {            // [input], or absent
//!     input.require(&["name"]);
//!     let name = input.string("name").unwrap_or_default();
//! }
//! for layer in root.tables("layer") {                   // [[layer]], in order; empty if absent
//!     let kind = layer.string("type").unwrap_or_default();
//!     match kind.as_str() {
//!         "dropout" => { let p = layer.number("p", 0.0..=1.0).unwrap_or(0.5); }
//!         _ => layer.problem("type", "no such layer"),  // "…network.toml:6: `layer[0].type`: no such layer"
//!     }
//! }
//! document.finish()?;                                   // unknown keys and all problems, in the file's order
//! # Ok(()) }
//! # read().unwrap();
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::form::{self, Choice, Form, List, Number, Size, Switch, Text, Time, Whole};
use super::problems::{Problems, nearest};
use super::tree::{self, Item, Keys, Value};

const FILE_BYTES_MAX: u64 = 4 << 20;

/// A parsed file, the keys that were asked for and the problems found so far.
pub struct Document {
    file: String,
    root: Keys,
    notes: RefCell<Notes>,
}

#[derive(Default)]
struct Notes {
    /// Asked keys of each table, by the table's path.
    asked: BTreeMap<String, BTreeSet<String>>,
    /// Problems with their lines; 0 is the file as a whole.
    problems: Vec<(usize, String)>,
}

impl Notes {
    fn know(&mut self, path: &str, key: &str) {
        self.asked.entry(path.to_owned()).or_default().insert(key.to_owned());
    }

    /// The table that does have a key of this name. The items of a list differ on purpose, so they are left out.
    fn elsewhere(&self, path: &str, name: &str) -> Option<String> {
        let listed = |path: &str| path.contains('[');
        let mut tables = self.asked.iter().filter(|(other, keys)| !listed(other) && keys.contains(name));
        tables.next().filter(|_| !listed(path)).map(|(other, _)| join(other, name))
    }
}

impl Document {
    /// Reads and parses a file, which is named in every problem. Errors: unreadable, over 4 MiB, not UTF-8, not TOML.
    pub fn open(path: &Path) -> Result<Self, Problems> {
        let file = path.display().to_string();
        let refuse = |why: String| Problems::one(format!("{file}: cannot be read: {why}"));
        let open = std::fs::File::open(path).map_err(|error| refuse(error.to_string()))?;
        let mut text = String::new();
        // One byte more than is allowed shows that there is too much, however much there is.
        open.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| refuse(error.to_string()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(refuse(format!("more than {FILE_BYTES_MAX} bytes")));
        }
        Self::parse(&file, &text)
    }

    /// Parses `text`; `file` is the name used in problems. Errors: every line that is not TOML.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let tell = |(line, message)| format!("{file}:{line}: not TOML: {message}");
        match tree::parse(text) {
            Ok(root) => Ok(Self { file: file.to_owned(), root, notes: RefCell::default() }),
            Err(broken) => Err(broken.into_iter().map(tell).collect()),
        }
    }

    /// The keys outside any table.
    pub fn root(&self) -> Table<'_> {
        Table { document: self, keys: &self.root, path: String::new(), line: 0 }
    }

    /// Refuses the keys that nobody asked for, and gives every problem in the order of the file.
    pub fn finish(self) -> Result<(), Problems> {
        self.refuse_unknown("", &self.root);
        self.problems().or(())
    }

    fn refuse_unknown(&self, path: &str, keys: &Keys) {
        // A table that was never asked for was refused where it stands; its keys add nothing.
        let Some(asked) = self.notes.borrow().asked.get(path).cloned() else {
            return;
        };
        for (name, item) in keys {
            if !asked.contains(name) {
                let hint = self.hint(path, name, &asked);
                let text = format!("unknown key `{}`{hint}", form::cut(&join(path, name)));
                self.note(item.line, text);
            }
            match &item.value {
                Value::Table(inner) => self.refuse_unknown(&join(path, name), inner),
                Value::List(items) => {
                    for (position, item) in items.iter().enumerate() {
                        if let Value::Table(inner) = &item.value {
                            self.refuse_unknown(&item_path(path, name, position), inner);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// What an unknown key may have been meant to be: the same key of another table, or one of its own table.
    fn hint(&self, path: &str, name: &str, asked: &BTreeSet<String>) -> String {
        let elsewhere = self.notes.borrow().elsewhere(path, name);
        let near = || nearest(name, asked.iter().map(String::as_str)).map(|key| join(path, key));
        match elsewhere.or_else(near) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None if asked.is_empty() => String::new(),
            None => format!("; known here: {}", asked.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
        }
    }

    /// Makes a key of a table known, whether or not the file has that table.
    pub(super) fn know(&self, path: &str, key: &str) {
        self.notes.borrow_mut().know(path, key);
    }

    fn note(&self, line: usize, text: String) {
        self.notes.borrow_mut().problems.push((line, text));
    }

    fn problems(&self) -> Problems {
        let mut noted = std::mem::take(&mut self.notes.borrow_mut().problems);
        noted.sort_by_key(|(line, _)| *line);
        let tell = |(line, text)| match line {
            0 => format!("{}: {text}", self.file),
            _ => format!("{}:{line}: {text}", self.file),
        };
        noted.into_iter().map(tell).collect()
    }
}

/// A table of a [`Document`]. Every key asked for, present or not, becomes a known key of this table.
#[derive(Clone)]
pub struct Table<'d> {
    document: &'d Document,
    keys: &'d Keys,
    path: String,
    line: usize,
}

impl<'d> Table<'d> {
    /// Any string.
    pub fn string(&self, key: &str) -> Option<String> {
        self.get(key, &Text)
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        self.get(key, &Switch)
    }

    /// A whole number in `range`; `i64::MIN..=i64::MAX` for any.
    pub fn integer(&self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        self.get(key, &Whole(range))
    }

    /// A whole number, not negative, in `range`.
    pub fn count(&self, key: &str, range: RangeInclusive<usize>) -> Option<usize> {
        self.get(key, &whole(&range)).and_then(|number| usize::try_from(number).ok())
    }

    /// A finite number in `range`; `f64::MIN..=f64::MAX` for any.
    pub fn number(&self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        self.get(key, &Number(range))
    }

    /// A string such as "2ms", "1.5s", "500us", "1m", in `range`.
    pub fn duration(&self, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.get(key, &Time(range))
    }

    /// A string such as "64MiB", in bytes, at least 1, in `range`.
    pub fn byte_size(&self, key: &str, range: RangeInclusive<usize>) -> Option<NonZeroUsize> {
        self.get(key, &Size(range))
    }

    /// One of several words, each with its meaning: `&[("softmax", ScoreKind::Softmax), …]`.
    pub fn choice<T: Clone + PartialEq>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.get(key, &Choice(choices))
    }

    /// A list of strings.
    pub fn strings(&self, key: &str) -> Option<Vec<String>> {
        self.get(key, &List(Text))
    }

    /// A list of whole numbers, each in `range`.
    pub fn integers(&self, key: &str, range: RangeInclusive<i64>) -> Option<Vec<i64>> {
        self.get(key, &List(Whole(range)))
    }

    /// A list of whole numbers, not negative, each in `range`.
    pub fn counts(&self, key: &str, range: RangeInclusive<usize>) -> Option<Vec<usize>> {
        let numbers = self.get(key, &List(whole(&range)))?;
        numbers.into_iter().map(|number| usize::try_from(number).ok()).collect()
    }

    /// A list of finite numbers, each in `range`.
    pub fn numbers(&self, key: &str, range: RangeInclusive<f64>) -> Option<Vec<f64>> {
        self.get(key, &List(Number(range)))
    }

    /// The table `[key]`.
    pub fn table(&self, key: &str) -> Option<Table<'d>> {
        let item = self.ask(key)?;
        let path = join(&self.path, key);
        match &item.value {
            Value::Table(keys) => Some(self.child(keys, path, item.line)),
            other => {
                self.problem(key, &format!("expected a table [{path}], got {}", form::found(other)));
                None
            }
        }
    }

    /// The tables `[[key]]`, in order; empty if there is none.
    pub fn tables(&self, key: &str) -> Vec<Table<'d>> {
        let mut tables = Vec::new();
        let Some(item) = self.ask(key) else {
            return tables;
        };
        let items = if let Value::List(items) = &item.value { &items[..] } else { &[] };
        for (position, item) in items.iter().enumerate() {
            if let Value::Table(keys) = &item.value {
                tables.push(self.child(keys, item_path(&self.path, key, position), item.line));
            }
        }
        if tables.len() != items.len() || !self.is_list(key) {
            let path = join(&self.path, key);
            self.problem(key, &format!("expected tables [[{path}]], got {}", form::found(&item.value)));
        }
        tables
    }

    /// Notes each of `keys` that is absent as missing; they become known keys.
    pub fn require(&self, keys: &[&str]) {
        for key in keys {
            if self.ask(key).is_none() {
                self.document.note(self.line, format!("missing key `{}`", join(&self.path, key)));
            }
        }
    }

    /// Whether the key is there, whatever its value.
    pub fn has(&self, key: &str) -> bool {
        self.ask(key).is_some()
    }

    /// Whether the key holds a list, for settings that take a word or a list.
    pub fn is_list(&self, key: &str) -> bool {
        self.ask(key).is_some_and(|item| matches!(item.value, Value::List(_)))
    }

    /// Notes a problem with the key's value, at its line; at the table's line if the key is absent.
    pub fn problem(&self, key: &str, text: &str) {
        let line = self.ask(key).map_or(self.line, |item| item.line);
        self.document.note(line, format!("`{}`: {text}", join(&self.path, key)));
    }

    /// Where the table begins, from 1; 0 for the root.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Path of the table, such as `layer[2]`; empty for the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads one key in a given form and notes a value that is not of that form.
    pub(super) fn get<F: Form>(&self, key: &str, form: &F) -> Option<F::Output> {
        let item = self.ask(key)?;
        let read = form.read(&item.value);
        if read.is_none() {
            let got = form::found(&item.value);
            self.problem(key, &format!("expected {}, got {got}", form.expected()));
        }
        read
    }

    fn ask(&self, key: &str) -> Option<&'d Item> {
        self.document.know(&self.path, key);
        self.keys.get(key)
    }

    fn child(&self, keys: &'d Keys, path: String, line: usize) -> Table<'d> {
        // Even a table of which nothing is asked has been asked for: its keys are unknown.
        self.document.notes.borrow_mut().asked.entry(path.clone()).or_default();
        Table { document: self.document, keys, path, line }
    }
}

fn whole(range: &RangeInclusive<usize>) -> Whole {
    let bound = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    Whole(bound(*range.start())..=bound(*range.end()))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn item_path(path: &str, key: &str, position: usize) -> String {
    format!("{}[{position}]", join(path, key))
}

#[cfg(test)]
mod tests;
