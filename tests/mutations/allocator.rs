//! The allocator of this test program: it counts, and gives nothing beyond a limit.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use leadspan_memory::Counting;

#[global_allocator]
static ALLOCATOR: Limited = Limited {
    counting: Counting::new(System),
    limit: AtomicUsize::new(usize::MAX),
};

/// What may be held beyond the bound that is checked after a read, so that most of what goes beyond is told as a failure and
/// does not end the program. Pages that nobody writes to take no memory.
const GRACE: usize = 4 << 30;

struct Limited {
    counting: Counting<System>,
    /// What may be held at most.
    limit: AtomicUsize,
}

// SAFETY: every call is passed on as it came, or answered with null, which every caller must expect. `realloc` and
// `alloc_zeroed` are the trait's own, made of the others.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = self.counting.held();
        if held.saturating_add(layout.size()) > self.limit.load(Ordering::Relaxed) {
            let size = layout.size();
            crate::harness::say(format_args!("{size} bytes more are asked for while {held} are held"));
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { self.counting.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise that this was allocated here with this layout is passed on.
        unsafe { self.counting.dealloc(pointer, layout) }
    }
}

/// What `work` gives, and the most bytes of all threads that were held while it ran beyond those held before.
///
/// A request that goes beyond `bound` by several gigabytes is refused, which ends the program where nobody expects that.
pub(crate) fn peak_of<T>(bound: usize, work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATOR.counting.restart_peak();
    ALLOCATOR.limit.store(before + bound + GRACE, Ordering::Relaxed);
    let done = work();
    ALLOCATOR.limit.store(usize::MAX, Ordering::Relaxed);
    (done, ALLOCATOR.counting.peak().saturating_sub(before))
}
