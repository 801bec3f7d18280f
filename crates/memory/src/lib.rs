//! The program's memory: an allocator that keeps large blocks on huge pages for reuse, and how much is in use.
//!
//! Tensors live for part of a step, and others of nearly the same size follow. The system's allocator returns such blocks to
//! the kernel at once, and the next step waits while the kernel provides the same pages again. [`LargeBlocks`] maps blocks of
//! at least [`LARGE`] bytes itself, asks for huge pages if the kernel has them, and keeps blocks that are freed. Smaller
//! blocks go to the system's allocator.
//!
//! Keeping blocks does not raise the peak: blocks in use and blocks kept never exceed what was once in use at the same time.
//!
//! ```no_run
//! #[global_allocator]
//! static ALLOCATOR: leadspan_memory::LargeBlocks = leadspan_memory::LargeBlocks::new();
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blocks;
mod counting;
mod resident;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr::null_mut,
    sync::{Mutex, MutexGuard, PoisonError},
};

use blocks::{Blocks, Contents};

pub use counting::Counting;
pub use resident::{memory_bytes, peak_memory_bytes};

/// Blocks of at least this many bytes are mapped, and kept when they are freed.
pub const LARGE: usize = 1 << 20;

/// The largest alignment that a mapping has by itself.
const PAGE: usize = 4096;

/// The allocator. All of a process's large blocks are in the one that is its `#[global_allocator]`.
#[derive(Debug)]
pub struct LargeBlocks {
    blocks: Mutex<Blocks>,
}

impl LargeBlocks {
    /// No block yet.
    pub const fn new() -> Self {
        Self {
            blocks: Mutex::new(Blocks::new()),
        }
    }

    /// Nothing panics while the lock is held, so what is behind it is always whole.
    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for LargeBlocks {
    fn default() -> Self {
        Self::new()
    }
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= PAGE
}

// SAFETY: a large block is a private mapping of at least the size asked for, in the hands of one owner from `alloc` to
// `dealloc`, and aligned to pages, which `is_large` makes sure is enough. Everything else is the system allocator's. Which of
// both owns a pointer follows from its layout, which callers give back unchanged; `realloc` keeps to that.
unsafe impl GlobalAlloc for LargeBlocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: the caller's promises are the ones that the system's allocator asks for.
            return unsafe { System.alloc(layout) };
        }
        self.blocks().take(layout.size()).map_or(null_mut(), |(start, _)| start)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: as for `alloc`.
            return unsafe { System.alloc_zeroed(layout) };
        }
        let taken = self.blocks().take(layout.size());
        match taken {
            None => null_mut(),
            Some((start, Contents::Zeros)) => start,
            Some((start, Contents::Anything)) => {
                // SAFETY: the block is at least that large and nobody else's.
                unsafe { start.write_bytes(0, layout.size()) };
                start
            }
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if is_large(layout) {
            self.blocks().give_back(pointer);
        } else {
            // SAFETY: the pointer is the system allocator's, since the layout is not a large one.
            unsafe { System.dealloc(pointer, layout) };
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size, rounded up to the alignment, does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_large(layout), is_large(wanted)) {
            // SAFETY: as for `alloc`.
            (false, false) => return unsafe { System.realloc(pointer, layout, size) },
            (true, true) if self.blocks().size_of(pointer).is_some_and(|block| size <= block) => return pointer,
            _ => {}
        }
        // SAFETY: the layout is as the caller promises.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both blocks have that many bytes, and they are different blocks.
            unsafe { moved.copy_from_nonoverlapping(pointer, layout.size().min(size)) };
            // SAFETY: the pointer came from here with this layout, and is given up.
            unsafe { self.dealloc(pointer, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests;
