//! Holds the rooms of `src/` to the rooms they may use, crates to their homes, and files to their form.
//!
//! Reads source as text, so it sees a use wherever it is written, and needs no compiler's help. What it cannot see is a
//! type that crosses a wall without being named.

#[path = "tidy/code.rs"]
mod code;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use code::{code_only, is_word};

const LINES_MAX: usize = 450;

/// Each room and the rooms that it may use. A room is used only by those below it.
const ROOMS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("config", &["types"]),
    ("stats", &["types"]),
    ("guard", &["types", "stats", "config"]),
    ("model", &["types", "config"]),
    ("device", &["types", "config", "guard", "model"]),
    ("batch", &["types", "config", "stats", "guard", "device"]),
    ("monitor", &["types", "stats"]),
    ("registry", &["types", "config", "guard", "model", "device", "batch", "monitor"]),
    ("serve", &["types", "config", "stats", "guard", "model", "device", "batch", "monitor", "registry"]),
    ("net", &["types", "config"]),
    ("api", &["types", "config", "monitor", "serve", "net"]),
    (
        "app",
        &[
            "types", "config", "stats", "guard", "model", "device", "batch", "monitor", "registry", "serve", "net",
            "api",
        ],
    ),
    (
        "cli",
        &[
            "types", "config", "stats", "guard", "model", "device", "batch", "monitor", "registry", "serve", "net",
            "api", "app",
        ],
    ),
];

/// Crates that live in some rooms only, so that what they bring is met in one place.
const HOMES: &[(&str, &[&str])] = &[
    ("anyhow", &["app", "cli", "main"]),
    ("candle_core", &["model", "device"]),
    ("candle_nn", &["model", "device"]),
    ("clap", &["config", "cli", "main"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("hyper", &["net", "api"]),
    ("hyper_util", &["net", "api"]),
    ("notify", &["registry"]),
    ("png", &["model"]),
    ("postcard", &["device"]),
    ("prometheus", &["monitor"]),
    ("prost", &["api", "cli"]),
    ("rayon", &["device"]),
    ("rustix", &["app", "model", "device", "cli"]),
    ("thread_priority", &["device"]),
    ("tokenizers", &["model"]),
    ("tonic", &["api", "cli"]),
    ("tonic_health", &["api", "cli"]),
    ("tonic_prost", &["api", "cli"]),
    ("tonic_reflection", &["api", "cli"]),
    ("tracing_appender", &["app"]),
    ("tracing_subscriber", &["app"]),
];

/// A source file: its path from the repository's root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The room it lies in: `batch` for `src/batch/policy.rs`, `main` for `src/main.rs`.
    fn room(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = inner.split('/').next().unwrap_or(inner);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many modules it is below the root of the crate.
    fn depth(&self) -> usize {
        let parts = self.path.matches('/').count();
        if self.path.ends_with("/mod.rs") { parts - 1 } else { parts }
    }

    /// Where its tests begin: at the start of a file of tests, else at its module `tests`.
    fn tests_begin(&self, code: &str) -> usize {
        if self.path.ends_with("tests.rs") || self.path.contains("/tests/") {
            return 0;
        }
        code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len())
    }

    fn is_root(&self) -> bool {
        matches!(self.room(), "lib" | "main")
    }
}

/// Everything that is wrong with these files, a line each: `path:line: what`.
fn check(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let code = code_only(&source.text);
        check_form(source, &code, &mut faults);
        if !source.is_root() {
            check_rooms(source, &code, sources, &mut faults);
        }
        check_homes(source, &code, &mut faults);
    }
    faults
}

fn check_form(source: &Source, code: &str, faults: &mut Vec<String>) {
    let path = &source.path;
    if !source.text.starts_with("//!") {
        faults.push(format!("{path}:1: begins without a `//!` sentence of purpose"));
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!("{path}:{lines}: {lines} lines; a file has at most {LINES_MAX}"));
    }
    for (at, _) in code.match_indices("#![allow") {
        faults.push(format!("{path}:{}: inner #![allow]; use #[expect(lint, reason = \"…\")]", line_of(code, at)));
    }
}

fn check_rooms(source: &Source, code: &str, sources: &[Source], faults: &mut Vec<String>) {
    let (path, room) = (&source.path, source.room());
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        faults.push(format!("{path}:1: room {room} is not in the table of rooms"));
        return;
    };
    let head = format!("src/{room}/mod.rs");
    if !sources.iter().any(|other| other.path == head || other.path == format!("src/{room}.rs")) {
        faults.push(format!("{path}:1: room {room} has no mod.rs"));
    }
    let tests_begin = source.tests_begin(code);
    for (used, at) in rooms_used(source, code, sources) {
        // Tests set up more than the room itself needs, but do not look upward either.
        let is_allowed = if at < tests_begin { allowed.contains(&used) } else { is_before(used, room) };
        if used != room && !is_allowed {
            faults.push(format!("{path}:{}: room {room} may not use room {used}", line_of(code, at)));
        }
    }
}

