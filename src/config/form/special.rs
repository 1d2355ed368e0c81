//! Values with a syntax of their own: paths, addresses, log levels.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::{Form, text};
use crate::config::tree::Value;

/// The path of a folder.
pub(in crate::config) struct Folder;

impl Form for Folder {
    type Output = PathBuf;

    fn expected(&self) -> String {
        "the path of a folder".to_owned()
    }

    fn noun(&self) -> &'static str {
        "DIR"
    }

    fn read(&self, value: &Value) -> Option<PathBuf> {
        self.parse(text(value)?)
    }

    fn parse(&self, text: &str) -> Option<PathBuf> {
        (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
    }

    fn show(&self, value: &PathBuf) -> String {
        format!("\"{}\"", value.display())
    }
}

/// The path of a file.
pub(in crate::config) struct FilePath;

impl Form for FilePath {
    type Output = PathBuf;

    fn expected(&self) -> String {
        "the path of a file".to_owned()
    }

    fn noun(&self) -> &'static str {
        "FILE"
    }

    fn read(&self, value: &Value) -> Option<PathBuf> {
        Folder.read(value)
    }

    fn parse(&self, text: &str) -> Option<PathBuf> {
        Folder.parse(text)
    }

    fn show(&self, value: &PathBuf) -> String {
        Folder.show(value)
    }
}

/// An IP address and a port to listen on.
pub(in crate::config) struct Address;

impl Form for Address {
    type Output = SocketAddr;

    fn expected(&self) -> String {
        "an IP address and a port, such as \"0.0.0.0:8001\", \"[::]:8001\" or \":8001\"".to_owned()
    }

    fn noun(&self) -> &'static str {
        "ADDR:PORT"
    }

    fn read(&self, value: &Value) -> Option<SocketAddr> {
        self.parse(text(value)?)
    }

    fn parse(&self, text: &str) -> Option<SocketAddr> {
        let (host, port) = text.rsplit_once(':')?;
        let known: IpAddr = match host {
            "" => Ipv4Addr::UNSPECIFIED.into(),
            "localhost" => Ipv4Addr::LOCALHOST.into(),
            _ => return text.parse().ok(),
        };
        // Not `u16::from_str` alone, which takes "+8001".
        port.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
        Some(SocketAddr::new(known, port.parse().ok()?))
    }

    fn show(&self, value: &SocketAddr) -> String {
        format!("\"{value}\"")
    }
}

/// What is logged: a level, or several parts `target=level`, separated by commas.
pub(in crate::config) struct Levels;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Form for Levels {
    type Output = String;

    fn expected(&self) -> String {
        "off, error, warn, info, debug or trace, or parts such as \"info,sconce::batch=debug\"".to_owned()
    }

    fn noun(&self) -> &'static str {
        "LEVEL"
    }

    fn read(&self, value: &Value) -> Option<String> {
        self.parse(text(value)?)
    }

    fn parse(&self, text: &str) -> Option<String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
        let right = |part: &str| match part.split_once('=') {
            Some((target, level)) => !target.is_empty() && target.bytes().all(legal) && LEVELS.contains(&level),
            // A lone target would be legal for the filter, but then a misspelt level would silence everything.
            None => LEVELS.contains(&part),
        };
        text.split(',').all(right).then(|| text.to_owned())
    }

    fn show(&self, value: &String) -> String {
        format!("\"{value}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Folder, Levels};
    use crate::config::form::{Form as _, List, Switch, Whole};

    #[test]
    fn addresses() {
        for (text, address) in [
            ("0.0.0.0:8001", "0.0.0.0:8001"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::]:8001", "[::]:8001"),
            (":8001", "0.0.0.0:8001"),
            ("localhost:65535", "127.0.0.1:65535"),
        ] {
            assert_eq!(Address.parse(text).map(|address| address.to_string()).as_deref(), Some(address));
        }
        for bad in ["", "8001", ":", ":x", ":+1", ":65536", "::", "::1:8001", "example.org:8001", "1.2.3:1", " :8001"] {
            assert_eq!(Address.parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn levels() {
        for right in ["info", "off", "info,sconce::batch=debug", "sconce=trace,h2=off"] {
            assert_eq!(Levels.parse(right).as_deref(), Some(right));
        }
        for wrong in ["", "inof", "INFO", "info,", "=info", "sconce", "a=b", "a b=info", "info, h2=warn"] {
            assert_eq!(Levels.parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn flags_and_variables() {
        let given = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(Whole(0..=9).parse_flag(&given(&["1", "2"])), Some(2));
        assert_eq!(Whole(0..=9).parse_flag(&given(&["10"])), None);
        assert_eq!(Switch.parse_flag(&[]), None);
        assert_eq!(List(Folder).parse_flag(&given(&["a:b", "c"])), Some(vec!["a:b".into(), "c".into()]));
        assert_eq!(List(Folder).parse("a:b"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(List(Folder).parse("a:"), None);
    }
}
