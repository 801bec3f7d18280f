//! Mapped blocks: those in use, and those kept for whoever asks next.

use std::collections::BTreeMap;

use memmap2::MmapMut;

/// Bytes of a huge page on x86-64, and on ARM with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;
/// What is asked for is rounded up to a multiple of this where huge pages would waste more than an eighth.
const UNIT: usize = 64 << 10;

/// What is in a block that is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// A fresh mapping: zeros.
    Zeros,
    /// Whatever its last owner left.
    Anything,
}

/// All blocks, and their bytes.
#[derive(Debug)]
pub(crate) struct Blocks {
    used: BTreeMap<usize, MmapMut>,
    /// The longest kept first.
    kept: Vec<MmapMut>,
    used_bytes: usize,
    kept_bytes: usize,
    /// The most that was in use at the same time.
    most_used_bytes: usize,
}

impl Blocks {
    pub(crate) const fn new() -> Self {
        Self {
            used: BTreeMap::new(),
            kept: Vec::new(),
            used_bytes: 0,
            kept_bytes: 0,
            most_used_bytes: 0,
        }
    }

    /// A block of at least `size` bytes, or `None` where there is no memory.
    pub(crate) fn take(&mut self, size: usize) -> Option<(*mut u8, Contents)> {
        let size = rounded(size)?;
        let (mut block, contents) = if let Some(block) = self.take_kept(size) {
            (block, Contents::Anything)
        } else {
            self.make_room(size);
            (self.map(size)?, Contents::Zeros)
        };
        let start = block.as_mut_ptr();
        self.used_bytes += block.len();
        self.most_used_bytes = self.most_used_bytes.max(self.used_bytes);
        self.used.insert(start as usize, block);
        Some((start, contents))
    }

    /// Takes a block back from its owner.
    pub(crate) fn give_back(&mut self, start: *mut u8) {
        if let Some(block) = self.used.remove(&(start as usize)) {
            self.used_bytes -= block.len();
            self.kept_bytes += block.len();
            self.kept.push(block);
        }
    }

    /// Bytes of a block in use.
    pub(crate) fn size_of(&self, start: *mut u8) -> Option<usize> {
        self.used.get(&(start as usize)).map(|block| block.len())
    }

    /// The smallest kept block of `size` to 1¼ times `size` bytes; of equals the last one that was given back, which may
    /// still be in the processor's caches.
    fn take_kept(&mut self, size: usize) -> Option<MmapMut> {
        let (index, _) = (self.kept.iter().enumerate().rev())
            .filter(|(_, block)| block.len() >= size && block.len() - size <= size / 4)
            .min_by_key(|(_, block)| block.len())?;
        let block = self.kept.remove(index);
        self.kept_bytes -= block.len();
        Some(block)
    }

    /// Lets go of kept blocks until another `size` bytes do not make more than was ever in use: of the smallest that is
    /// enough, so that the largest, which cost most to get, stay.
    fn make_room(&mut self, size: usize) {
        loop {
            let all = self.used_bytes + self.kept_bytes + size;
            let Some(excess) = all.checked_sub(self.most_used_bytes).filter(|&excess| excess > 0) else {
                return;
            };
            // Blocks that are enough by themselves come first, the smallest before all; then the others, the largest first.
            let rank = |block: &MmapMut| {
                let length = block.len();
                (
                    length < excess,
                    if length < excess { usize::MAX - length } else { length },
                )
            };
            let Some((index, _)) = self.kept.iter().enumerate().min_by_key(|(_, block)| rank(block)) else {
                return;
            };
            self.let_go(index);
        }
    }

    /// A fresh mapping. Where there is no memory for it, all that is kept is let go of first.
    fn map(&mut self, size: usize) -> Option<MmapMut> {
        let block = MmapMut::map_anon(size).or_else(|error| {
            if self.kept.is_empty() {
                return Err(error);
            }
            (self.kept, self.kept_bytes) = (Vec::new(), 0);
            MmapMut::map_anon(size)
        });
        let block = block.ok()?;
        // Where the kernel has no huge pages, small ones do.
        #[cfg(target_os = "linux")]
        let _ = block.advise(memmap2::Advice::HugePage);
        Some(block)
    }

    fn let_go(&mut self, index: usize) {
        self.kept_bytes -= self.kept.remove(index).len();
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> [usize; 3] {
        [self.used_bytes, self.kept_bytes, self.most_used_bytes]
    }
}

/// Whole huge pages where that wastes at most an eighth, or else a multiple of a smaller unit.
fn rounded(size: usize) -> Option<usize> {
    let whole = size.checked_next_multiple_of(HUGE_PAGE)?;
    if whole - size <= size / 8 {
        Some(whole)
    } else {
        size.checked_next_multiple_of(UNIT)
    }
}
