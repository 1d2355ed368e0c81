//! Kernels: CUDA C++ under `cuda/`, each with a plain Rust twin that defines its meaning, and a call that checks what it is given.
//!
//! A file here is a kernel: its twin (a function of slices, with results in `f64`, as nothing is rounded but what the kernel's text
//! says), and the call that launches it. Everything is packed: `[tokens, ..]`, the tokens of all rows one after the other, without
//! padding; `offsets`, `[rows + 1]`, tell where rows begin. Numbers of a model are `f32`, `f16` or `bf16`; sums, norms and biases are
//! `f32`, and each result is rounded once.
//!
//! Safe by construction: a call checks lengths and sizes, and a kernel checks the indices that it finds in memory. A wrong index
//! gives NaN or zeros, since an access outside of a GPU's memory would end the process that has it.

pub mod activate;
pub mod attend;
mod driver;
mod element;
pub mod embed;
mod error;
pub mod norm;
pub mod pack;
pub mod pool;
pub mod rotate;
pub mod score;

#[cfg(feature = "cuda")]
pub use driver::Cuda;
pub use driver::{Driver, Launch, View, ViewMut};
#[cfg(feature = "host")]
pub use driver::{Host, Order};
pub use element::{Element, Plain, Type};
pub use error::Error;

/// Every kernel, by the source that has it.
pub const KERNELS: &[(&str, &[&str])] = &[
    ("activate", &["activate_f32", "activate_f16", "activate_bf16", "gate_f32", "gate_f16", "gate_bf16"]),
    ("attend", attend::KERNELS),
    ("embed", &["embed_f32", "embed_f16", "embed_bf16"]),
    ("norm", &["norm_f32", "norm_f16", "norm_bf16"]),
    ("pack", &["pack"]),
    ("pool", &["pool_f32", "pool_f16", "pool_bf16"]),
    ("rotate", &["rotate_f32", "rotate_f16", "rotate_bf16"]),
    ("score", &["score_f32", "score_f16", "score_bf16"]),
];

/// The kernels of a source.
#[cfg(feature = "cuda")]
fn kernels_of(source: &str) -> &'static [&'static str] {
    KERNELS.iter().find(|(name, _)| *name == source).map_or(&[], |(_, kernels)| kernels)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::KERNELS;

    #[test]
    fn every_source_has_its_kernels_listed() {
        let files = fs::read_dir("cuda").expect("the sources");
        let paths = files.map(|file| file.expect("a file").path());
        let sources = paths.filter(|path| path.extension().is_some_and(|extension| extension == "cu"));
        let mut names: Vec<String> = sources.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
        names.sort();
        let listed: Vec<&str> = KERNELS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, listed);
    }
}
