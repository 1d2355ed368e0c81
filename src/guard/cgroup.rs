//! How much memory the process may use: its cgroup's limit, or that of the machine.

use std::fs;
use std::path::Path;

/// Bytes that this process may use: the least of the limits of its cgroup, of those above it, and of the machine.
///
/// `None` where the system does not tell. Source: the kernel's cgroup-v2 (`memory.max`) and cgroup-v1 documentation.
pub fn memory_limit() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_memory(&text));
    [group_limit(&groups, Path::new("/sys/fs/cgroup")), machine].into_iter().flatten().min()
}

/// The least limit among the groups that `groups` (the text of `/proc/self/cgroup`) names, below `root`.
fn group_limit(groups: &str, root: &Path) -> Option<usize> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        if controllers.is_empty() {
            return least(root, path, "memory.max");
        }
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        is_memory.then(|| least(&root.join("memory"), path, "memory.limit_in_bytes")).flatten()
    });
    limits.min()
}

/// The least limit from the group at `path` up to the root. Inside a container the path may be the host's, and only the
/// root's file is there: that one is the container's own.
fn least(root: &Path, path: &str, file: &str) -> Option<usize> {
    let group = root.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(root));
    // "max" and unreadable files set no limit; v1 writes a number near 2^63 for none, which is above any machine's.
    groups.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn machine_memory(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{group_limit, machine_memory, memory_limit};

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("sconce-cgroup-{}-{name}", std::process::id()));
            for (file, text) in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(path, text).expect("a file");
            }
            Self(root)
        }

        fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let root = Scratch::new("v2", &[("a/memory.max", "1000\n"), ("a/b/memory.max", "max\n")]);
        assert_eq!(group_limit("0::/a/b\n", root.path()), Some(1000));
        assert_eq!(group_limit("0::/c\n", root.path()), None);
        // A container that sees its own group as the root, by the host's name for it.
        let root = Scratch::new("container", &[("memory.max", "5000\n")]);
        assert_eq!(group_limit("0::/kubepods/pod1/x\n", root.path()), Some(5000));
        let root = Scratch::new("v1", &[("memory/x/memory.limit_in_bytes", "2000\n")]);
        assert_eq!(group_limit("7:cpu,cpuacct:/y\n4:memory:/x\n0::/z\n", root.path()), Some(2000));
    }

    #[test]
    fn the_machine_tells_what_it_has() {
        assert_eq!(machine_memory("MemTotal:       24576 kB\nMemFree: 1 kB\n"), Some(24576 * 1024));
        assert_eq!(machine_memory("nothing"), None);
        assert!(memory_limit().is_some_and(|bytes| bytes > 1 << 26), "this machine's");
    }
}
