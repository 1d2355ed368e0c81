//! Reads a file that others may write to at the same time: all of it as it was at one moment, or not at all.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use crate::model::LoadError;

/// The whole file at `path`, a path without links.
pub(super) fn read(path: &Path, name: &str, bytes_max: u64) -> Result<Vec<u8>, LoadError> {
    let (bytes, _) = read_unchanged(path, name, |file, size| {
        check_size(name, size, bytes_max)?;
        let bytes = read_up_to(file, name, size, bytes_max)?;
        check_size(name, bytes.len() as u64, bytes_max)?;
        Ok(bytes)
    })?;
    Ok(bytes)
}

/// The first `bytes` bytes of the file at `path`, a path without links, and its size.
pub(super) fn head(path: &Path, name: &str, bytes: usize) -> Result<(Vec<u8>, u64), LoadError> {
    read_unchanged(path, name, |file, size| {
        let wanted = size.min(bytes as u64);
        let mut bytes = read_up_to(file, name, wanted, wanted)?;
        bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(bytes)
    })
}

pub(super) fn check_size(name: &str, bytes: u64, bytes_max: u64) -> Result<(), LoadError> {
    if bytes > bytes_max {
        return Err(LoadError::new(name, format!("expected at most {bytes_max} bytes, got {bytes}")));
    }
    Ok(())
}

pub(super) fn refused(name: &str, error: &io::Error) -> LoadError {
    match error.kind() {
        io::ErrorKind::NotFound => LoadError::new(name, "no such file"),
        _ => LoadError::new(name, format!("cannot read: {error}")),
    }
}

/// What `take` reads of a regular file that is the same one, unchanged, when `take` has ended; and its size.
pub(super) fn read_unchanged<T>(
    path: &Path,
    name: &str,
    take: impl FnOnce(&mut File, u64) -> Result<T, LoadError>,
) -> Result<(T, u64), LoadError> {
    let failed = |error: io::Error| refused(name, &error);
    // Asked before it is opened: opening a device can do something.
    let before = fs::metadata(path).map_err(failed)?;
    if !before.is_file() {
        return Err(LoadError::new(name, "not a regular file"));
    }
    // Should it have become a pipe or a link since, opening it neither waits for a writer nor follows.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or(0);
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let opened = file.metadata().map_err(failed)?;
    let taken = take(&mut file, opened.len());
    let is_same = is_same(&before, &opened)
        && is_same(&opened, &file.metadata().map_err(failed)?)
        && fs::metadata(path).is_ok_and(|after| is_same(&opened, &after));
    if !is_same {
        return Err(LoadError::new(name, "changed while it was read"));
    }
    Ok((taken?, opened.len()))
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    let key = |meta: &Metadata| (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec());
    key(one) == key(other)
}

/// Reads on until the end, or one byte beyond `bytes_max`, which tells a file that grew from one of exactly that size.
fn read_up_to(file: &mut File, name: &str, expected: u64, bytes_max: u64) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    let reserved = usize::try_from(expected).is_ok_and(|size| bytes.try_reserve_exact(size).is_ok());
    if !reserved {
        return Err(LoadError::new(name, format!("no memory for its {expected} bytes")));
    }
    let read = file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| refused(name, &error))?;
    Ok(bytes)
}
