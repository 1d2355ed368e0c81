//! Kernels: CUDA C++ with plain Rust twins that define their meaning.
