//! `sconce man`: manual pages, made from the same words as `--help`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::Arguments;
use super::screen::write;

const INSTALL: &str = "\
To install:
  sconce man --out ~/.local/share/man/man1
  man sconce-serve";

/// Where the pages go.
#[derive(Debug, clap::Args)]
#[command(after_help = INSTALL)]
pub(super) struct Flags {
    /// Folder for the pages of the command and of each subcommand; made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the command's own page, or writes all pages. Errors: the folder cannot be written to.
pub(super) fn run(flags: &Flags) -> anyhow::Result<ExitCode> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    // Gives subcommands their full names.
    command.build();
    match &flags.out {
        None => write(page(&command)?.1.as_bytes()),
        Some(folder) => {
            let shown = folder.display();
            std::fs::create_dir_all(folder).with_context(|| format!("--out {shown}: make the folder"))?;
            for command in std::iter::once(&command).chain(command.get_subcommands()) {
                let (name, text) = page(command)?;
                std::fs::write(folder.join(name), text).with_context(|| format!("--out {shown}: write a page"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A command's page: the name of its file, and its text.
fn page(command: &Command) -> anyhow::Result<(String, String)> {
    let man = Man::new(command.clone()).source(concat!("sconce ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render(&mut text).context("render the page")?;
    Ok((man.get_filename(), ascii(&String::from_utf8(text).context("render the page")?)))
}

/// The same in ASCII: troff itself reads bytes, and knows other characters by their numbers.
fn ascii(text: &str) -> String {
    let mut named = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            named.push(character);
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(named, "\\[u{:04X}]", u32::from(character));
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::ascii;

    #[test]
    fn characters_beyond_ascii_are_named() {
        assert_eq!(ascii("NAME:D,… µs"), "NAME:D,\\[u2026] \\[u00B5]s");
    }
}
