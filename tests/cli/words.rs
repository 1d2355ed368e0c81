//! `sconce completions` and `sconce man`: every subcommand is in them, and the programs that read them find no fault.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::{Scratch, run, text};

const SUBCOMMANDS: [&str; 6] = ["serve", "demo", "check", "bench", "completions", "man"];

/// Feeds a program, and returns what it complained of; `None` if it is not installed.
fn fed(program: &str, arguments: &[&str], input: &[u8]) -> Option<String> {
    let mut command = Command::new(program);
    let piped = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = piped.spawn().ok()?;
    child.stdin.take().expect("piped").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("ends");
    let complaint = text(&output.stderr);
    assert_eq!(output.status.success(), complaint.is_empty(), "{complaint}");
    Some(complaint)
}

#[test]
fn completions_name_every_subcommand() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        let script = text(&output.stdout);
        assert!(output.status.success(), "{shell}");
        for word in SUBCOMMANDS.into_iter().chain(["concurrency", "metrics"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(run(&["completions", "cobol"]).status.code(), Some(2));
}

#[test]
fn bash_reads_its_completions() {
    let script = run(&["completions", "bash"]).stdout;
    assert_eq!(fed("bash", &["-n"], &script).as_deref(), Some(""));
}

#[test]
fn every_command_has_a_page_that_troff_reads() {
    let scratch = Scratch::new("man");
    let folder = scratch.path().join("man1");
    assert!(run(&["man", "--out", folder.to_str().expect("text")]).status.success());
    let page = |name: &str| std::fs::read(folder.join(name)).expect("a page");
    assert_eq!(page("sconce.1"), run(&["man"]).stdout);
    for subcommand in SUBCOMMANDS {
        let page = page(&format!("sconce-{subcommand}.1"));
        assert!(text(&page).contains(&format!(".TH sconce-{subcommand} 1")), "{}", text(&page));
        // Not every machine has groff.
        assert_eq!(fed("groff", &["-man", "-ww", "-z"], &page).unwrap_or_default(), "", "{subcommand}");
    }
}

#[test]
fn pages_that_cannot_be_written_are_told() {
    let scratch = Scratch::new("man-refused");
    scratch.write("file", "").write("taken/sconce.1/in-the-way", "");
    for (name, failed) in [("file/man1", ": make the folder: "), ("taken", ": write a page: ")] {
        let folder = scratch.path().join(name);
        let output = run(&["man", "--out", folder.to_str().expect("text")]);
        assert_eq!(output.status.code(), Some(1));
        let wanted = format!("--out {}{failed}", folder.display());
        assert!(text(&output.stderr).contains(&wanted), "{}", text(&output.stderr));
    }
}
