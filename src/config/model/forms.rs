//! Values that only a model's settings have: versions, a range, what stands in for the model.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde_json::Value as Json;

use super::{VersionChoice, VersionPolicy};
use crate::config::form::{Form, List, Number, Positive, Text, Whole};
use crate::config::tree::{Item, Value};
use crate::types::ModelName;

const ALL: &str = "all";
const LATEST: &str = "latest";
const PREVIOUS: &str = "previous";
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

/// `"previous"`, or the number of a version.
pub(super) struct OtherVersion;

impl Form for OtherVersion {
    type Output = VersionChoice;

    fn expected(&self) -> String {
        "\"previous\" or the number of a version".to_owned()
    }

    fn noun(&self) -> &'static str {
        "VERSION"
    }

    fn read(&self, value: &Value) -> Option<VersionChoice> {
        match value {
            Value::Whole(number) => self.parse(&number.to_string()),
            Value::Text(text) if text == PREVIOUS => Some(VersionChoice::Previous),
            _ => None,
        }
    }

    fn parse(&self, text: &str) -> Option<VersionChoice> {
        if text == PREVIOUS { Some(VersionChoice::Previous) } else { text.parse().ok().map(VersionChoice::Number) }
    }

    fn show(&self, value: &VersionChoice) -> String {
        match value {
            VersionChoice::Previous => format!("\"{PREVIOUS}\""),
            VersionChoice::Number(version) => version.to_string(),
        }
    }
}

/// The name of a model.
pub(super) struct OtherModel;

impl Form for OtherModel {
    type Output = ModelName;

    fn expected(&self) -> String {
        "the name of a model".to_owned()
    }

    fn noun(&self) -> &'static str {
        "MODEL"
    }

    fn read(&self, value: &Value) -> Option<ModelName> {
        self.parse(&Text.read(value)?)
    }

    fn parse(&self, text: &str) -> Option<ModelName> {
        text.parse().ok()
    }

    fn show(&self, value: &ModelName) -> String {
        format!("\"{value}\"")
    }
}

/// One row of each output, by the output's name.
pub(super) struct OneRow;

impl Form for OneRow {
    type Output = BTreeMap<String, Json>;

    fn expected(&self) -> String {
        "the values of one row of each output, such as { probabilities = [0.65, 0.35] }".to_owned()
    }

    fn noun(&self) -> &'static str {
        "ROW"
    }

    fn read(&self, value: &Value) -> Option<BTreeMap<String, Json>> {
        let Value::Table(keys) = value else { return None };
        let values = |(name, item): (&String, &Item)| Some((name.clone(), json(&item.value)?));
        keys.iter().map(values).collect::<Option<BTreeMap<_, _>>>().filter(|outputs| !outputs.is_empty())
    }

    /// No model's setting comes from text.
    fn parse(&self, _text: &str) -> Option<BTreeMap<String, Json>> {
        None
    }

    fn show(&self, value: &BTreeMap<String, Json>) -> String {
        let outputs: Vec<_> = value.iter().map(|(name, values)| format!("{name} = {values}")).collect();
        format!("{{ {} }}", outputs.join(", "))
    }
}

/// A value as the protocol's REST form writes it, which tensors are made of; `None` if no element type has such values.
/// The parser limits how deep values nest, so this recursion is bounded.
fn json(value: &Value) -> Option<Json> {
    match value {
        Value::Text(text) => Some(text.as_str().into()),
        Value::Switch(switch) => Some((*switch).into()),
        Value::Whole(number) => match i64::try_from(*number) {
            Ok(number) => Some(number.into()),
            Err(_) => u64::try_from(*number).ok().map(Json::from),
        },
        Value::Number(number) => serde_json::Number::from_f64(*number).map(Json::Number),
        Value::List(items) => items.iter().map(|item| json(&item.value)).collect::<Option<Vec<_>>>().map(Json::Array),
        Value::Date | Value::Table(_) => None,
    }
}
