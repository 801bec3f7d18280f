use std::{
    alloc::{GlobalAlloc as _, Layout},
    thread,
};

use super::*;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 64).unwrap()
}

#[test]
fn a_freed_block_is_handed_out_again_to_whoever_asks_for_nearly_as_much() {
    let allocator = LargeBlocks::new();
    // SAFETY: every pointer is given back once, with its layout.
    unsafe {
        let first = allocator.alloc(layout(10 << 20));
        first.write_bytes(7, 10 << 20);
        allocator.dealloc(first, layout(10 << 20));
        let smaller = allocator.alloc_zeroed(layout(9 << 20));
        assert_eq!(smaller, first);
        assert!(
            std::slice::from_raw_parts(smaller, 9 << 20)
                .iter()
                .all(|&byte| byte == 0)
        );
        let much_smaller = allocator.alloc(layout(2 << 20));
        assert_ne!(much_smaller, first);
        allocator.dealloc(smaller, layout(9 << 20));
        allocator.dealloc(much_smaller, layout(2 << 20));
    }
}

#[test]
fn what_is_used_and_kept_is_never_more_than_was_once_used() {
    let allocator = LargeBlocks::new();
    let mut live: Vec<(*mut u8, usize)> = Vec::new();
    let mut state = 12345u64;
    for _ in 0..4000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let random = (state >> 33) as usize;
        if live.len() < 12 && !random.is_multiple_of(3) {
            let size = LARGE + random % (12 << 20);
            // SAFETY: the size is not zero.
            let start = unsafe { allocator.alloc(layout(size)) };
            assert!(!start.is_null() && start.is_aligned_to_page());
            live.push((start, size));
        } else if let Some((start, size)) = (!live.is_empty()).then(|| live.swap_remove(random % live.len())) {
            // SAFETY: the pointer is live and has this layout.
            unsafe { allocator.dealloc(start, layout(size)) };
        }
        let [used, kept, most] = allocator.blocks().bytes();
        assert!(used + kept <= most, "{used} used and {kept} kept of {most}");
        assert!(
            used <= live
                .iter()
                .map(|(_, size)| size + size / 4 + size / 8 + (64 << 10))
                .sum()
        );
    }
}

trait PageAligned {
    fn is_aligned_to_page(&self) -> bool;
}

impl PageAligned for *mut u8 {
    fn is_aligned_to_page(&self) -> bool {
        (*self as usize).is_multiple_of(PAGE)
    }
}

#[test]
fn contents_survive_growing_and_shrinking_across_the_edge() {
    let allocator = LargeBlocks::new();
    let sizes = [
        100,
        LARGE - 1,
        LARGE,
        LARGE + 1,
        5 << 20,
        (5 << 20) + 10,
        3 << 20,
        LARGE,
        LARGE - 1,
        10,
    ];
    // SAFETY: each pointer is used with the size that it has at that time, and given back at the end.
    unsafe {
        let mut size = 64;
        let mut start = allocator.alloc(layout(size));
        (0..size).for_each(|i| start.add(i).write(i as u8));
        for wanted in sizes {
            start = allocator.realloc(start, layout(size), wanted);
            assert!(!start.is_null());
            let common = size.min(wanted);
            assert!(
                (0..common).all(|i| start.add(i).read() == i as u8),
                "{size} to {wanted}"
            );
            (0..wanted).for_each(|i| start.add(i).write(i as u8));
            size = wanted;
        }
        allocator.dealloc(start, layout(size));
    }
    assert_eq!(allocator.blocks().bytes()[0], 0);
}

#[test]
fn threads_never_share_a_block() {
    let allocator = LargeBlocks::new();
    thread::scope(|scope| {
        for thread in 0..4u8 {
            let allocator = &allocator;
            scope.spawn(move || {
                for round in 0..200usize {
                    let layout = layout(LARGE + round % 7 * 100_000);
                    // SAFETY: the block is this thread's until it is given back with its layout.
                    unsafe {
                        let start = allocator.alloc(layout);
                        start.write_bytes(thread, layout.size());
                        thread::yield_now();
                        let bytes = std::slice::from_raw_parts(start, layout.size());
                        assert!(bytes.iter().all(|&byte| byte == thread));
                        allocator.dealloc(start, layout);
                    }
                }
            });
        }
    });
    let [used, kept, most] = allocator.blocks().bytes();
    assert!(used == 0 && kept <= most);
}

#[test]
fn more_than_there_is_gives_a_null_pointer() {
    let allocator = LargeBlocks::new();
    let layout = layout(isize::MAX as usize / 2);
    // SAFETY: the size is not zero, and nothing is done with the pointer.
    assert!(unsafe { allocator.alloc(layout) }.is_null());
}
