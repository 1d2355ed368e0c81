//! Reads settings one by one from flags, environment and file, and remembers what each of them is.
//!
//! A setting is declared where it is read, so that the file's known keys, the variables, the flags, their help and the
//! reference page all come from the one declaration and cannot disagree.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use super::document::{Document, Table};
use super::form::{Form, cut};
use super::problems::{Problems, nearest};

/// Every variable of the environment that is a setting begins so.
pub(super) const VARIABLE_PREFIX: &str = "SCONCE_";

/// What flags say, by the setting's key: the texts given, in order.
pub(super) type Flags = BTreeMap<String, Vec<String>>;

/// A setting, put into words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    /// Its key in the file, such as `limits.streams_max`.
    pub(super) key: &'static str,
    /// What is accepted.
    pub(super) accepted: String,
    /// One word for the value.
    pub(super) noun: &'static str,
    /// Its default, as it would be written or in words.
    pub(super) default: String,
    /// What it is.
    pub(super) what: &'static str,
    /// When to change it.
    pub(super) change: &'static str,
}

impl Described {
    /// Its variable in the environment.
    pub(super) fn variable(&self) -> String {
        variable(self.key)
    }

    /// Its flag, without the dashes before it.
    pub(super) fn flag(&self) -> String {
        flag(self.key)
    }

    /// The file's table that it is in, if it is in one.
    pub(super) fn section(&self) -> Option<&'static str> {
        self.key.rsplit_once('.').map(|(section, _)| section)
    }
}

/// Gives settings their values: a flag beats the environment, that beats the file, that beats the default.
#[derive(Default)]
pub(super) struct Reader<'a> {
    sources: Sources<'a>,
    described: Vec<Described>,
    /// Keys for which a source said something that was refused.
    refused: BTreeSet<&'static str>,
    problems: Problems,
}

/// Where values come from.
#[derive(Default)]
pub(super) struct Sources<'a> {
    /// What flags say.
    pub(super) flags: Option<&'a Flags>,
    /// Variables of the environment that begin with [`VARIABLE_PREFIX`] and are not empty.
    pub(super) variables: Option<&'a BTreeMap<String, String>>,
    /// The file.
    pub(super) file: Option<&'a Document>,
    /// One table of a list in it, and the list that holds it; then nothing outside that table is read.
    pub(super) item: Option<(&'static str, Table<'a>)>,
}

impl<'a> Reader<'a> {
    /// Reads from these.
    pub(super) fn new(sources: Sources<'a>) -> Self {
        Self { sources, ..Self::default() }
    }

