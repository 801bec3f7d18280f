//! The memory that the process can still take: what the system has available, and what its control groups leave of their limits.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::resident::bytes_of;

/// The memory in bytes that this process can still take without swapping; `None` where the system does not say.
///
/// It is the least of what the system has available and of what each control group above the process leaves. Pages of files count
/// as available, because the system drops them when memory is short.
pub fn available_memory_bytes() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let system = read("/proc/meminfo").and_then(|text| bytes_of(&text, "MemAvailable:"));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let left = folders(&groups).filter_map(|(folder, files)| files.left_in(&folder));
    system.into_iter().chain(left).min()
}

/// The names of what a control group says about memory, in one of the two versions of control groups.
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// The beginning of the names of its statistics that include the groups below it.
    prefix: &'static str,
}

const FIRST: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    prefix: "total_",
};

const SECOND: Files = Files {
    limit: "memory.max",
    usage: "memory.current",
    prefix: "",
};

/// The folders of the groups in `/proc/self/cgroup` that may limit memory, and of the groups above them. In a container some of them do
/// not exist.
fn folders(groups: &str) -> impl Iterator<Item = (PathBuf, &'static Files)> {
    let lines = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, files) = if controllers.is_empty() {
            ("/sys/fs/cgroup", &SECOND)
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("/sys/fs/cgroup/memory", &FIRST)
        } else {
            return None;
        };
        Some((Path::new(root), path, files))
    });
    lines.flat_map(|(root, path, files)| {
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors().map(move |part| (root.join(part), files))
    })
}

impl Files {
    /// What the group in `folder` leaves of its limit; `None` without a limit.
    fn left_in(&self, folder: &Path) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        self.left(
            &read(self.limit)?,
            &read(self.usage)?,
            &read("memory.stat").unwrap_or_default(),
        )
    }

    /// [`left_in`](Self::left_in), from the contents of the files.
    fn left(&self, limit: &str, usage: &str, statistics: &str) -> Option<u64> {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let of_files = |name: &str| {
            let mut lines = statistics.lines().filter_map(|line| line.strip_prefix(self.prefix));
            lines
                .find_map(|line| number(line.strip_prefix(name)?.strip_prefix(' ')?))
                .unwrap_or(0)
        };
        // Without a limit the text is `max`.
        let (limit, usage) = (number(limit)?, number(usage)?);
        let held = usage.saturating_sub(of_files("active_file") + of_files("inactive_file"));
        Some(limit.saturating_sub(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_leaves_its_limit_less_what_is_held_and_no_file() {
        let statistics = "anon 500\nfile 400\nactive_file 100\ninactive_file 200\n";
        assert_eq!(SECOND.left("1000\n", "900\n", statistics), Some(400));
        assert_eq!(SECOND.left("1000\n", "900\n", ""), Some(100));
        assert_eq!(SECOND.left("800\n", "900\n", ""), Some(0));
        assert_eq!(SECOND.left("max\n", "900\n", statistics), None);
        let statistics = "active_file 1\ntotal_active_file 100\ntotal_inactive_file 200\n";
        assert_eq!(FIRST.left("1000\n", "900\n", statistics), Some(400));
    }

    #[test]
    fn the_groups_above_a_process_limit_it_too() {
        let of = |groups: &str| -> Vec<String> {
            let shown = |folder: PathBuf| folder.display().to_string().trim_end_matches('/').to_owned();
            folders(groups).map(|(folder, _)| shown(folder)).collect()
        };
        assert_eq!(
            of("0::/slurm/job_1\n"),
            ["/sys/fs/cgroup/slurm/job_1", "/sys/fs/cgroup/slurm", "/sys/fs/cgroup"]
        );
        assert_eq!(
            of("3:cpu,memory:/docker/1\n2:cpuset:/docker/1\n"),
            [
                "/sys/fs/cgroup/memory/docker/1",
                "/sys/fs/cgroup/memory/docker",
                "/sys/fs/cgroup/memory"
            ]
        );
        assert_eq!(of("damaged"), Vec::<String>::new());
        assert!(available_memory_bytes().is_none_or(|bytes| bytes > 0));
    }
}
