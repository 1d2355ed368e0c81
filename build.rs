//! Compiles `proto/` into `OUT_DIR` with a protobuf compiler written in Rust, so that no `protoc` is needed.

use std::path::PathBuf;

use prost::Message as _;

#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts by the environment")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/inference.proto"], ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("inference.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes("inference.ModelInferRequest.raw_input_contents")
        .bytes("inference.ModelInferResponse.raw_output_contents")
        .compile_fds(files)?;
    Ok(())
}
