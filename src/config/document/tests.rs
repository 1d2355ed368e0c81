//! Every problem that a file can have, in the words in which it is told.

use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::prelude::*;

use super::{Document, Table};
use crate::config::ScoreKind;

/// Problems of a text read by `read`, one a line.
fn problems(text: &str, read: impl FnOnce(&Table<'_>)) -> Vec<String> {
    let document = match Document::parse("f.toml", text) {
        Ok(document) => document,
        Err(problems) => return problems.lines().to_vec(),
    };
    read(&document.root());
    document.finish().map_or_else(|problems| problems.lines().to_vec(), |()| Vec::new())
}

/// Asks for one key of every kind.
fn pull_everything(table: &Table<'_>) {
    table.require(&["name"]);
    let _seen = (table.string("name"), table.boolean("switch"), table.integer("integer", -1..=i64::MAX));
    let _seen = (table.count("count", 1..=64), table.number("number", 0.0..=1.0), table.byte_size("size", 1..=1024));
    let _seen = table.duration("wait", Duration::ZERO..=Duration::from_secs(1));
    let _seen = (table.choice("scores", &ScoreKind::CHOICES), table.strings("labels"));
    let _seen = (table.counts("dims", 1..=1 << 32), table.integers("free", -1..=9), table.numbers("range", -1.0..=1.0));
    let _seen = (table.has("anything"), table.is_list("versions"));
}

#[test]
fn everything_right_is_read() {
    let text = r#"
        name = "x"
        switch = true
        integer = -1
        count = 0x40
        number = 1
        size = "1KiB"
        wait = "250ms"
        scores = "logits"
        labels = ["a", "b"]
        dims = [1_000, 2]
        free = [-1]
        range = [-1, 0.5]
        [input]
        name = "y"
        [[layer]]
        p = 0.2
        [[layer]]
    "#;
    let document = Document::parse("f.toml", text).expect("TOML");
    let root = document.root();
    root.require(&["name", "input", "layer"]);
    assert_eq!(root.string("name").as_deref(), Some("x"));
    assert_eq!(root.boolean("switch"), Some(true));
    assert_eq!(root.integer("integer", i64::MIN..=i64::MAX), Some(-1));
    assert_eq!(root.count("count", 1..=64), Some(64));
    assert_eq!(root.number("number", 0.0..=1.0), Some(1.0));
    assert_eq!(root.byte_size("size", 1..=1024).map(NonZeroUsize::get), Some(1024));
    assert_eq!(root.duration("wait", Duration::ZERO..=Duration::from_secs(1)), Some(Duration::from_millis(250)));
    assert_eq!(root.choice("scores", &ScoreKind::CHOICES), Some(ScoreKind::Logits));
    assert_eq!(root.strings("labels"), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert!(root.is_list("labels") && !root.is_list("name") && !root.is_list("absent"));
    assert_eq!(root.counts("dims", 1..=usize::MAX), Some(vec![1000, 2]));
    assert_eq!(root.integers("free", -1..=i64::MAX), Some(vec![-1]));
    assert_eq!(root.numbers("range", f64::MIN..=f64::MAX), Some(vec![-1.0, 0.5]));
    assert_eq!(root.table("input").and_then(|input| input.string("name")).as_deref(), Some("y"));
    assert!(root.table("output").is_none());
    let layers = root.tables("layer");
    assert_eq!(layers.iter().map(Table::line).collect::<Vec<_>>(), [16, 18]);
    assert_eq!(layers.iter().map(Table::path).collect::<Vec<_>>(), ["layer[0]", "layer[1]"]);
    assert_eq!(layers.first().and_then(|layer| layer.number("p", 0.0..=1.0)), Some(0.2));
    document.finish().expect("no problem");
}

#[test]
fn every_wrong_value_is_told_with_its_line() {
    let text = r#"name = 1
switch = "yes"
integer = -2
count = 65
number = "1"
size = 64
wait = "2"
scores = "sofmax"
labels = "a"
dims = [1, 0]
free = [[1]]
range = [0.5, nan]
"#;
    let expected = [
        r"f.toml:1: `name`: expected a string, got 1",
        r#"f.toml:2: `switch`: expected true or false, got "yes""#,
        r"f.toml:3: `integer`: expected a whole number of at least -1, got -2",
        r"f.toml:4: `count`: expected a whole number from 1 to 64, got 65",
        r#"f.toml:5: `number`: expected a number from 0 to 1, got "1""#,
        r#"f.toml:6: `size`: expected a size from 1B to 1KiB, such as "64MiB", got 64"#,
        r#"f.toml:7: `wait`: expected a duration from 0s to 1s, such as "250ms", got "2""#,
        r#"f.toml:8: `scores`: expected "softmax", "sigmoid", "logits", "regression", "embedding" or "none", got "sofmax""#,
        r#"f.toml:9: `labels`: expected a list, each item a string, got "a""#,
        r"f.toml:10: `dims`: expected a list, each item a whole number from 1 to 4294967296, got [1, 0]",
        r"f.toml:11: `free`: expected a list, each item a whole number from -1 to 9, got [a list]",
        r"f.toml:12: `range`: expected a list, each item a number from -1 to 1, got [0.5, NaN]",
    ];
    assert_eq!(problems(text, pull_everything), expected);
}

#[test]
fn values_are_shown_shortly() {
    let text = format!("a = 2026-01-01\nb = {{x = 1}}\nc = {:?}\nd = \"{}\\n\"\ne = 1e400", [0; 9], "x".repeat(80));
    let expected = [
        "f.toml:1: `a`: expected true or false, got a date or time".to_owned(),
        "f.toml:2: `b`: expected true or false, got a table".to_owned(),
        "f.toml:3: `c`: expected true or false, got [0, 0, 0, 0, 0, 0, 0, 0, …]".to_owned(),
        format!("f.toml:4: `d`: expected true or false, got \"{}…\"", "x".repeat(60)),
        "f.toml:5: `e`: expected true or false, got inf".to_owned(),
    ];
    let read = |root: &Table<'_>| assert!(["a", "b", "c", "d", "e"].iter().all(|key| root.boolean(key).is_none()));
    assert_eq!(problems(&text, read), expected);
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    let text = "max_batchsize = 1\ntimeout = 2\nmax_queue_delay = 3\nzebra = 4\n[batching]\nmax_queue_dela = 5\n\
                [[layer]]\nstrid = 1\n[foreign]\na = 1\nb = 2\n[empty]\nx = 1";
    let read = |root: &Table<'_>| {
        let _seen = (root.integer("max_batch_size", 0..=9), root.integer("timeout", 0..=9));
        if let Some(batching) = root.table("batching") {
            let _seen = batching.integer("max_queue_delay", 0..=9);
        }
        for layer in root.tables("layer") {
            let _seen = layer.integer("stride", 0..=9);
        }
        let _seen = root.table("empty");
    };
    let expected = [
        "f.toml:1: unknown key `max_batchsize`; did you mean `max_batch_size`?",
        "f.toml:3: unknown key `max_queue_delay`; did you mean `batching.max_queue_delay`?",
        "f.toml:4: unknown key `zebra`; known here: batching, empty, layer, max_batch_size, timeout",
        "f.toml:6: unknown key `batching.max_queue_dela`; did you mean `batching.max_queue_delay`?",
        "f.toml:8: unknown key `layer[0].strid`; did you mean `layer[0].stride`?",
        "f.toml:9: unknown key `foreign`; known here: batching, empty, layer, max_batch_size, timeout",
        "f.toml:13: unknown key `empty.x`",
    ];
    assert_eq!(problems(text, read), expected);
}

#[test]
fn tables_must_be_tables() {
    let text = "input = 1\nlayer = [1]\nlist = 2\n[[output]]\n[block]";
    let read = |root: &Table<'_>| {
        assert!(root.table("input").is_none() && root.table("output").is_none());
        assert!(root.tables("layer").is_empty() && root.tables("list").is_empty() && root.tables("block").is_empty());
    };
    let expected = [
        "f.toml:1: `input`: expected a table [input], got 1",
        "f.toml:2: `layer`: expected tables [[layer]], got [1]",
        "f.toml:3: `list`: expected tables [[list]], got 2",
        "f.toml:4: `output`: expected a table [output], got [a table]",
        "f.toml:5: `block`: expected tables [[block]], got a table",
    ];
    assert_eq!(problems(text, read), expected);
}

