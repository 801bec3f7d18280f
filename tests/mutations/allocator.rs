//! The allocator of this test program: it counts bytes, and refuses requests beyond a limit.

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

/// Bytes beyond the bound that is checked after a read. Most reads that exceed the bound are then reported as failures and do
/// not end the program. Pages that are never written take no memory.
const GRACE: usize = 4 << 30;

struct Limited {
    counting: Counting<System>,
    /// The most bytes that may be held.
    limit: AtomicUsize,
}

// SAFETY: every call is passed on as it came, or answered with null, which every caller must expect. `realloc` and
// `alloc_zeroed` are the trait's own, made of the others.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = self.counting.held();
        if held.saturating_add(layout.size()) > self.limit.load(Ordering::Relaxed) {
            let size = layout.size();
            crate::harness::say(format_args!("{size} more bytes are requested while {held} are held"));
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

/// Runs `work` and returns its result, and the peak of the bytes that all threads held in addition to those held before.
///
/// A request that exceeds `bound` by several gigabytes is refused, which ends the program if the caller does not expect it.
pub(crate) fn peak_of<T>(bound: usize, work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATOR.counting.restart_peak();
    ALLOCATOR.limit.store(before + bound + GRACE, Ordering::Relaxed);
    let done = work();
    ALLOCATOR.limit.store(usize::MAX, Ordering::Relaxed);
    (done, ALLOCATOR.counting.peak().saturating_sub(before))
}
