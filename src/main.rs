//! The `sconce` binary: arguments in, exit code out.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

/// Keeps its pages: glibc's allocator hands each large block back to the kernel, and every model's output is one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sconce::app::keep_pools_from_spinning();
    sconce::cli::run(sconce::cli::Arguments::parse())
}
