//! The kernels for GPUs: a fat binary for each source, of machine code and of PTX that later GPUs translate.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Hopper's.
const COMPUTE_CAP: &str = "90";

/// Compiles every `cuda/*.cu`, and writes a table of them.
#[expect(clippy::disallowed_methods, reason = "the settings of a build are its environment")]
pub(crate) fn build() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for variable in ["CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let nvcc = env::var("CUDA_HOME").map_or_else(|_| PathBuf::from("nvcc"), |home| Path::new(&home).join("bin/nvcc"));
    let targets = targets(&env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| COMPUTE_CAP.to_owned()));
    let mut table = String::from("&[\n");
    for source in sources()? {
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let binary = out.join(&name).with_extension("fatbin");
        compile(&nvcc, &targets, &source, &binary)?;
        writeln!(table, r#"("{name}", include_bytes!(concat!(env!("OUT_DIR"), "/{name}.fatbin"))),"#)?;
    }
    table.push(']');
    fs::write(out.join("modules.rs"), table)?;
    Ok(())
}

/// What to compile for: each of these compute capabilities, as `80,90`, and PTX of the last.
fn targets(capabilities: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for capability in capabilities.split(',').map(str::trim) {
        targets.push(format!("arch=compute_{capability},code=sm_{capability}"));
    }
    if let Some(last) = capabilities.split(',').next_back().map(str::trim) {
        targets.push(format!("arch=compute_{last},code=compute_{last}"));
    }
    targets
}

fn sources() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir("cuda")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

fn compile(nvcc: &Path, targets: &[String], source: &Path, binary: &Path) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(nvcc);
    command.args(["-fatbin", "-std=c++17", "-O3", "--Werror", "all-warnings", "-Xptxas", "-warn-spills"]);
    for target in targets {
        command.args(["-gencode", target]);
    }
    let status = command.arg("-o").arg(binary).arg(source).status();
    if !status.map_err(|error| format!("{}: {error}", nvcc.display()))?.success() {
        return Err(format!("nvcc failed for {}", source.display()).into());
    }
    Ok(())
}
