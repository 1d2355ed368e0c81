//! `demo` with folders that are not what it is told they are.

use super::{Scratch, run, text};

fn refused(arguments: &[&str]) -> String {
    let output = run(&[&["demo", "--once"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn a_folder_of_another_kind_of_model_is_told() {
    let scratch = Scratch::new("demo-kind");
    scratch.model("plain");
    let folder = scratch.path().join("plain/1");
    let folder = folder.to_str().expect("a path");
    let told = refused(&["--text", folder]);
    assert!(told.contains("error: --text: the model plain takes no input \"text\""), "{told}");
    let told = refused(&["--image", folder]);
    assert!(told.contains("error: --image: the model plain takes no input \"image\""), "{told}");
}

#[test]
fn a_folder_that_holds_no_model_is_told() {
    let scratch = Scratch::new("demo-none");
    let folder = scratch.path().to_str().expect("a path");
    let told = refused(&["--text", folder]);
    assert!(told.contains("unknown kind of model"), "{told}");
    let told = refused(&["--text", "/nowhere/at/all"]);
    assert!(told.contains("the folder could not be read; the log above says why"), "{told}");
}

#[test]
fn a_picture_that_cannot_be_read_is_named() {
    let told = refused(&["--image", "/tmp", "--picture", "/nowhere/a.png"]);
    assert!(told.contains("read the picture /nowhere/a.png: No such file or directory"), "{told}");
}

#[test]
fn a_worker_that_is_not_there_is_told_with_how_to_build_it() {
    let output = run(&["demo", "--kill-device", "--worker", "/nowhere/sconce-worker"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let told = text(&output.stderr);
    let expected = "error: there is no worker's program at /nowhere/sconce-worker: \
                    build it with `cargo build --release -p sconce-worker`, or name it with --worker";
    assert_eq!(told.trim_end(), expected);
}

#[test]
fn a_gpu_that_is_not_there_is_told_instead_of_the_demo() {
    let worker = env!("CARGO_BIN_EXE_sconce");
    let output = run(&["demo", "--kill-device", "--device", "cuda", "--worker", worker]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let told = text(&output.stderr);
    // Where there is a GPU, it is that the worker's program is none.
    assert!(told.starts_with("error: --device cuda: ") && output.stdout.is_empty(), "{told}");
}
