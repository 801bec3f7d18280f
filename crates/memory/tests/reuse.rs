//! Freed memory is used again without asking the kernel. A program of its own, since page faults are counted per process.

#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used)]

use leadspan_memory::keep_freed_blocks;

/// Small enough for the heap of a thread other than the first, where tests run.
const BLOCK: usize = 16 << 20;

/// Page faults of this process so far that needed no disk: field 10 of `/proc/self/stat`, counted after the name.
fn page_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(7).unwrap().parse().unwrap()
}

/// Page faults of allocating, filling and freeing one large block.
fn faults_of_a_block() -> u64 {
    let before = page_faults();
    let block = vec![1_u8; BLOCK];
    assert_eq!(std::hint::black_box(&block).len(), BLOCK);
    drop(block);
    page_faults() - before
}

#[test]
fn a_freed_block_is_used_again_without_the_kernel() {
    let by_default = (faults_of_a_block(), faults_of_a_block());
    keep_freed_blocks();
    let kept = (faults_of_a_block(), faults_of_a_block());
    assert!(
        by_default.1 > 1000,
        "without reuse every block costs page faults, not {by_default:?}"
    );
    assert!(kept.1 < 10, "{kept:?} page faults");
}
