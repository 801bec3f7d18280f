//! Products from packed panels, after Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008).
//!
//! A *panel* is a few lines of a matrix, as wide as a tile, packed in the order in which the tile reads them. The narrower
//! of the two matrices is *shared*: all threads together pack its panels, into the cache that they share. The other matrix
//! is divided into *blocks* of panels. One thread packs a block into its own cache and multiplies it with every shared
//! panel. No panel is packed twice, and one thread packs while others compute.
//!
//! Both matrices are divided along the depth into slices of equal length, whose products are added in order. So an
//! element's sum runs over a slice in a register of a tile, then over the slices: the order depends on the depth alone.

use std::{cell::RefCell, ops::Range};

use rayon::prelude::*;

use super::{
    Matrix, Sizes, Write,
    tile::{self, COLUMNS, Lines, Place, ROWS},
};

/// The longest slice along the depth. At this length a tile spends 30 times as long on sums as on writing its elements, and
/// its two panels, 43 and 98 KB, leave most of a core's L2 cache to the block.
const SLICE: usize = 768;
/// The size of a block: at most half of a typical L2 cache (1 to 2 MiB).
const BLOCK_BYTES: usize = 384 << 10;
/// The size of the shared panels that are packed at a time.
const SHARED_BYTES: usize = 8 << 20;
/// The number of operations up to which a product runs on the calling thread alone.
const ALONE: usize = 1 << 18;

thread_local! {
    static SHARED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static BLOCK: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// destination ← or += left · right, on all threads.
///
/// # Safety
///
/// The processor has AVX-512F. The destination has `m` consecutive rows of `n` elements that nothing else reads or writes
/// during the call; with [`Write::Replace`] it may be uninitialised. The matrices contain all elements (see
/// [`Matrix::holds`]).
pub(crate) unsafe fn product(destination: *mut f32, sizes: Sizes, left: Matrix<'_>, right: Matrix<'_>, write: Write) {
    let Sizes { m, n, k } = sizes;
    let alone = m.saturating_mul(n).saturating_mul(k) <= ALONE;
    let slice = k.div_ceil(k.div_ceil(SLICE));
    let threads = if alone { 1 } else { rayon::current_num_threads() };
    let blocking = Blocking::new(sizes, slice, threads);
    let task = Task {
        destination,
        sizes,
        left,
        right,
        blocking,
    };
    let mut shared = SHARED.take();
    reserve(&mut shared, blocking.shared_panels * blocking.shared_width() * slice);
    for first in (0..k).step_by(slice) {
        let depth = slice.min(k - first);
        let write = if first == 0 { write } else { Write::Add };
        for panels in chunks(blocking.panels_to_share, blocking.shared_panels) {
            let panel_length = blocking.shared_width() * depth;
            // A task packs several panels: see `tile::pack`.
            let at_once = panels.1.div_ceil(4 * threads);
            let pack = |(index, some): (usize, &mut [f32])| {
                let first_panel = panels.0 + index * at_once;
                let count = some.len() / panel_length;
                // SAFETY: the panels exist, `some` has room for their width times the depth, and only this call writes it.
                unsafe { task.pack_shared(some.as_mut_ptr(), first_panel..first_panel + count, (first, depth)) };
            };
            let packed = &mut shared[..panels.1 * panel_length];
            if alone {
                packed.chunks_mut(at_once * panel_length).enumerate().for_each(pack);
            } else {
                packed.par_chunks_mut(at_once * panel_length).enumerate().for_each(pack);
            }
            let packed = &shared[..panels.1 * panel_length];
            let multiply = |block| {
                BLOCK.with_borrow_mut(|buffer| {
                    reserve(buffer, blocking.block_panels * blocking.own_width() * slice);
                    // SAFETY: only this call writes the elements of the product that belong to the block and these shared
                    // panels; the panels were packed for this slice.
                    unsafe { task.multiply_block(block, buffer, (panels.0, packed), (first, depth), write) };
                });
            };
            if alone {
                (0..blocking.blocks).for_each(multiply);
            } else {
                (0..blocking.blocks).into_par_iter().for_each(multiply);
            }
        }
    }
    SHARED.set(shared);
}

/// Makes the buffer at least `length` values long, with any values.
fn reserve(buffer: &mut Vec<f32>, length: usize) {
    if buffer.len() < length {
        buffer.clear();
        buffer.resize(length, 0.0);
    }
}

/// `(first, count)` of each chunk of `size` numbers of 0 to `total`.
fn chunks(total: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..total)
        .step_by(size)
        .map(move |first| (first, size.min(total - first)))
}

/// Which matrix is shared, and how both are divided into panels and blocks.
#[derive(Clone, Copy, Debug)]
struct Blocking {
    /// Whether blocks are rows of the left matrix and the right matrix is shared; otherwise the other way round.
    blocks_of_rows: bool,
    /// The number of panels of the shared matrix, and how many are packed at a time.
    panels_to_share: usize,
    shared_panels: usize,
    /// The number of panels of the other matrix, of blocks they form, and of panels in the largest block.
    panels: usize,
    blocks: usize,
    block_panels: usize,
}

