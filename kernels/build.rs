//! Compiles the kernels: for GPUs with feature `cuda`, as C++ for the host with feature `host`.

use std::error::Error;
use std::fs;
use std::path::Path;

#[cfg(feature = "cuda")]
#[path = "build/cuda.rs"]
mod cuda;
#[cfg(feature = "host")]
#[path = "build/host.rs"]
mod host;

fn main() -> Result<(), Box<dyn Error>> {
    for folder in ["cuda", "cuda/host"] {
        // A folder alone would not tell of a change within a file on every system.
        for entry in fs::read_dir(Path::new(folder))? {
            println!("cargo:rerun-if-changed={}", entry?.path().display());
        }
    }
    #[cfg(feature = "host")]
    host::build();
    #[cfg(feature = "cuda")]
    cuda::build()?;
    Ok(())
}
