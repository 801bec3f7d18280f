//! What becomes of memory that is freed.

/// Bytes by which the heap grows beyond what is asked for, so that it grows in few steps.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GROWTH: i32 = 64 << 20;

/// Tells the allocator of the GNU C library to keep freed memory for the next allocation instead of returning it to the
/// kernel. Other C libraries are left as they are.
///
/// Large blocks then come from the heap instead of mappings of their own; only blocks of 64 MiB and more that a second thread
/// asks for are still mapped. A program calls this once, first of all.
pub fn keep_freed_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: `mallopt` takes two numbers and changes settings of the allocator under its own lock. A setting that the
        // library does not know is ignored; blocks that were allocated before remain valid.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0);
            // −1 means that the top of the heap is never trimmed.
            libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
            libc::mallopt(libc::M_TOP_PAD, GROWTH);
        }
    }
}
