//! A TOML file as plain data, each value with the line of its key.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

/// The keys of a table.
pub(super) type Keys = BTreeMap<String, Item>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Line of its key, or of the item itself in a list; from 1.
    pub(super) line: usize,
    /// What stands there.
    pub(super) value: Value,
}

/// What can stand in a file.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A string.
    Text(String),
    /// A whole number; one beyond 128 bits is cut to them, which no setting's range reaches.
    Whole(i128),
    /// Any other number.
    Number(f64),
    /// A boolean.
    Switch(bool),
    /// A date, a time, or both.
    Date,
    /// A list, or the tables of one `[[name]]`.
    List(Vec<Item>),
    /// A table.
    Table(Keys),
}

/// A file that is no TOML: lines, from 1, each with the first complaint about it.
pub(super) type Broken = BTreeMap<usize, String>;

/// Parses a file.
pub(super) fn parse(text: &str) -> Result<Keys, Broken> {
    let lines = Lines::of(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut broken = Broken::new();
    for error in errors {
        let line = lines.at(error.span().map_or(0, |span| span.start));
        // One broken line can upset the parser more than once; the first complaint is the useful one.
        broken.entry(line).or_insert_with(|| error.message().to_owned());
    }
    if broken.is_empty() { Ok(keys(root.get_ref(), &lines)) } else { Err(broken) }
}

/// Offsets at which lines start.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

fn keys(table: &DeTable<'_>, lines: &Lines) -> Keys {
    let item = |key: usize, value: &DeValue<'_>| Item { line: lines.at(key), value: plain(value, lines) };
    table.iter().map(|(key, value)| (key.get_ref().to_string(), item(key.span().start, value.get_ref()))).collect()
}

/// The parser limits how deep values nest, so this recursion is bounded.
fn plain(value: &DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(whole) => {
            Value::Whole(i128::from_str_radix(whole.as_str(), whole.radix()).unwrap_or(i128::MAX))
        }
        DeValue::Float(number) => Value::Number(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(switch) => Value::Switch(*switch),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| Item { line: lines.at(item.span().start), value: plain(item.get_ref(), lines) })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(keys(table, lines)),
    }
}
