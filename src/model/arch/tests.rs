//! What tests of several architectures need.

use std::io::{Read as _, pipe};
use std::sync::Arc;

use tracing_subscriber::fmt;

/// What is logged while a folder is loaded.
pub(super) fn logged(load: impl Fn()) -> String {
    // A place that another test meets first, while nobody but this one listens, would stay silent: all are met before.
    load();
    let (mut lines, writer) = pipe().expect("a pipe");
    let subscriber = fmt().with_ansi(false).with_writer(Arc::new(writer)).finish();
    tracing::subscriber::with_default(subscriber, load);
    let mut text = String::new();
    lines.read_to_string(&mut text).expect("text");
    text
}
