//! How much memory the process has used at its peak.

/// The largest resident size of this process so far, in bytes; 0 where the system does not say.
pub fn peak_memory_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .as_deref()
        .and_then(high_water_mark)
        .unwrap_or(0)
}

fn high_water_mark(status: &str) -> Option<u64> {
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
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
    fn the_high_water_mark_is_read_in_bytes() {
        assert_eq!(
            high_water_mark("VmPeak:\t  999 kB\nVmHWM:\t   12 kB\n"),
            Some(12 * 1024)
        );
        assert_eq!(high_water_mark("VmRSS:\t 1 kB\n"), None);
    }
}