    /// Begins the declaration of a setting: what it is, in a sentence without its full stop.
    pub(super) fn what<'r>(&'r mut self, what: &'static str) -> Declaration<'r, 'a> {
        Declaration { reader: self, what, change: "" }
    }

    /// Reads the tables of a list, such as `fallback.rung[]`, each by `read`, in order.
    ///
    /// The keys that `read` declares begin with the name of the list, and are told as the file has them:
    /// `fallback.rung[0].use`.
    pub(super) fn tables<T>(&mut self, list: &'static str, read: impl Fn(&mut Reader<'a>) -> T) -> Vec<T> {
        // Declared also where the file has no such table, without looking for one.
        let mut declared = Reader::default();
        read(&mut declared);
        self.described.append(&mut declared.described);
        let found = self.table(list.trim_end_matches("[]"));
        let tables = found.map(|(table, name)| table.tables(name)).unwrap_or_default();
        let item = |table| Reader::new(Sources { item: Some((list, table)), ..Sources::default() });
        tables.into_iter().map(|table| read(&mut item(table))).collect()
    }

    /// Notes at `key` that its value does not go with that of `other`, unless one of the two was itself refused.
    pub(super) fn conflict(&mut self, key: &str, other: &str, text: &str) {
        if !self.refused.contains(key) && !self.refused.contains(other) {
            self.problem(key, text);
        }
    }

    /// Notes a problem with a setting that was read, where its value stands.
    fn problem(&mut self, key: &str, text: &str) {
        if self.sources.flags.is_some_and(|flags| flags.contains_key(key)) {
            self.problems.push(format!("--{}: {text}", flag(key)));
            return;
        }
        let variable = variable(key);
        if self.sources.variables.is_some_and(|variables| variables.contains_key(&variable)) {
            self.problems.push(format!("{variable}: {text}"));
            return;
        }
        match self.table(key) {
            Some((table, name)) if table.has(name) || self.sources.item.is_some() => table.problem(name, text),
            _ => self.problems.push(format!("`{key}`: {text}")),
        }
    }

    /// What was read, in order.
    pub(super) fn described(self) -> Vec<Described> {
        self.described
    }

    /// The problems with flags and variables, unknown variables among them. Those of the file are in the file.
    pub(super) fn finish(mut self) -> Problems {
        let known: Vec<_> = self.described.iter().map(Described::variable).collect();
        for variable in self.sources.variables.into_iter().flat_map(BTreeMap::keys) {
            if known.contains(variable) || is_foreign(variable) {
                continue;
            }
            let near = nearest(variable, known.iter().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            self.problems.push(format!("unknown variable {variable} in the environment{hint}"));
        }
        self.problems
    }

    /// Every source is read, even where another beats it, so that its problems are told.
    fn read<F: Form>(&mut self, key: &'static str, form: &F) -> Option<F::Output> {
        let expected = form.expected();
        let by_flag = self.sources.flags.and_then(|flags| flags.get(key)).map(|texts| {
            let got = || texts.iter().map(|text| format!("\"{}\"", cut(text))).collect::<Vec<_>>().join(" ");
            form.parse_flag(texts).ok_or_else(|| format!("--{}: expected {expected}, got {}", flag(key), got()))
        });
        let variable = variable(key);
        let by_variable = self.sources.variables.and_then(|variables| variables.get(&variable)).map(|text| {
            form.parse(text).ok_or_else(|| format!("{variable}: expected {expected}, got \"{}\"", cut(text)))
        });
        let by_file =
            self.table(key).filter(|(table, name)| table.has(name)).map(|(table, name)| table.get(name, form));
        if by_file.as_ref().is_some_and(Option::is_none) {
            self.refused.insert(key);
        }
        let mut value = by_file.flatten();
        // The dearest source last, so that it is the one that stays.
        for found in [by_variable, by_flag].into_iter().flatten() {
            match found {
                Ok(found) => value = Some(found),
                Err(problem) => {
                    self.refused.insert(key);
                    self.problems.push(problem);
                }
            }
        }
        value
    }

    /// The table of the file that holds a key, and the key's name in it.
    fn table<'k>(&self, key: &'k str) -> Option<(Table<'a>, &'k str)> {
        if let Some((list, table)) = &self.sources.item {
            return Some((table.clone(), key.strip_prefix(list)?.strip_prefix('.')?));
        }
        let file = self.sources.file?;
        let Some((section, name)) = key.split_once('.') else {
            return Some((file.root(), key));
        };
        // Also without that table, so that a key that was put elsewhere is told where it belongs.
        file.know(section, name);
        Some((file.root().table(section)?, name))
    }
}

/// A setting that is being declared.
pub(super) struct Declaration<'r, 'a> {
    reader: &'r mut Reader<'a>,
    what: &'static str,
    change: &'static str,
}

impl Declaration<'_, '_> {
    /// When to change it, in a sentence without its full stop.
    pub(super) fn change(self, change: &'static str) -> Self {
        Self { change, ..self }
    }

    /// The setting's value; `default` if no source has one.
    pub(super) fn get<F: Form>(self, key: &'static str, form: &F, default: F::Output) -> F::Output {
        self.read(key, form, form.show(&default)).unwrap_or(default)
    }

    /// The setting's value if a source has one. The default is decided elsewhere: `default` says it in words.
    pub(super) fn find<F: Form>(self, key: &'static str, form: &F, default: &'static str) -> Option<F::Output> {
        self.read(key, form, default.to_owned())
    }

    fn read<F: Form>(self, key: &'static str, form: &F, default: String) -> Option<F::Output> {
        let Self { reader, what, change } = self;
        let (accepted, noun) = (form.expected(), form.noun());
        reader.described.push(Described { key, accepted, noun, default, what, change });
        reader.read(key, form)
    }
}

fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The path of something is its flag: `--worker FILE`.
fn flag(key: &str) -> String {
    key.strip_suffix(".path").unwrap_or(key).replace(['.', '_'], "-")
}

/// Kubernetes tells every container about a service of the name `sconce` by variables of these forms.
fn is_foreign(variable: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|form| variable.ends_with(form))
        || ["_SERVICE_PORT_", "_PORT_"].iter().any(|form| variable.contains(form))
}

/// A default that is not zero, which the declarations can be read to show.
pub(super) const fn positive(number: usize) -> NonZeroUsize {
    match NonZeroUsize::new(number) {
        Some(number) => number,
        None => NonZeroUsize::MIN,
    }
}
