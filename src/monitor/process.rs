//! What the operating system says about this process.

use std::time::{SystemTime, UNIX_EPOCH};

/// Resident memory in bytes, where the system tells it as Linux does.
pub fn resident_bytes() -> Option<u64> {
    resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Now, in seconds since 1970.
pub(super) fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::resident;

    #[test]
    fn reads_the_status_of_a_process() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    5308 kB\nThreads:\t1\n"), Some(5308 * 1024));
        assert_eq!(resident("Name:\tx\n"), None);
        assert_eq!(resident("VmRSS: many kB\n"), None);
    }
}
