//! `sconce completions`: what makes a shell complete the command's words.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::Arguments;
use super::screen::write;

const INSTALL: &str = "\
To install, for instance:
  sconce completions bash > ~/.local/share/bash-completion/completions/sconce
  sconce completions zsh > ~/.zfunc/_sconce          (a folder in $fpath, before compinit)
  sconce completions fish > ~/.config/fish/completions/sconce.fish";

/// Which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = INSTALL)]
pub(super) struct Flags {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script.
#[expect(clippy::unnecessary_wraps, reason = "one form for every command")]
pub(super) fn run(flags: &Flags) -> anyhow::Result<ExitCode> {
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(flags.shell, &mut command, name, &mut script);
    write(&script);
    Ok(ExitCode::SUCCESS)
}
