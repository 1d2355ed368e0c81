//! The kernels as C++ for the host.

use std::env;

/// Sanitizers to build with, such as `address,undefined`. What links it then needs them too: see `tests/parity.rs`.
const SANITIZE: &str = "SCONCE_SANITIZE";

/// Compiles and links them.
#[expect(clippy::disallowed_methods, reason = "the settings of a build are its environment")]
pub(crate) fn build() {
    println!("cargo:rerun-if-env-changed={SANITIZE}");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(2).file("cuda/host/fibers.cpp").file("cuda/host/launch.cpp");
    build.warnings(true).extra_warnings(true).flag_if_supported("-Wno-unknown-pragmas").warnings_into_errors(true);
    if let Ok(sanitizers) = env::var(SANITIZE) {
        build.flag(format!("-fsanitize={sanitizers}")).flag("-fno-sanitize-recover=all");
        println!("cargo:rustc-link-arg-tests=-fsanitize={sanitizers}");
    }
    build.compile("sconce_kernels_host");
}
