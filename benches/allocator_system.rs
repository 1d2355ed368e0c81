//! A text encoder's batches with an allocator: the system's (glibc's, unless MALLOC_ variables tune it). One of three that are the same but for it; docs/benchmarks.md compares.
//!
//! `cargo bench --bench allocator_system`

#[path = "support/blocks.rs"]
mod blocks;
#[path = "support/figures.rs"]
mod figures;
#[path = "support/folders.rs"]
mod folders;

fn main() -> anyhow::Result<()> {
    blocks::measure("system")
}
