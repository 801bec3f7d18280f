//! An allocator that counts the bytes that another one allocates, for tests and measurements.

use std::{
    alloc::{GlobalAlloc, Layout},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Counts the bytes in use, and their peak since [`restart_peak`](Self::restart_peak).
#[derive(Debug)]
pub struct Counting<A> {
    inner: A,
    held: AtomicUsize,
    peak: AtomicUsize,
}

impl<A> Counting<A> {
    /// Counts the allocations of `inner`.
    pub const fn new(inner: A) -> Self {
        Self {
            inner,
            held: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    /// Bytes in use.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The peak number of bytes in use.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Forgets the peak so far, and returns the bytes in use now.
    pub fn restart_peak(&self) -> usize {
        let held = self.held();
        self.peak.store(held, Ordering::Relaxed);
        held
    }

    fn took(&self, bytes: usize) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(held, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed to the inner allocator unchanged, and counting does not touch memory. `realloc` is the
// trait's default, made of the other calls, so that growing counts as what it is: a new block beside the old one.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { self.inner.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { self.inner.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise that this was allocated here with this layout is passed on.
        unsafe { self.inner.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    #[test]
    fn what_is_in_use_and_the_most_of_it_are_counted() {
        let counting = Counting::new(System);
        let layout = Layout::from_size_align(100, 8).unwrap();
        // SAFETY: each pointer is given back with the layout that it has then.
        unsafe {
            let first = counting.alloc(layout);
            let second = counting.alloc_zeroed(layout);
            assert_eq!((counting.held(), counting.peak()), (200, 200));
            counting.dealloc(first, layout);
            assert_eq!((counting.restart_peak(), counting.peak()), (100, 100));
            let grown = counting.realloc(second, layout, 300);
            assert_eq!((counting.held(), counting.peak()), (300, 400));
            counting.dealloc(grown, Layout::from_size_align(300, 8).unwrap());
        }
        assert_eq!(counting.held(), 0);
    }
}