fn check_homes(source: &Source, code: &str, faults: &mut Vec<String>) {
    let (path, room) = (&source.path, source.room());
    for (name, homes) in HOMES {
        for at in crate_uses(code, name) {
            if at < source.tests_begin(code) && !homes.contains(&room) {
                let line = line_of(code, at);
                faults.push(format!("{path}:{line}: room {room} may not use crate {name}, whose home is {homes:?}"));
            }
        }
    }
}

/// Rooms that the code names, by `crate::room`, `crate::{room, …}` or up through `super`, and where.
fn rooms_used<'code>(source: &Source, code: &'code str, sources: &[Source]) -> Vec<(&'code str, usize)> {
    let mut used = Vec::new();
    for (at, _) in words(code, "crate") {
        let Some(rest) = code[at..].strip_prefix("crate::") else { continue };
        used.extend(heads(rest).into_iter().map(|name| (name, at)));
    }
    for (at, _) in words(code, "super") {
        let (ups, rest) = climb(&code[at..]);
        let is_inner = code[..at].ends_with("::");
        if is_inner || ups < source.depth() {
            continue;
        }
        let outside = heads(rest).into_iter().filter(|name| is_room(name) && !has_module(sources, source.room(), name));
        used.extend(outside.map(|name| (name, at)));
    }
    // A macro or a type at the root of the crate is no room.
    used.retain(|(name, _)| name.chars().next().is_some_and(char::is_lowercase) && *name != "self");
    used
}

/// Has the room a module of this name? Then a path written in an inner module may mean that one.
fn has_module(sources: &[Source], room: &str, name: &str) -> bool {
    let files = [format!("src/{room}/{name}.rs"), format!("src/{room}/{name}/mod.rs")];
    sources.iter().any(|source| files.contains(&source.path))
}

/// How many `super::` a path begins with, and what follows.
fn climb(path: &str) -> (usize, &str) {
    let (mut ups, mut rest) = (0, path);
    while let Some(after) = rest.strip_prefix("super::") {
        (ups, rest) = (ups + 1, after);
    }
    (ups, rest)
}

/// Does a room stand before another in the table?
fn is_before(first: &str, second: &str) -> bool {
    let place = |room| ROOMS.iter().position(|(name, _)| *name == room);
    place(first).is_some_and(|first| Some(first) < place(second))
}

fn is_room(name: &str) -> bool {
    ROOMS.iter().any(|(room, _)| *room == name)
}

/// The first names of a path: `a` of `a::b`, `a` and `b` of `{a::{x, y}, b}`.
fn heads(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else { return Vec::from([first_word(path)]) };
    let (mut names, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' if depth == 0 => {
                names.push(first_word(group[start..at].trim_start()));
                start = at + 1;
            }
            '}' => {
                names.push(first_word(group[start..at].trim_start()));
                break;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn first_word(text: &str) -> &str {
    let end = text.find(|character: char| !is_word(character)).unwrap_or(text.len());
    &text[..end]
}

/// Where the code names an external crate: `name::…` or `use name …`, but not `other::name`.
fn crate_uses(code: &str, name: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for (at, end) in words(code, name) {
        let before = code[..at].trim_end();
        let is_inner = before.ends_with("::") && !before.ends_with("{::") || before.ends_with('.');
        let is_path = code[end..].starts_with("::");
        let is_use = before.ends_with("use") || before.ends_with("extern crate");
        if !is_inner && (is_path || is_use) {
            found.push(at);
        }
    }
    found
}

/// Where `word` stands as a whole word: its start and end.
fn words<'code>(code: &'code str, word: &'code str) -> impl Iterator<Item = (usize, usize)> + 'code {
    code.match_indices(word).map(move |(at, _)| (at, at + word.len())).filter(move |(at, end)| {
        !code[..*at].chars().next_back().is_some_and(is_word) && !code[*end..].chars().next().is_some_and(is_word)
    })
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

fn read_sources(root: &Path, folder: &str) -> io::Result<Vec<Source>> {
    let (mut folders, mut sources) = (Vec::from([root.join(folder)]), Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                let inner = path.strip_prefix(root).unwrap_or(&path);
                sources.push(Source { path: inner.to_string_lossy().into_owned(), text });
            }
        }
    }
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(sources)
}

#[test]
fn rooms_keep_to_their_walls() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let sources = read_sources(&root, "src").expect("src/ can be read");
    assert!(!sources.is_empty(), "no source was found");
    let mut report = String::new();
    for fault in check(&sources) {
        writeln!(report, "{fault}").expect("a String takes every line");
    }
    assert!(report.is_empty(), "\n{report}");
}