impl Blocking {
    /// The division of a product with slices of `slice` elements among `threads` threads.
    fn new(Sizes { m, n, .. }: Sizes, slice: usize, threads: usize) -> Self {
        let blocks_of_rows = m >= n;
        let mut blocking = Self {
            blocks_of_rows,
            panels_to_share: 0,
            shared_panels: 0,
            panels: 0,
            blocks: 0,
            block_panels: 0,
        };
        let (own, shared) = if blocks_of_rows { (m, n) } else { (n, m) };
        let panel_bytes = |width: usize| width * slice * size_of::<f32>();
        blocking.panels_to_share = shared.div_ceil(blocking.shared_width());
        blocking.shared_panels =
            (SHARED_BYTES / panel_bytes(blocking.shared_width())).clamp(1, blocking.panels_to_share.max(1));
        blocking.panels = own.div_ceil(blocking.own_width());
        let most = (BLOCK_BYTES / panel_bytes(blocking.own_width())).max(1);
        // The same number of blocks for each thread; blocks differ by at most one panel.
        blocking.blocks = blocking
            .panels
            .div_ceil(most)
            .next_multiple_of(threads)
            .min(blocking.panels);
        blocking.block_panels = blocking.panels.div_ceil(blocking.blocks.max(1));
        blocking
    }

    /// The width of a panel in a block.
    fn own_width(&self) -> usize {
        if self.blocks_of_rows { ROWS } else { COLUMNS }
    }

    /// The width of a shared panel.
    fn shared_width(&self) -> usize {
        if self.blocks_of_rows { COLUMNS } else { ROWS }
    }
}

/// A product that is being computed.
struct Task<'a> {
    destination: *mut f32,
    sizes: Sizes,
    left: Matrix<'a>,
    right: Matrix<'a>,
    blocking: Blocking,
}

// SAFETY: only `multiply_block` writes to the destination, and its callers promise that no two calls write the same part.
unsafe impl Sync for Task<'_> {}

impl Task<'_> {
    /// Packs panels of rows of the left matrix, along the slice.
    ///
    /// # Safety
    ///
    /// The panels exist, and `into` has room for ROWS · depth values for each.
    unsafe fn pack_rows(&self, into: *mut f32, panels: Range<usize>, slice: (usize, usize)) {
        // SAFETY: as the caller promises.
        unsafe { pack::<ROWS>(into, self.left, self.sizes.m, panels, slice) }
    }

    /// Packs panels of columns of the right matrix, along the slice.
    ///
    /// # Safety
    ///
    /// The panels exist, and `into` has room for COLUMNS · depth values for each.
    unsafe fn pack_columns(&self, into: *mut f32, panels: Range<usize>, slice: (usize, usize)) {
        // SAFETY: as the caller promises.
        unsafe { pack::<COLUMNS>(into, self.right.transposed(), self.sizes.n, panels, slice) }
    }

    /// Packs panels of the shared matrix.
    ///
    /// # Safety
    ///
    /// The panels exist, and `into` has room for them.
    unsafe fn pack_shared(&self, into: *mut f32, panels: Range<usize>, slice: (usize, usize)) {
        // SAFETY: as the caller promises.
        unsafe {
            if self.blocking.blocks_of_rows {
                self.pack_columns(into, panels, slice);
            } else {
                self.pack_rows(into, panels, slice);
            }
        }
    }

    /// Packs a block, and multiplies it with the shared panels from panel `shared.0` on.
    ///
    /// # Safety
    ///
    /// Nothing else touches the elements of the product that belong to the block and the shared panels. The shared panels
    /// are packed for this slice.
    unsafe fn multiply_block(
        &self,
        block: usize,
        buffer: &mut [f32],
        (first_shared, shared): (usize, &[f32]),
        (first, depth): (usize, usize),
        write: Write,
    ) {
        let blocking = &self.blocking;
        let own_panels = block * blocking.panels / blocking.blocks..(block + 1) * blocking.panels / blocking.blocks;
        let own_length = blocking.own_width() * depth;
        let buffer = &mut buffer[..own_panels.len() * own_length];
        // SAFETY: the block's panels exist, and the buffer has room for them.
        unsafe {
            if blocking.blocks_of_rows {
                self.pack_rows(buffer.as_mut_ptr(), own_panels.clone(), (first, depth));
            } else {
                self.pack_columns(buffer.as_mut_ptr(), own_panels.clone(), (first, depth));
            }
        }
        for (index, shared) in shared.chunks_exact(blocking.shared_width() * depth).enumerate() {
            for (own_index, own) in own_panels.clone().zip(buffer.chunks_exact(own_length)) {
                let shared_index = first_shared + index;
                let (row, column, left, right) = if blocking.blocks_of_rows {
                    (own_index * ROWS, shared_index * COLUMNS, own, shared)
                } else {
                    (shared_index * ROWS, own_index * COLUMNS, shared, own)
                };
                let place = Place {
                    start: self.destination.wrapping_add(row * self.sizes.n + column),
                    stride: self.sizes.n,
                    rows: ROWS.min(self.sizes.m - row),
                    columns: COLUMNS.min(self.sizes.n - column),
                };
                // SAFETY: both panels are packed to this depth; the place lies in the product, and only this call writes
                // it.
                unsafe { tile::multiply(depth, left.as_ptr(), right.as_ptr(), place, write) };
            }
        }
    }
}

/// Packs panels of WIDTH rows of a matrix that has `rows`, along the slice.
///
/// # Safety
///
/// The panels exist, and `into` has room for WIDTH · depth values for each. The processor has AVX-512F.
unsafe fn pack<const WIDTH: usize>(
    into: *mut f32,
    matrix: Matrix<'_>,
    rows: usize,
    panels: Range<usize>,
    (first, depth): (usize, usize),
) {
    let row = panels.start * WIDTH;
    let lines = Lines {
        start: (matrix.values.as_ptr()).wrapping_add(row * matrix.row_stride + first * matrix.column_stride),
        line_stride: matrix.row_stride,
        stride: matrix.column_stride,
        count: (panels.len() * WIDTH).min(rows - row),
    };
    // SAFETY: the lines are rows of the matrix from element `first` on; the rest is as the caller promises.
    unsafe { tile::pack::<WIDTH>(into, lines, depth) }
}
