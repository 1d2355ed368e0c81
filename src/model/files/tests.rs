//! Files that are not what they seem, and files that others change.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::Files;
use super::read::read_unchanged;

/// A folder that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sconce-files-{name}-{}", std::process::id()));
        let _none = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        Self(fs::canonicalize(folder).expect("a path"))
    }

    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.0.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn refusal(files: &Files, name: &str) -> String {
    assert_eq!(files.head(name, 1).expect_err("refused"), files.read(name, 9).expect_err("refused"));
    files.read(name, 9).expect_err("refused").to_string()
}

#[test]
fn folders_and_memory_behave_alike() {
    let scratch = Scratch::new("alike");
    let path = scratch.0.clone();
    scratch.folder("sub");
    fs::write(path.join("a.bin"), [1, 2, 3, 4]).expect("a file");
    let memory = Files::Memory(BTreeMap::from([("a.bin".to_owned(), vec![1, 2, 3, 4].into())]));
    for files in [Files::folder(&path), memory] {
        assert_eq!(files.names().expect("names"), ["a.bin"]);
        assert!(files.has("a.bin") && !files.has("sub") && !files.has("b"));
        assert_eq!(files.read("a.bin", 4).expect("bytes"), [1, 2, 3, 4]);
        assert_eq!(files.head("a.bin", 3).expect("bytes"), (vec![1, 2, 3], 4));
        assert_eq!(files.head("a.bin", 9).expect("bytes"), (vec![1, 2, 3, 4], 4));
        let wrong = files.read("a.bin", 3).expect_err("too big");
        assert_eq!(wrong.to_string(), "a.bin: expected at most 3 bytes, got 4");
        assert_eq!(refusal(&files, "b"), "b: no such file");
    }
    let files = Files::folder(&path);
    assert_eq!(refusal(&files, "sub"), "sub: not a regular file");
    assert_eq!(refusal(&files, "a.bin/b"), "a.bin/b: cannot read: Not a directory (os error 20)");
    let none = path.join("none");
    let wrong = Files::folder(&none).names().expect_err("no folder").to_string();
    assert_eq!(wrong, format!("{}: cannot list: No such file or directory (os error 2)", none.display()));
}

#[test]
fn links_and_names_that_lead_out_are_refused_with_their_target() {
    let scratch = Scratch::new("out");
    let secret = scratch.0.join("secret");
    fs::write(&secret, b"secret").expect("a file");
    let repository = scratch.folder("repository");
    let version = scratch.folder("repository/m/1");
    symlink(&secret, version.join("direct")).expect("a link");
    symlink("../../../secret", version.join("relative")).expect("a link");
    symlink("direct", version.join("twice")).expect("a link");
    symlink("../../..", version.join("folder")).expect("a link");
    for files in [Files::within(&version, &repository), Files::folder(&version)] {
        for name in ["direct", "relative", "twice", "folder/secret"] {
            assert!(files.has(name), "so that it is refused, not overlooked");
            let wanted = format!("{name}: a link leads out of the model repository, to {}", secret.display());
            assert_eq!(refusal(&files, name), wanted);
        }
        for name in ["../../../secret", "/etc/passwd", "./x/../../y"] {
            assert_eq!(refusal(&files, name), format!("{name}: leads out of the version's folder"));
        }
    }
    // The version as a whole may not lie elsewhere either.
    symlink(scratch.folder("elsewhere"), repository.join("m/2")).expect("a link");
    fs::write(repository.join("m/2/a"), b"a").expect("a file");
    let wrong = refusal(&Files::within(repository.join("m/2"), &repository), "a");
    assert!(wrong.starts_with("a: a link leads out of the model repository, to /"), "{wrong}");
}

#[test]
fn links_inside_the_repository_are_followed() {
    let scratch = Scratch::new("inside");
    // As Kubernetes mounts a volume: what is seen leads over `..data` to the folder of this moment.
    let moment = scratch.folder("volume/..2026/m/1");
    fs::write(moment.join("a"), b"now").expect("a file");
    symlink("..2026", scratch.0.join("volume/..data")).expect("a link");
    symlink("..data/m", scratch.0.join("volume/m")).expect("a link");
    let files = Files::within(scratch.0.join("volume/m/1"), scratch.0.join("volume"));
    assert_eq!(files.read("a", 9).expect("bytes"), b"now");
    // As a Hugging Face cache keeps a model.
    let snapshot = scratch.folder("hub/models--x/snapshots/abc");
    scratch.folder("hub/models--x/blobs");
    fs::write(scratch.0.join("hub/models--x/blobs/1234"), b"blob").expect("a file");
    fs::write(scratch.0.join("hub/other"), b"other").expect("a file");
    symlink("../../blobs/1234", snapshot.join("a")).expect("a link");
    symlink("../../../other", snapshot.join("b")).expect("a link");
    let files = Files::folder(&snapshot);
    assert_eq!(files.read("a", 9).expect("bytes"), b"blob");
    assert!(refusal(&files, "b").starts_with("b: a link leads out of the model repository, to /"));
    // The repository's own path may be a link.
    symlink(scratch.0.join("volume"), scratch.0.join("current")).expect("a link");
    let files = Files::within(scratch.0.join("current/m/1"), scratch.0.join("current"));
    assert_eq!(files.read("a", 9).expect("bytes"), b"now");
}

#[test]
fn pipes_sockets_and_devices_are_refused_before_they_are_opened() {
    let scratch = Scratch::new("kinds");
    let made = std::process::Command::new("mkfifo").arg(scratch.0.join("pipe")).status().expect("mkfifo");
    assert!(made.success());
    let _socket = UnixListener::bind(scratch.0.join("socket")).expect("a socket");
    // A link within the root of the file system: the kind is what is refused.
    symlink("/dev/zero", scratch.0.join("device")).expect("a link");
    let files = Files::within(&scratch.0, "/");
    for name in ["pipe", "socket", "device"] {
        assert!(files.has(name));
        assert_eq!(refusal(&files, name), format!("{name}: not a regular file"));
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let scratch = Scratch::new("changes");
    let path = scratch.0.join("a");
    let appended = |path: &Path| {
        fs::OpenOptions::new().append(true).open(path).and_then(|mut file| file.write_all(b"more")).expect("written");
    };
    let cut = |path: &Path| fs::write(path, b"").expect("written");
    let replaced = |path: &Path| {
        fs::write(path.with_extension("new"), b"long").expect("written");
        fs::rename(path.with_extension("new"), path).expect("renamed");
    };
    let removed = |path: &Path| fs::remove_file(path).expect("removed");
    let changes: [&dyn Fn(&Path); 4] = [&appended, &cut, &replaced, &removed];
    for change in changes {
        fs::write(&path, b"long").expect("written");
        let read = read_unchanged(&path, "a", |_file, size| {
            change(&path);
            Ok(size)
        });
        assert_eq!(read.expect_err("changed").to_string(), "a: changed while it was read");
    }
    fs::write(&path, b"long").expect("written");
    assert_eq!(read_unchanged(&path, "a", |_file, size| Ok(size)).expect("unchanged"), (4, 4));
}
