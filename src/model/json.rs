//! A JSON file of a Hugging Face folder, read key by key.
//!
//! Such files hold many keys that change nothing here, so that unknown ones are passed over; those that are asked for
//! must be of the right kind and in range. A key that is `null` counts as left out, since transformers writes many so.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::{Files, LoadError};

/// Largest such file: labels of some hundred thousand classes.
const BYTES_MAX: u64 = 16 << 20;

/// The object in a JSON file, or one inside it.
#[derive(Clone, Debug)]
pub(super) struct Json {
    file: String,
    /// Keys that lead to it, each followed by a dot.
    place: String,
    keys: Map<String, Value>,
}

impl Json {
    /// Reads `file`. Errors: it is missing, too large, or no JSON object.
    pub(super) fn read(files: &Files, file: &str) -> Result<Self, LoadError> {
        match value(files, file)? {
            Value::Object(keys) => Ok(Self { file: file.to_owned(), place: String::new(), keys }),
            other => Err(LoadError::new(file, format!("expected a JSON object, got {}", kind(&other)))),
        }
    }

    /// The same; `None` if there is no such file.
    pub(super) fn find(files: &Files, file: &str) -> Result<Option<Self>, LoadError> {
        files.has(file).then(|| Self::read(files, file)).transpose()
    }

    /// The objects in the list that `file` holds. Errors: it is missing, too large, or no such list.
    pub(super) fn read_list(files: &Files, file: &str) -> Result<Vec<Self>, LoadError> {
        let Value::Array(items) = value(files, file)? else {
            return Err(LoadError::new(file, "expected a list of JSON objects"));
        };
        let object = |(at, item)| match item {
            Value::Object(keys) => Ok(Self { file: file.to_owned(), place: format!("[{at}]."), keys }),
            other => Err(LoadError::new(file, format!("item {at}: expected a JSON object, got {}", kind(&other)))),
        };
        items.into_iter().enumerate().map(object).collect()
    }

    /// The value of a key that is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// A whole number. Errors: it is none, or out of range.
    pub(super) fn size(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| range.contains(size));
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        size.map(Some).ok_or_else(|| self.unexpected(key, &expected()))
    }

    /// The same. Errors: also if it is left out.
    pub(super) fn require_size(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize, LoadError> {
        self.size(key, range)?.ok_or_else(|| self.error(key, "is missing"))
    }

    /// A number. Errors: it is none, or out of range.
    pub(super) fn number(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_f64().filter(|number| range.contains(number));
        let expected = || format!("a number from {} to {}", range.start(), range.end());
        number.map(Some).ok_or_else(|| self.unexpected(key, &expected()))
    }

    /// True or false. Errors: it is neither.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.unexpected(key, "true or false"))
    }

    /// A string. Errors: it is none.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.unexpected(key, "a string"))
    }

    /// A list of strings. Errors: it is none.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let texts = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
        texts.map(Some).ok_or_else(|| self.unexpected(key, "a list of strings"))
    }

    /// A list of whole numbers. Errors: it is none, or one is out of range.
    pub(super) fn sizes(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<Vec<usize>>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let size = |item: &Value| {
            item.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| range.contains(size))
        };
        let sizes = value.as_array().and_then(|items| items.iter().map(size).collect());
        let expected = || format!("a list of whole numbers from {} to {}", range.start(), range.end());
        sizes.map(Some).ok_or_else(|| self.unexpected(key, &expected()))
    }

    /// A list of so many numbers. Errors: it is none, or one is out of range.
    pub(super) fn numbers<const COUNT: usize>(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<[f64; COUNT]>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = |item: &Value| item.as_f64().filter(|number| range.contains(number));
        let numbers: Option<Vec<f64>> = value.as_array().and_then(|items| items.iter().map(number).collect());
        let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
        let expected = || format!("a list of {COUNT} numbers from {} to {}", range.start(), range.end());
        numbers.map(Some).ok_or_else(|| self.unexpected(key, &expected()))
    }

    /// An object. Errors: it is none.
    pub(super) fn object(&self, key: &str) -> Result<Option<Self>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(keys)) => {
                Ok(Some(Self { file: self.file.clone(), place: format!("{}{key}.", self.place), keys: keys.clone() }))
            }
            Some(_) => Err(self.unexpected(key, "an object")),
        }
    }

    /// The keys of this object, with their values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.keys.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Something else was expected of a key than what is there.
    pub(super) fn unexpected(&self, key: &str, expected: &str) -> LoadError {
        let got = self.get(key).map_or_else(|| "nothing".to_owned(), shown);
        self.error(key, format!("expected {expected}, got {got}"))
    }

    /// What is wrong with a key.
    pub(super) fn error(&self, key: &str, reason: impl AsRef<str>) -> LoadError {
        LoadError::new(&self.file, format!("`{}{key}`: {}", self.place, reason.as_ref()))
    }
}

