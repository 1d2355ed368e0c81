//! What a version's files look like from outside: when this changes, the version is another one.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Entries that are looked at; a version has a handful.
const ENTRIES_MAX: usize = 4096;
/// Folders in folders that are looked into.
const DEPTH_MAX: usize = 4;
/// How names of files end that somebody is still writing.
const PARTIAL: [&str; 5] = ["tmp", "part", "partial", "incomplete", "crdownload"];

/// Names, sizes, times of change and inodes of a version's files and of its `model.toml`, as one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fingerprint(pub(super) u64);

/// How a version's files were at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    pub(super) fingerprint: Fingerprint,
    /// Is one of them still being written, by its name?
    pub(super) is_partial: bool,
}

/// Where changes of a version show.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The version's folder.
    pub(super) folder: PathBuf,
    /// The model's `model.toml`, which need not be there.
    pub(super) settings: PathBuf,
}

impl Origin {
    /// Looks at all of it; reads no file.
    pub(super) fn survey(&self) -> Survey {
        let mut walk = Walk { hasher: DefaultHasher::new(), is_partial: false, left: ENTRIES_MAX };
        walk.file(&self.settings);
        walk.folder(&self.folder, DEPTH_MAX);
        Survey { fingerprint: Fingerprint(walk.hasher.finish()), is_partial: walk.is_partial }
    }
}

struct Walk {
    hasher: DefaultHasher,
    is_partial: bool,
    left: usize,
}

impl Walk {
    fn folder(&mut self, folder: &Path, depth: usize) {
        // What cannot be listed looks empty; loading it says why.
        let Ok(entries) = fs::read_dir(folder) else { return };
        let mut paths: Vec<PathBuf> = entries.take(self.left).filter_map(|entry| Some(entry.ok()?.path())).collect();
        self.left -= paths.len();
        // Folders are listed in no order.
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default();
            name.hash(&mut self.hasher);
            self.is_partial |= is_partial(&name.to_string_lossy());
            if !self.file(&path) && depth > 0 {
                self.folder(&path, depth - 1);
            }
        }
    }

    /// True unless it is a folder. Links are followed: what they lead to is what is loaded.
    fn file(&mut self, path: &Path) -> bool {
        let Ok(meta) = fs::metadata(path) else {
            return true;
        };
        if meta.is_dir() {
            return false;
        }
        (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()).hash(&mut self.hasher);
        true
    }
}

/// Does a file of this name await its last bytes, or its right name?
fn is_partial(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    name.starts_with(".~") || ending.is_some_and(|ending| PARTIAL.contains(&ending))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{Origin, is_partial};

    #[test]
    fn every_change_shows_and_nothing_else_does() {
        let root = std::env::temp_dir().join(format!("sconce-fingerprint-{}", std::process::id()));
        let _none = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("1/sub")).expect("a folder");
        let origin = Origin { folder: root.join("1"), settings: root.join("model.toml") };
        let mut last = origin.survey();
        assert!(!last.is_partial);
        let changes: [(&str, &dyn Fn()); 8] = [
            ("a file", &|| fs::write(root.join("1/a"), b"1").expect("written")),
            ("its size", &|| fs::write(root.join("1/a"), b"12").expect("written")),
            ("its inode", &|| {
                fs::write(root.join("b"), b"12").expect("written");
                fs::rename(root.join("b"), root.join("1/a")).expect("renamed");
            }),
            ("its name", &|| fs::rename(root.join("1/a"), root.join("1/b")).expect("renamed")),
            ("a file further down", &|| fs::write(root.join("1/sub/c"), b"1").expect("written")),
            ("the settings", &|| fs::write(root.join("model.toml"), b"").expect("written")),
            ("a link's target", &|| {
                fs::write(root.join("target"), b"12").expect("written");
                symlink("../target", root.join("1/link")).expect("a link");
            }),
            ("a file that goes", &|| fs::remove_file(root.join("1/b")).expect("removed")),
        ];
        for (what, change) in changes {
            change();
            let now = origin.survey();
            assert_ne!(now, last, "{what}");
            assert_eq!(origin.survey(), now, "{what}");
            last = now;
        }
        fs::write(root.join("1/sub/weights.incomplete"), b"").expect("written");
        assert!(origin.survey().is_partial);
        // A link in a circle ends.
        symlink("..", root.join("1/sub/up")).expect("a link");
        origin.survey();
        fs::remove_dir_all(&root).expect("removed");
        assert_eq!(origin.survey(), origin.survey());
    }

    #[test]
    fn names_of_partial_files() {
        for name in ["a.tmp", "model.safetensors.part", "x.partial", "y.incomplete", "z.crdownload", ".~lock"] {
            assert!(is_partial(name), "{name}");
        }
        for name in ["model.safetensors", "tmp", "a.tmp.json", "part", "~a", ".hidden"] {
            assert!(!is_partial(name), "{name}");
        }
    }
}
