//! The server's own binary runs where there is no driver: CUDA is the worker's alone.

use std::fs;

/// Libraries of CUDA, as a binary that is linked with them names them.
const LIBRARIES: [&str; 5] = ["libcuda.so", "libcudart.so", "libcublas.so", "libcurand.so", "libnvrtc.so"];

#[test]
fn the_server_needs_no_library_of_cuda() {
    let binary = fs::read(env!("CARGO_BIN_EXE_sconce")).expect("the server's binary");
    // What a binary is linked with stands in it as names that end with a zero.
    let names: Vec<&[u8]> = binary.split(|byte| *byte == 0).filter(|name| name.starts_with(b"lib")).collect();
    let needs = |library: &&str| names.iter().any(|name| name.starts_with(library.as_bytes()));
    assert!(needs(&"libc.so"), "the names are looked for in the right place");
    assert_eq!(LIBRARIES.iter().copied().find(|library| needs(library)), None);
}

#[test]
fn no_feature_of_the_server_brings_cuda() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).expect("the manifest");
    assert!(!manifest.contains("cuda"), "{manifest}");
}
