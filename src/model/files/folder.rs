//! A folder on disk whose links may not lead out of its repository.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::read::{head, read, refused};
use crate::model::LoadError;

/// Entries of a folder that are looked at; a version has a handful.
const NAMES_MAX: usize = 4096;

/// A folder, and where links in it may lead. Volumes and caches are often made of links, so they are followed; but one
/// that leads elsewhere could show any file of the machine to whoever may write models.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// What may be read, wherever links lead.
    roots: Vec<PathBuf>,
}

impl Folder {
    pub(super) fn alone(path: PathBuf) -> Self {
        let mut roots = vec![path.clone()];
        roots.extend(blobs_beside(&path));
        Self { path, roots }
    }

    pub(super) fn within(path: PathBuf, repository: PathBuf) -> Self {
        Self { path, roots: vec![repository] }
    }

    /// The same folder, as another process has described it by [`Folder::path`] and [`Folder::roots`].
    pub(super) fn rooted(path: PathBuf, roots: Vec<PathBuf>) -> Self {
        Self { path, roots }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What may be read, wherever links lead.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    pub(super) fn names(&self) -> Result<Vec<String>, LoadError> {
        let failed = |error: io::Error| LoadError::new(self.path.to_string_lossy(), format!("cannot list: {error}"));
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)?.take(NAMES_MAX) {
            let entry = entry.map_err(failed)?;
            if is_no_folder(&entry.path()) {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        is_no_folder(&self.path.join(name))
    }

    pub(super) fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, LoadError> {
        read(&self.resolve(name)?, name, bytes_max)
    }

    pub(super) fn head(&self, name: &str, bytes: usize) -> Result<(Vec<u8>, u64), LoadError> {
        head(&self.resolve(name)?, name, bytes)
    }

    /// The path without links of the file of this name. Errors: there is none, or it lies outside.
    fn resolve(&self, name: &str) -> Result<PathBuf, LoadError> {
        let plain = |component: Component<'_>| matches!(component, Component::Normal(_));
        if !Path::new(name).components().all(plain) {
            return Err(LoadError::new(name, "leads out of the version's folder"));
        }
        let path = fs::canonicalize(self.path.join(name)).map_err(|error| refused(name, &error))?;
        // Links may be put in place of the roots while the server runs, so that they are looked up each time.
        let is_inside = |root: &PathBuf| fs::canonicalize(root).is_ok_and(|root| path.starts_with(root));
        if self.roots.iter().any(is_inside) {
            return Ok(path);
        }
        Err(LoadError::new(name, format!("a link leads out of the model repository, to {}", path.display())))
    }
}

/// The `blobs` of the Hugging Face cache that a folder `…/snapshots/<revision>` is in.
fn blobs_beside(folder: &Path) -> Option<PathBuf> {
    let folder = fs::canonicalize(folder).ok()?;
    let snapshots = folder.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "snapshots"))?;
    Some(snapshots.parent()?.join("blobs"))
}

fn is_no_folder(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| !meta.is_dir())
}
