//! A staging area as the worker has it: mapped, so that a device reads the rows where the server wrote them.
#![expect(unsafe_code, reason = "memory that is shared with another process")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{SealFlags, fcntl_get_seals};
use sconce::device::wire::{Place, area_bytes};

use crate::device::Device;

/// A model's staging area.
///
/// The server writes a batch's inputs at the front, this process the outputs behind them; neither touches it before the other
/// has said that it is done. The file cannot shrink, so what has been mapped can be read.
pub(crate) struct Area {
    file: File,
    device: Arc<dyn Device>,
    map: Arc<Mapping>,
    /// Where the inputs end that have been lent out in this batch.
    lent: usize,
}

impl Area {
    /// Maps a file, for batches on `device`. Errors: it may shrink while it is mapped, or cannot be mapped.
    pub(crate) fn new(file: OwnedFd, device: &Arc<dyn Device>) -> io::Result<Self> {
        if !fcntl_get_seals(&file)?.contains(SealFlags::SHRINK) {
            return Err(io::Error::other("the staging area is not sealed against shrinking"));
        }
        let file = File::from(file);
        let map = Mapping::new(&file, 0, &**device)?;
        Ok(Self { file, device: Arc::clone(device), map, lent: 0 })
    }

    /// Begins a batch: inputs of the one before are no longer looked at. Errors: they are, which would be a mistake here.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        if Arc::strong_count(&self.map) > 1 {
            return Err(io::Error::other("rows of the batch before are still in use"));
        }
        self.lent = 0;
        Ok(())
    }

    /// What the server has written at `place`, without a copy. Errors: it lies outside of the file; [`io::ErrorKind::OutOfMemory`]
    /// if it cannot be mapped.
    pub(crate) fn input(&mut self, place: Place) -> io::Result<Bytes> {
        let range = self.mapped(place)?;
        self.lent = self.lent.max(range.end);
        Ok(Bytes::from_owner(Lent { map: Arc::clone(&self.map), range }))
    }

    /// Room for an output, behind the inputs. Errors: it would be among them, or there is no memory for it.
    pub(crate) fn room(&mut self, place: Place) -> io::Result<&mut [u8]> {
        self.grow(place.end().ok_or(io::ErrorKind::FileTooLarge)?)?;
        let range = self.mapped(place)?;
        if range.start < self.lent {
            return Err(io::Error::other("an output among the inputs"));
        }
        // SAFETY: `mapped` has found the range inside of the mapping, which lives as long as `self`. It lies behind all that
        // is lent out, `self` is borrowed so that no other room exists, and the server reads it only when it has been told to.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.map.memory.as_mut_ptr().add(range.start), range.len()) })
    }

    /// Where the inputs end.
    pub(crate) fn lent(&self) -> u64 {
        self.lent as u64
    }

    /// Where `place` is in the mapping, which is made larger if it has to be. What is lent out keeps the old one, of the same
    /// memory.
    ///
    /// No more is mapped than is asked for, so that a large batch that did not fit leaves the small ones as they were.
    fn mapped(&mut self, place: Place) -> io::Result<Range<usize>> {
        let outside = || io::Error::new(io::ErrorKind::UnexpectedEof, "a place outside of the staging area");
        let end = place.end().ok_or_else(outside)?;
        if end > self.map.memory.len() as u64 {
            let bytes = self.file.metadata()?.len();
            let wanted = area_bytes(end).filter(|_| end <= bytes).ok_or_else(outside)?;
            self.map = Mapping::new(&self.file, wanted.min(bytes), &*self.device)?;
        }
        let place = (usize::try_from(place.offset), usize::try_from(end));
        let (Ok(begin), Ok(end)) = place else { return Err(outside()) };
        Ok(begin..end)
    }

    fn grow(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.map.memory.len() as u64 && bytes > self.file.metadata()?.len() {
            self.file.set_len(area_bytes(bytes).ok_or(io::ErrorKind::FileTooLarge)?)?;
        }
        Ok(())
    }
}

/// A mapping, whose pages the device may have locked. Fields are dropped in this order.
struct Mapping {
    _locked: Option<Box<dyn Send + Sync>>,
    memory: MmapRaw,
}

impl Mapping {
    /// The first `bytes` bytes of a file, which are there.
    fn new(file: &File, bytes: u64, device: &dyn Device) -> io::Result<Arc<Self>> {
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let memory = MmapOptions::new().len(length).map_raw(file)?;
        let all = NonNull::new(ptr::slice_from_raw_parts_mut(memory.as_mut_ptr(), length)).filter(|_| length > 0);
        Ok(Arc::new(Self { _locked: all.and_then(|all| device.lock_pages(all)), memory }))
    }
}

/// Inputs that are lent out; they keep their mapping alive.
struct Lent {
    map: Arc<Mapping>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `Area::mapped` has found the range inside of the mapping, which `self` keeps alive, and the file cannot
        // shrink. Rooms for outputs begin behind it, and the server writes only before a batch begins, when none is lent out.
        unsafe { std::slice::from_raw_parts(self.map.memory.as_ptr().add(self.range.start), self.range.len()) }
    }
}