/// They have no rooms.
#[test]
fn packages_beside_the_server_keep_the_form() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    for folder in ["kernels/src", "worker/src"] {
        let sources = read_sources(&root, folder).expect("the source can be read");
        assert!(!sources.is_empty(), "no source was found in {folder}");
        for source in &sources {
            check_form(source, &code_only(&source.text), &mut faults);
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn no_room_looks_upward() {
    for (at, (room, allowed)) in ROOMS.iter().enumerate() {
        for used in *allowed {
            assert!(
                ROOMS[..at].iter().any(|(earlier, _)| earlier == used),
                "{room} uses {used}, which is not above it"
            );
        }
    }
}

/// The faults of a room `stats` that holds this code, under a good `mod.rs`.
fn faults_of(code: &str) -> Vec<String> {
    let head = Source { path: "src/stats/mod.rs".into(), text: "//! Numbers.\n".into() };
    let planted = Source { path: "src/stats/window.rs".into(), text: format!("//! A window.\n{code}") };
    check(&[head, planted])
}

#[test]
fn a_planted_use_is_named_by_file_line_and_room() {
    let wall = "src/stats/window.rs:3: room stats may not use room batch";
    for code in [
        "\nuse crate::batch::Policy;",
        "\nuse crate::{types::{Error, Kind}, batch::Policy};",
        "\nfn f() -> crate::batch::Policy { todo!() }",
        "\nuse super::super::batch;",
        "\nmacro_rules! m { () => { $crate::batch::f() } }",
    ] {
        assert_eq!(faults_of(code), [wall], "{code}");
    }
}

#[test]
fn a_planted_crate_is_named_by_file_line_and_home() {
    for code in ["use prometheus::Registry;", "fn f() { prometheus::gather(); }", "use prometheus as p;"] {
        let fault = r#"src/stats/window.rs:2: room stats may not use crate prometheus, whose home is ["monitor"]"#;
        assert_eq!(faults_of(code), [fault], "{code}");
    }
}

#[test]
fn tests_may_look_down_and_not_up() {
    let tests = |code: &str| faults_of(&format!("#[cfg(test)]\nmod tests {{\n{code}\n}}\n"));
    assert!(tests("use crate::config::Config;\nuse tonic::Status;").is_empty());
    assert_eq!(faults_of("use crate::config::Config;").len(), 1);
    assert_eq!(tests("use crate::batch::Policy;"), ["src/stats/window.rs:4: room stats may not use room batch"]);
}

#[test]
fn what_is_allowed_or_only_said_passes() {
    for code in [
        "use crate::types::{Error, Kind};",
        "use crate::{\n    stats::Histogram,\n    types::Error,\n};",
        "/// Feeds [`crate::batch`].\nfn f() {}",
        "/* use crate::batch; /* nested */ tonic::Status */",
        r##"fn f() { g("use crate::batch;", r#"tonic::"Status" "#, '"', b'\''); }"##,
        "fn f<'a>(x: &'a str) -> &'a str { x }",
        "use super::model::Affine;\nmod tests { use super::super::stats; }",
        "fn f() { monitor::prometheus::g(); my_tonic::g(); }",
        "pub(crate) fn f() {}",
    ] {
        assert!(faults_of(code).is_empty(), "{code}: {:?}", faults_of(code));
    }
}

#[test]
fn a_string_before_a_use_hides_nothing() {
    let code = "fn f() { g(r#\"a \" b\"#, 'x', '\\'', \"\\\"\"); }\nuse crate::api::Door;";
    assert_eq!(faults_of(code), ["src/stats/window.rs:3: room stats may not use room api"]);
}

#[test]
fn form_is_held() {
    assert_eq!(faults_of("#![allow(dead_code)]").len(), 1);
    assert_eq!(faults_of(&"\n".repeat(LINES_MAX)).len(), 1);
    let bare = check(&[Source { path: "src/stats/bare.rs".into(), text: "fn f() {}".into() }]);
    let wanted = [
        "src/stats/bare.rs:1: begins without a `//!` sentence of purpose",
        "src/stats/bare.rs:1: room stats has no mod.rs",
    ];
    assert_eq!(bare, wanted);
    let stray = check(&[Source { path: "src/attic/mod.rs".into(), text: "//! Old things.".into() }]);
    assert_eq!(stray, ["src/attic/mod.rs:1: room attic is not in the table of rooms"]);
}
