//! The resident memory of the process, now and at its peak.

/// The largest resident size of this process so far, in bytes; 0 where the system does not say.
pub fn peak_memory_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .as_deref()
        .and_then(|status| bytes_of(status, "VmHWM:"))
        .unwrap_or(0)
}

/// The resident size of this process now, in bytes; 0 where the system does not say.
pub fn memory_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .as_deref()
        .and_then(|status| bytes_of(status, "VmRSS:"))
        .unwrap_or(0)
}

pub(crate) fn bytes_of(status: &str, field: &str) -> Option<u64> {
    let kibibytes = status.lines().find_map(|line| line.strip_prefix(field))?;
    kibibytes
        .trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_status_are_read_in_bytes() {
        let status = "VmPeak:\t  999 kB\nVmHWM:\t   12 kB\n";
        assert_eq!(bytes_of(status, "VmHWM:"), Some(12 * 1024));
        assert_eq!(bytes_of(status, "VmRSS:"), None);
        assert!(memory_bytes() <= peak_memory_bytes());
    }
}