fn value(files: &Files, file: &str) -> Result<Value, LoadError> {
    let bytes = files.read(file, BYTES_MAX)?;
    // Objects and lists more than 128 deep are refused by the crate.
    serde_json::from_slice(&bytes).map_err(|error| LoadError::new(file, format!("not valid JSON: {error}")))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
        single => single.to_string(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Json;
    use crate::model::{Files, LoadError};

    fn files(text: &str) -> Files {
        Files::Memory(BTreeMap::from([("c.json".to_owned(), text.as_bytes().to_vec().into())]))
    }

    fn told<T: std::fmt::Debug>(read: Result<T, LoadError>) -> String {
        read.expect_err("refused").to_string()
    }

    #[test]
    fn what_is_there_is_of_its_kind_and_in_range() {
        let text = r#"{"a": 3, "b": "x", "c": null, "d": {"e": 0.5, "f": ["y"]}, "g": true, "h": [1, 3]}"#;
        let json = Json::read(&files(text), "c.json").expect("an object");
        assert_eq!(json.size("a", 1..=3).expect("a size"), Some(3));
        assert_eq!(json.size("c", 1..=3).expect("left out"), None);
        assert_eq!(json.text("b").expect("a text"), Some("x"));
        assert_eq!(json.flag("g").expect("a flag"), Some(true));
        let inner = json.object("d").expect("an object").expect("there");
        assert_eq!(inner.number("e", 0.0..=1.0).expect("a number"), Some(0.5));
        assert_eq!(inner.texts("f").expect("texts"), Some(vec!["y"]));
        assert_eq!(told(json.size("a", 1..=2)), "c.json: `a`: expected a whole number from 1 to 2, got 3");
        assert_eq!(told(json.require_size("c", 1..=2)), "c.json: `c`: is missing");
        assert_eq!(told(inner.size("e", 1..=2)), "c.json: `d.e`: expected a whole number from 1 to 2, got 0.5");
        assert_eq!(told(inner.number("e", 1.0..=2.0)), "c.json: `d.e`: expected a number from 1 to 2, got 0.5");
        assert_eq!(told(json.flag("b")), "c.json: `b`: expected true or false, got \"x\"");
        assert_eq!(told(json.text("d")), "c.json: `d`: expected a string, got an object");
        assert_eq!(told(json.texts("b")), "c.json: `b`: expected a list of strings, got \"x\"");
        assert_eq!(json.sizes("h", 1..=3).expect("sizes"), Some(vec![1, 3]));
        assert_eq!(json.numbers("h", 0.0..=3.0).expect("numbers"), Some([1.0, 3.0]));
        let list = "c.json: `h`: expected a list of";
        assert_eq!(told(json.sizes("h", 1..=2)), format!("{list} whole numbers from 1 to 2, got a list"));
        assert_eq!(told(json.numbers::<3>("h", 0.0..=3.0)), format!("{list} 3 numbers from 0 to 3, got a list"));
        assert_eq!(told(json.object("g")), "c.json: `g`: expected an object, got true");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert_eq!(told(Json::read(&files("[]"), "c.json")), "c.json: expected a JSON object, got a list");
        assert_eq!(told(Json::read_list(&files("{}"), "c.json")), "c.json: expected a list of JSON objects");
        assert_eq!(
            told(Json::read_list(&files("[1]"), "c.json")),
            "c.json: item 0: expected a JSON object, got a number"
        );
        assert!(told(Json::read(&files("{"), "c.json")).starts_with("c.json: not valid JSON: "));
        let deep = "{\"a\":".repeat(200_000);
        assert!(told(Json::read(&files(&deep), "c.json")).starts_with("c.json: not valid JSON: recursion limit"));
    }
}
