//! The files of one version of a model: in a folder, or embedded in the binary.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::LoadError;

/// Entries of a folder that are looked at; a version has a handful.
const NAMES_MAX: usize = 4096;

/// Where the files of one version are. Names given to it are constants of this program, never a client's bytes.
#[derive(Clone, Debug)]
pub enum Files {
    /// A folder on disk. Links are followed, since volumes and caches are often made of them.
    Folder(PathBuf),
    /// Contents by name.
    Memory(BTreeMap<String, Cow<'static, [u8]>>),
}

impl Files {
    /// Names of the regular files, sorted. Errors: the folder cannot be listed.
    pub fn names(&self) -> Result<Vec<String>, LoadError> {
        let folder = match self {
            Self::Memory(contents) => return Ok(contents.keys().cloned().collect()),
            Self::Folder(folder) => folder,
        };
        let failed = |error: std::io::Error| LoadError::new(folder.to_string_lossy(), format!("cannot list: {error}"));
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)?.take(NAMES_MAX) {
            let entry = entry.map_err(failed)?;
            if is_file(&entry.path()) {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Is there a regular file of this name?
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => is_file(&folder.join(name)),
            Self::Memory(contents) => contents.contains_key(name),
        }
    }

    /// The whole file in owned memory, so that a file that shrinks afterwards does no harm.
    ///
    /// Errors: it does not exist, is not a regular file, cannot be read, or has more than `bytes_max` bytes.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, LoadError> {
        match self {
            Self::Folder(folder) => read_file(&folder.join(name), name, bytes_max),
            Self::Memory(contents) => {
                let Some(bytes) = contents.get(name) else { return Err(LoadError::new(name, "no such file")) };
                check_size(name, bytes.len() as u64, bytes_max)?;
                Ok(bytes.to_vec())
            }
        }
    }
}

/// Asked before a file is opened: opening a pipe would wait for its writer.
fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file())
}

fn check_size(name: &str, bytes: u64, bytes_max: u64) -> Result<(), LoadError> {
    if bytes > bytes_max {
        return Err(LoadError::new(name, format!("expected at most {bytes_max} bytes, got {bytes}")));
    }
    Ok(())
}

fn read_file(path: &Path, name: &str, bytes_max: u64) -> Result<Vec<u8>, LoadError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => LoadError::new(name, "no such file"),
        _ => LoadError::new(name, format!("cannot read: {error}")),
    };
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(LoadError::new(name, "not a regular file"));
    }
    let file = fs::File::open(path).map_err(failed)?;
    let expected = file.metadata().map_err(failed)?.len();
    check_size(name, expected, bytes_max)?;
    let mut bytes = Vec::new();
    let reserved = usize::try_from(expected).is_ok_and(|size| bytes.try_reserve_exact(size).is_ok());
    if !reserved {
        return Err(LoadError::new(name, format!("no memory for its {expected} bytes")));
    }
    // One byte more than the limit tells a file that grew meanwhile from one of exactly that size.
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    check_size(name, bytes.len() as u64, bytes_max)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Files;

    fn folder() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("sconce-files-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("sub")).expect("a folder");
        std::fs::write(folder.join("a.bin"), [1, 2, 3, 4]).expect("a file");
        folder
    }

    #[test]
    fn folders_and_memory_behave_alike() {
        let path = folder();
        let memory = Files::Memory(BTreeMap::from([("a.bin".to_owned(), vec![1, 2, 3, 4].into())]));
        for files in [Files::Folder(path.clone()), memory] {
            assert_eq!(files.names().expect("names"), ["a.bin"]);
            assert!(files.has("a.bin") && !files.has("sub") && !files.has("b"));
            assert_eq!(files.read("a.bin", 4).expect("bytes"), [1, 2, 3, 4]);
            let wrong = files.read("a.bin", 3).expect_err("too big");
            assert_eq!(wrong.to_string(), "a.bin: expected at most 3 bytes, got 4");
            assert_eq!(files.read("b", 9).expect_err("absent").to_string(), "b: no such file");
        }
        let wrong = Files::Folder(path.clone()).read("sub", 9).expect_err("a folder");
        assert_eq!(wrong.to_string(), "sub: not a regular file");
        let wrong = Files::Folder(path.clone()).read("a.bin/b", 9).expect_err("below a file");
        assert_eq!(wrong.to_string(), "a.bin/b: cannot read: Not a directory (os error 20)");
        let none = path.join("none");
        let wrong = Files::Folder(none.clone()).names().expect_err("no folder").to_string();
        assert_eq!(wrong, format!("{}: cannot list: No such file or directory (os error 2)", none.display()));
        std::fs::remove_dir_all(path).expect("removed");
    }
}
