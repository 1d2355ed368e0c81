//! The files of one version of a model: in a folder, or embedded in the binary.

mod folder;
mod read;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use folder::Folder;

use super::LoadError;
use read::check_size;

/// Where the files of one version are. Names given to it are constants of this program or come from files of the model,
/// never from a client's bytes.
#[derive(Clone, Debug)]
pub enum Files {
    /// A folder on disk.
    Folder(Folder),
    /// Contents by name.
    Memory(BTreeMap<String, Cow<'static, [u8]>>),
}

impl Files {
    /// A folder by itself, such as one that a person names: links may lead to what lies in it, and, where it is a
    /// snapshot in a Hugging Face cache, to the cache's `blobs`.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::Folder(Folder::alone(path.into()))
    }

    /// A folder of a repository: links may lead to anything in the repository.
    pub fn within(path: impl Into<PathBuf>, repository: impl Into<PathBuf>) -> Self {
        Self::Folder(Folder::within(path.into(), repository.into()))
    }

    /// A folder whose links may lead to what lies in `roots`, as another process has told it.
    pub fn rooted(path: impl Into<PathBuf>, roots: Vec<PathBuf>) -> Self {
        Self::Folder(Folder::rooted(path.into(), roots))
    }

    /// Names of what is there beside folders, sorted. Errors: the folder cannot be listed.
    pub fn names(&self) -> Result<Vec<String>, LoadError> {
        match self {
            Self::Folder(folder) => folder.names(),
            Self::Memory(contents) => Ok(contents.keys().cloned().collect()),
        }
    }

    /// Is there something of this name that is no folder? Whether it can be read shows when it is.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.has(name),
            Self::Memory(contents) => contents.contains_key(name),
        }
    }

    /// The whole file in owned memory, so that a file that shrinks afterwards does no harm.
    ///
    /// Errors: it does not exist, lies outside, is not a regular file, cannot be read, has more than `bytes_max` bytes, or
    /// changes while it is read.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, LoadError> {
        match self {
            Self::Folder(folder) => folder.read(name, bytes_max),
            Self::Memory(contents) => {
                let bytes = in_memory(contents, name)?;
                check_size(name, bytes.len() as u64, bytes_max)?;
                Ok(bytes.to_vec())
            }
        }
    }

    /// The first `bytes` bytes of a file, or all that it has, and its size. Errors as of [`Files::read`].
    pub fn head(&self, name: &str, bytes: usize) -> Result<(Vec<u8>, u64), LoadError> {
        match self {
            Self::Folder(folder) => folder.head(name, bytes),
            Self::Memory(contents) => {
                let all = in_memory(contents, name)?;
                Ok((all.get(..bytes).unwrap_or(all).to_vec(), all.len() as u64))
            }
        }
    }
}

fn in_memory<'a>(contents: &'a BTreeMap<String, Cow<'static, [u8]>>, name: &str) -> Result<&'a [u8], LoadError> {
    contents.get(name).map(|bytes| &**bytes).ok_or_else(|| LoadError::new(name, "no such file"))
}
