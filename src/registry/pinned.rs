//! An executor that begins anew only from the files that it was loaded from.

use super::fingerprint::{Fingerprint, Origin};
use crate::device::{Executor, Interrupt};
use crate::types::{Error, Reason, Rows, Tensor};

/// An executor, and how its files looked when it was loaded. Files that have changed since are another version's, which
/// nobody has verified.
pub(super) struct Pinned<E> {
    executor: E,
    origin: Option<Origin>,
    identity: Fingerprint,
}

impl<E> Pinned<E> {
    pub(super) fn new(executor: E, origin: Option<Origin>, identity: Fingerprint) -> Self {
        Self { executor, origin, identity }
    }
}

impl<E: Executor> Executor for Pinned<E> {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        self.executor.run(parts)
    }

    fn is_parallel(&self) -> bool {
        self.executor.is_parallel()
    }

    fn interrupt(&self) -> Option<Interrupt> {
        self.executor.interrupt()
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        if self.origin.as_ref().is_some_and(|origin| origin.survey().fingerprint != self.identity) {
            return Err(Error::new(Reason::Model, "its files have changed since; it goes on as it is"));
        }
        self.executor.rebuild()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Pinned;
    use crate::device::Executor;
    use crate::registry::fingerprint::Origin;
    use crate::types::{Error, Rows, Tensor};

    /// Counts how often it begins anew.
    struct Counting(u32);

    impl Executor for Counting {
        fn run(&mut self, _parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
            Ok(Vec::new())
        }

        fn rebuild(&mut self) -> Result<(), Error> {
            self.0 += 1;
            Ok(())
        }
    }

    #[test]
    fn nothing_is_rebuilt_from_files_that_have_changed() {
        let folder = std::env::temp_dir().join(format!("sconce-pinned-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let origin = Origin { folder: folder.clone(), settings: folder.join("model.toml") };
        let identity = origin.survey().fingerprint;
        let mut pinned = Pinned::new(Counting(0), Some(origin), identity);
        pinned.rebuild().expect("the same files");
        fs::write(folder.join("weights"), b"others").expect("written");
        let refused = pinned.rebuild().expect_err("other files");
        assert_eq!(refused.detail(), "its files have changed since; it goes on as it is");
        assert_eq!(pinned.executor.0, 1);
        fs::remove_dir_all(folder).expect("removed");
    }
}
