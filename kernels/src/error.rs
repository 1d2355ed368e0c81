//! What can be wrong with a call of a kernel, before or at its launch.

/// Why a kernel was not launched, or what its device said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Memory of another length than the call's shape has.
    #[error("{what}: expected {expected} numbers, got {got}")]
    Length {
        /// Which memory.
        what: &'static str,
        /// What the shape has.
        expected: usize,
        /// What is there.
        got: usize,
    },
    /// A size that the kernel does not have.
    #[error("{what} is {got}; expected {expected}")]
    Size {
        /// Which size.
        what: &'static str,
        /// What the kernel has.
        expected: &'static str,
        /// What was asked for.
        got: usize,
    },
    /// A number beyond what the kernel can compute with.
    #[error("{what} is {got}; expected {expected}")]
    Range {
        /// Which number.
        what: &'static str,
        /// What the kernel can compute with.
        expected: &'static str,
        /// What was asked for.
        got: String,
    },
    /// The device refused, or the host's build found a fault in the kernel.
    #[error("kernel {kernel}: {detail}")]
    Launch {
        /// The kernel's name.
        kernel: &'static str,
        /// What went wrong.
        detail: String,
    },
    /// The device could not be made ready.
    #[error("device: {detail}")]
    Device {
        /// What went wrong.
        detail: String,
    },
}

/// Refuses memory of another length.
pub(crate) fn expect_length(what: &'static str, got: usize, expected: usize) -> Result<(), Error> {
    if got == expected { Ok(()) } else { Err(Error::Length { what, expected, got }) }
}

/// How many rows of `width` numbers these are.
pub(crate) fn rows_of(what: &'static str, numbers: usize, width: usize) -> Result<u32, Error> {
    if width == 0 {
        return Err(Error::Size { what, expected: "rows of 1 number at least", got: width });
    }
    if !numbers.is_multiple_of(width) {
        let expected = numbers / width * width;
        return Err(Error::Length { what, expected, got: numbers });
    }
    count(what, numbers)?;
    count(what, numbers / width)
}

/// A number of things, as kernels count.
pub(crate) fn count(what: &'static str, got: usize) -> Result<u32, Error> {
    // The largest stands for "none" and "no limit".
    match u32::try_from(got) {
        Ok(count) if count < u32::MAX => Ok(count),
        _ => Err(Error::Size { what, expected: "below 2^32 - 1", got }),
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn what_kernels_cannot_count_is_refused() {
        let most = u32::MAX as usize;
        assert_eq!(count("rows", most - 1), Ok(u32::MAX - 1));
        for got in [most, most + 1, usize::MAX] {
            let said = count("rows", got).expect_err("too many").to_string();
            assert_eq!(said, format!("rows is {got}; expected below 2^32 - 1"));
        }
    }
}
