//! What a person types: `serve`, `demo`, `check`.
//!
//! The commands use the server as its users do. Deliberately absent: the server's own path.

mod check;
mod demo;
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
}

/// Runs the command.
pub fn run(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::Serve(flags) => serve::run(&flags),
        Command::Demo(flags) => demo::run(&flags),
        Command::Check(flags) => check::run(&flags),
    };
    done.unwrap_or_else(|error| {
        screen::complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}
