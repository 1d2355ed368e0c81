//! What a person types: `serve`, `demo`, `check`, `bench`, `completions`, `man`.
//!
//! The commands use the server as its users do. Deliberately absent: the server's own path.

mod bench;
mod check;
mod completions;
mod demo;
mod man;
mod screen;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ServeFlags;

/// An inference server for production machine learning: one binary in front of your models.
#[derive(Debug, Parser)]
#[command(name = "sconce", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the models in a repository over gRPC (Open Inference Protocol v2), with metrics for Prometheus.
    Serve(Box<ServeFlags>),
    /// Serve the shipped models, send them real held-out rows, and show accuracy, latency and confidence.
    Demo(demo::Flags),
    /// Check a model folder without starting a server, and print what the model takes and gives.
    Check(check::Flags),
    /// Load a server of the protocol and measure throughput, latency percentiles and errors.
    Bench(Box<bench::Flags>),
    /// Print what makes a shell complete this command.
    Completions(completions::Flags),
    /// Print the manual page, or write the pages of every command into a folder.
    Man(man::Flags),
}

/// Runs the command.
pub fn run(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::Serve(flags) => serve::run(&flags),
        Command::Demo(flags) => demo::run(&flags),
        Command::Check(flags) => check::run(&flags),
        Command::Bench(flags) => bench::run(&flags),
        Command::Completions(flags) => completions::run(&flags),
        Command::Man(flags) => man::run(&flags),
    };
    done.unwrap_or_else(|error| {
        screen::complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}
