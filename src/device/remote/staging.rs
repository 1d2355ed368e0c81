//! The staging area as the server has it: a file in memory that batches are written into and outputs read from.
//!
//! The worker maps the same file. The server does not: it writes and reads by system calls, so that nothing the worker does to
//! the file can kill it with SIGBUS. The file is sealed against shrinking, which is what keeps the worker's own mapping safe.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::io::{Errno, pread, pwritev};

use crate::device::wire::{AREA_BYTES_MAX, Place, aligned, area_bytes};

/// Slices that one call writes: Linux's `IOV_MAX`.
const SLICES_MAX: usize = 1024;
/// What stands between tensors.
const PADDING: [u8; 64] = [0; 64];

/// A model's staging area.
#[derive(Debug)]
pub(super) struct Staging {
    file: OwnedFd,
    /// Its size as far as it is known: the worker may have made it larger.
    bytes: u64,
}

impl Staging {
    /// An empty area. Errors: there are no descriptors left.
    pub(super) fn new() -> io::Result<Self> {
        let file = memfd_create("sconce-batch", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        fcntl_add_seals(&file, SealFlags::SHRINK)?;
        Ok(Self { file, bytes: 0 })
    }

    /// Writes `filling` at the start, in as few calls as can be. Errors: there is no memory for it.
    pub(super) fn write(&mut self, filling: &mut Filling<'_>) -> io::Result<()> {
        let size = area_bytes(filling.bytes).ok_or(io::ErrorKind::FileTooLarge)?;
        if size > self.bytes {
            self.bytes = fstat_bytes(&self.file)?;
        }
        if size > self.bytes {
            ftruncate(&self.file, size)?;
            self.bytes = size;
        }
        let mut offset = 0;
        let mut rest = &mut filling.slices[..];
        while !rest.is_empty() {
            let count = rest.len().min(SLICES_MAX);
            let written = match pwritev(&self.file, rest.get(..count).unwrap_or_default(), offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            offset += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    /// The contents of `place`, which the worker has named. Errors: it lies outside of the file.
    pub(super) fn read(&mut self, place: Place) -> io::Result<Vec<u8>> {
        let end = place.end().filter(|end| *end <= AREA_BYTES_MAX).ok_or(io::ErrorKind::FileTooLarge)?;
        if end > self.bytes {
            // Before any memory is taken for it.
            self.bytes = fstat_bytes(&self.file)?;
        }
        if end > self.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(place.bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut contents = Vec::new();
        contents.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        while contents.len() < length {
            let (offset, left) = (place.offset + contents.len() as u64, length - contents.len());
            read_on(&self.file, &mut contents, left, offset)?;
        }
        Ok(contents)
    }
}

impl AsFd for Staging {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Reads at most `left` bytes more. The vector may have more room than was asked for.
fn read_on(file: &OwnedFd, contents: &mut Vec<u8>, left: usize, offset: u64) -> io::Result<()> {
    let before = contents.len();
    match pread(file, rustix::buffer::spare_capacity(contents), offset) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => {
            contents.truncate(before + left);
            Ok(())
        }
        Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn fstat_bytes(file: &OwnedFd) -> io::Result<u64> {
    Ok(u64::try_from(fstat(file)?.st_size).unwrap_or(0))
}

/// What is to be written into an area: slices one behind the other, with padding where a tensor begins.
#[derive(Debug, Default)]
pub(super) struct Filling<'a> {
    slices: Vec<IoSlice<'a>>,
    bytes: u64,
}

impl<'a> Filling<'a> {
    /// Adds a tensor that lies in several slices.
    pub(super) fn add(&mut self, slices: impl Iterator<Item = &'a [u8]>) -> Place {
        let offset = aligned(self.bytes);
        let gap = usize::try_from(offset - self.bytes).unwrap_or(0);
        if let Some(padding) = PADDING.get(..gap).filter(|padding| !padding.is_empty()) {
            self.slices.push(IoSlice::new(padding));
        }
        self.bytes = offset;
        for slice in slices.filter(|slice| !slice.is_empty()) {
            self.slices.push(IoSlice::new(slice));
            self.bytes += slice.len() as u64;
        }
        Place { offset, bytes: self.bytes - offset }
    }

    /// How far it reaches.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use rustix::fs::ftruncate;

    use super::{Filling, Staging};
    use crate::device::wire::{AREA_BYTES_MAX, Place};

    #[test]
    fn thousands_of_slices_are_written_in_order_and_read_back() {
        let pieces: Vec<Vec<u8>> = (0..3000_u32).map(|number| number.to_le_bytes().to_vec()).collect();
        let mut filling = Filling::default();
        let first = filling.add([&b"abc"[..]].into_iter());
        let second = filling.add(pieces.iter().map(Vec::as_slice));
        let mut staging = Staging::new().expect("an area");
        staging.write(&mut filling).expect("written");
        assert_eq!(second, Place { offset: 64, bytes: 12_000 });
        assert_eq!(staging.read(first).expect("read"), b"abc");
        assert_eq!(staging.read(second).expect("read"), pieces.concat());
    }

    #[test]
    fn places_that_lie_outside_are_refused_before_memory_is_taken() {
        let mut staging = Staging::new().expect("an area");
        staging.write(&mut Filling::default()).expect("written");
        let refused =
            |staging: &mut Staging, offset, bytes| staging.read(Place { offset, bytes }).map_err(|e| e.kind());
        assert_eq!(refused(&mut staging, 65_000, 1000), Err(ErrorKind::UnexpectedEof));
        assert_eq!(refused(&mut staging, u64::MAX, 2), Err(ErrorKind::FileTooLarge));
        assert_eq!(refused(&mut staging, 0, AREA_BYTES_MAX + 1), Err(ErrorKind::FileTooLarge));
        // The other side may have made it larger, but nobody smaller.
        ftruncate(&staging.file, 70_000).expect("larger");
        assert_eq!(refused(&mut staging, 65_000, 1000), Ok(vec![0; 1000]));
        assert!(ftruncate(&staging.file, 10).is_err());
    }
}
