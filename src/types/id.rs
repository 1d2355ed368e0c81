//! Names and versions of models, parsed exactly: they are keys of a table, never parts of a path.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::error::{Error, Reason};

const NAME_BYTES_MAX: usize = 128;

/// Name of a model: 1 to 128 ASCII letters, digits, `_`, `-` and `.`, not beginning with a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName(Arc<str>);

impl ModelName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.starts_with('.') || !text.bytes().all(legal) {
            let expected = "expected 1 to 128 letters, digits, '_', '-' or '.', not starting with '.'";
            return Err(Error::new(Reason::Invalid, format!("model name: {expected}, got \"{text}\"")));
        }
        Ok(Self(text.into()))
    }
}

impl Borrow<str> for ModelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Version of a model: a positive integer without leading zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u64);

impl Version {
    /// The version as a number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        match text.parse() {
            Ok(number) if digits => Ok(Self(number)),
            _ => {
                let expected = "expected a positive whole number such as \"1\"";
                Err(Error::new(Reason::Invalid, format!("model version: {expected}, got \"{text}\"")))
            }
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::{ModelName, Version};

    #[test]
    fn names_and_versions_are_parsed_exactly() {
        for bad in ["", "../a", "a/b", "a\n", "a\0", ".hidden", &"x".repeat(129)] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad:?}");
        }
        assert!("digits_v2.1-b".parse::<ModelName>().is_ok());
        for bad in ["", "0", "01", "1.5", "1\n", " 1", "+1", "-1", "99999999999999999999"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
        assert_eq!("12".parse::<Version>().expect("a version").number(), 12);
    }
}
