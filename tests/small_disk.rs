//! A file system of a few kibibytes, for tests of full disks and of such as are only read.

use std::{path::Path, process::Command};

/// A small file system in memory, mounted where a test wants one.
pub(crate) struct SmallDisk<'a> {
    at: &'a Path,
}

impl<'a> SmallDisk<'a> {
    /// Mounts one, or says why the test is skipped and returns `None`: only root may.
    pub(crate) fn mount(at: &'a Path, kibibytes: usize) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={kibibytes}k");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .output();
        match output {
            Ok(output) if output.status.success() => Some(Self { at }),
            other => {
                #[expect(clippy::print_stderr, reason = "a test that does nothing must say so")]
                {
                    eprintln!("skipped: a small disk could not be mounted: {other:?}");
                }
                None
            }
        }
    }

    /// Changes its options.
    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(self.at)
            .status()
            .unwrap();
        assert!(status.success(), "could not remount with {options}");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.at).status();
    }
}
