//! The kernels as C++ for the host.

use std::env;

/// Is it to be built with the sanitizers of addresses and undefined behaviour? What runs it needs the first of them preloaded.
const SANITIZE: &str = "SCONCE_SANITIZE";

/// Compiles and links them.
#[expect(clippy::disallowed_methods, reason = "the settings of a build are its environment")]
pub(crate) fn build() {
    println!("cargo:rerun-if-env-changed={SANITIZE}");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(2).file("cuda/host/fibers.cpp").file("cuda/host/launch.cpp");
    build.warnings(true).extra_warnings(true).flag_if_supported("-Wno-unknown-pragmas");
    let sanitizes = env::var_os(SANITIZE).is_some();
    if sanitizes {
        build.flag("-fsanitize=address,undefined").flag("-fno-sanitize-recover=all");
    }
    build.compile("sconce_kernels_host");
    if sanitizes {
        // Rust has the linker add no libraries by itself, so that the compiler's flag alone would add none.
        println!("cargo:rustc-link-lib=dylib=asan");
        println!("cargo:rustc-link-lib=dylib=ubsan");
    }
}
