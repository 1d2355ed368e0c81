//! Lines on the terminal. A closed pipe is no reason to panic.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};

/// Prints a line on standard output.
pub(super) fn say(line: &str) {
    let mut out = stdout().lock();
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints bytes on standard output as they are.
pub(super) fn write(bytes: &[u8]) {
    let mut out = stdout().lock();
    let _closed = out.write_all(bytes).and_then(|()| out.flush());
}

/// Prints an error on standard error, each line of it marked.
pub(super) fn complain(text: &str) {
    let mut out = stderr().lock();
    for line in text.lines() {
        let _closed = writeln!(out, "error: {line}");
    }
}

/// Replaces the present line of a terminal; elsewhere does nothing.
pub(super) fn progress(text: &str) {
    if stderr().is_terminal() {
        let mut out = stderr().lock();
        let _closed = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
    }
}
