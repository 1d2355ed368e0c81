//! Tells code from comments and quotations, well enough to look for names in it.
#![allow(dead_code, reason = "each test of the source uses a part")]

/// The strings of a source, each with where it begins.
pub(crate) fn strings(text: &str) -> Vec<(usize, &str)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(first) = text[at..].chars().next() {
        let (rest, before) = (&text[at..], &text[..at]);
        if let Some(skip) = comment(rest).or_else(|| character(rest)) {
            at += skip;
        } else if let Some(length) = string(rest, before) {
            let token = &rest[..length];
            let (open, close) = (token.find('"').map_or(0, |open| open + 1), token.rfind('"').unwrap_or(length));
            found.push((at, token.get(open..close).unwrap_or_default()));
            at += length;
        } else {
            at += first.len_utf8();
        }
    }
    found
}

/// The code without comments, strings and characters, on the same lines.
pub(crate) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skip = comment(rest).or_else(|| string(rest, &code)).or_else(|| character(rest));
        let Some(skip) = skip else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.push(' ');
        code.extend(rest[..skip].chars().filter(|character| *character == '\n'));
        rest = &rest[skip..];
    }
    code
}

/// Length of the comment that begins here. Block comments nest.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(at)
}

/// Length of the string that begins here; `before` tells an `r` or `b` that opens a string from the end of a name.
fn string(text: &str, before: &str) -> Option<usize> {
    if text.starts_with('"') {
        return Some(quoted(text, '"'));
    }
    if before.chars().next_back().is_some_and(is_word) {
        return None;
    }
    let raw = text.strip_prefix("br").or_else(|| text.strip_prefix("cr")).or_else(|| text.strip_prefix('r'))?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    if !raw[hashes..].starts_with('"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = text.len() - raw.len() + hashes + 1;
    Some(text[body..].find(&close).map_or(text.len(), |end| body + end + close.len()))
}

/// Length of the character literal that begins here; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    let first = inner.chars().next()?;
    let closes = inner[first.len_utf8()..].starts_with('\'');
    (first == '\\' || closes).then(|| quoted(text, '\''))
}

fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == mark => return at + mark.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// May the character stand in a name?
pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
