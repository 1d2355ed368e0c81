//! The header of a safetensors file: what it claims, checked before anything is allocated by it.

use safetensors::tensor::{Metadata, SafeTensorError};

use crate::model::{Files, LoadError, pickle};

/// Largest header: some tens of thousands of tensors. The format itself allows 100 MB, which takes gigabytes to parse.
const HEADER_BYTES_MAX: u64 = 4 << 20;
/// Bytes of the header's length.
const LENGTH_BYTES: usize = 8;

/// What a file's header claims, and the file's size; nothing else of it is read. Errors: it is no safetensors file.
pub(super) fn read_claims(files: &Files, file: &str) -> Result<(Metadata, u64), LoadError> {
    let failed = |reason: String| LoadError::new(file, reason);
    // One byte of the header itself is looked at as well.
    let (start, size) = files.head(file, LENGTH_BYTES + 1)?;
    let length = check_header(&start, size).map_err(failed)?;
    let (start, _) = files.head(file, LENGTH_BYTES.saturating_add(length))?;
    let header = start.get(LENGTH_BYTES..).unwrap_or_default();
    let claims =
        serde_json::from_slice(header).map_err(|error| failed(format!("not a valid safetensors file: {error}")))?;
    Ok((claims, size))
}

/// Checks how a file of `size` bytes begins, which the crate would only find out after it has parsed the header. Gives
/// the header's length.
pub(super) fn check_header(start: &[u8], size: u64) -> Result<usize, String> {
    if let Some(format) = pickle::sniff(start) {
        return Err(pickle::refusal(format));
    }
    let Some((length, rest)) = start.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(format!("expected a safetensors header, the file has {size} bytes"));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES_MAX {
        return Err(format!("expected a header of at most {HEADER_BYTES_MAX} bytes, it claims {length}"));
    }
    let left = size.saturating_sub(LENGTH_BYTES as u64);
    if length > left {
        return Err(format!("cut short: the header claims {length} bytes, {left} are left"));
    }
    if rest.first() != Some(&b'{') {
        return Err("expected a safetensors header (JSON)".to_owned());
    }
    Ok(usize::try_from(length).unwrap_or(usize::MAX))
}

pub(super) fn explain(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            "cut short or too long: the tensors do not fill the file".to_owned()
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("tensor \"{name}\": its bytes overlap another tensor's or leave a hole")
        }
        SafeTensorError::TensorInvalidInfo => "a tensor's shape and type do not give its number of bytes".to_owned(),
        SafeTensorError::ValidationOverflow => "a tensor's shape has more elements than can be counted".to_owned(),
        other => format!("not a valid safetensors file: {other}"),
    }
}