#[test]
fn missing_keys_and_the_readers_own_problems() {
    let text = "p = 1\n[input]";
    let read = |root: &Table<'_>| {
        root.require(&["p", "name"]);
        root.problem("p", "must not be 1");
        let input = root.table("input").expect("a table");
        input.require(&["dims"]);
        input.problem("dims", "is needed");
    };
    let expected = [
        "f.toml: missing key `name`",
        "f.toml:1: `p`: must not be 1",
        "f.toml:2: missing key `input.dims`",
        "f.toml:2: `input.dims`: is needed",
    ];
    assert_eq!(problems(text, read), expected);
}

#[test]
fn broken_lines_are_told_all_at_once() {
    let expected = [
        "f.toml:1: not TOML: string values must be quoted, expected literal string",
        "f.toml:3: not TOML: duplicate key",
    ];
    assert_eq!(problems("a = b\nc = 1\nc = 2\n", |_| {}), expected);
    for (text, line) in [("a = [", 1), ("\n\n[x", 3), ("a = \"\u{0}\"", 1), ("a", 1), ("a.b = 1\n\na.b.c = 2", 3)] {
        let lines = problems(text, |_| {});
        assert!(lines.iter().any(|told| told.starts_with(&format!("f.toml:{line}: not TOML: "))), "{text}: {lines:?}");
    }
}

#[test]
fn nesting_is_bounded() {
    for text in ["a=".to_owned() + &"[".repeat(100_000), "a=".to_owned() + &"{a=".repeat(100_000), "a.".repeat(100_000)]
    {
        assert!(Document::parse("f.toml", &text).is_err());
    }
    let header = format!("[{}a]\nx = 1", "a.".repeat(100_000));
    assert!(Document::parse("f.toml", &header).is_err());
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let missing = std::env::temp_dir().join("sconce-no-such-file.toml");
    let problems = Document::open(&missing).err().expect("no such file").to_string();
    assert!(problems.starts_with(&format!("{}: cannot be read: ", missing.display())), "{problems}");
}

/// Lines that are nearly those of a configuration.
fn almost_toml() -> impl Strategy<Value = String> {
    let keys = "(name|switch|count|number|size|wait|scores|labels|dims|range|layer|input|x|\"\"|a\\.b)";
    let values =
        "(1|-1|0x1F|1e400|nan|true|\"x\"|\"2ms\"|\"1KiB\"|\\[|\\[1, \"a\"\\]|\\{x = 1\\}|\\{|''|2026-01-01|\u{fe}|)";
    let line = format!("({keys} = {values}|\\[{keys}\\]|\\[\\[{keys}\\]\\]|{keys}|\\PC{{0,8}})\n");
    proptest::collection::vec(proptest::string::string_regex(&line).expect("a pattern"), 0..12)
        .prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn no_text_panics(text in prop_oneof![almost_toml(), any::<String>()]) {
        problems(&text, |root| {
            pull_everything(root);
            for table in root.tables("layer").iter().chain(root.table("input").iter()) {
                pull_everything(table);
            }
        });
    }
}
