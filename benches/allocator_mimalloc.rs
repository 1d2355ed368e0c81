//! A text encoder's batches with an allocator: mimalloc, which the server has. One of three that are the same but for it; docs/benchmarks.md compares.
//!
//! `cargo bench --bench allocator_mimalloc`

#[path = "support/blocks.rs"]
mod blocks;
#[path = "support/figures.rs"]
mod figures;
#[path = "support/folders.rs"]
mod folders;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    blocks::measure("mimalloc")
}
