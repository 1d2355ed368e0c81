//! A text encoder's batches with an allocator: jemalloc. One of three that are the same but for it; docs/benchmarks.md compares.
//!
//! `cargo bench --bench allocator_jemalloc`

#[path = "support/blocks.rs"]
mod blocks;
#[path = "support/figures.rs"]
mod figures;
#[path = "support/folders.rs"]
mod folders;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    blocks::measure("jemalloc")
}
