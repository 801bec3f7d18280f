//! Products from packed panels, after Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008).
//!
//! A *panel* is a few lines of a matrix, as wide as a tile, packed so that the tile reads it straight through. Of the two
//! matrices the narrower one is *shared*: its panels are packed by all threads, into the cache that they have in common. The
//! other is cut into *blocks* of panels, each of which one thread packs into its own cache, and multiplies with every shared
//! panel. Nothing is packed twice, and what is packed for one thread alone is read while others compute.
//!
//! Both are cut along the depth into slices of equal length; the slices' products are added up in their order. So an
//! element's sum runs over a slice in a tile's register, then over the slices: in an order given by the depth.

use std::{cell::RefCell, ops::Range};

use rayon::prelude::*;

use super::{
    Matrix, Sizes, Write,
    tile::{self, COLUMNS, Lines, Place, ROWS},
};

/// The longest slice along the depth: a tile then spends 30 times as long on adding up as on its elements of the product,
/// and its two panels, 43 and 98 KB, leave most of a core's second cache to the block.
const SLICE: usize = 768;
/// Bytes of a block: half of the second cache of the cores of these days, or less.
const BLOCK_BYTES: usize = 384 << 10;
/// Bytes of the shared panels.
const SHARED_BYTES: usize = 8 << 20;
/// Operations below which other threads are not woken.
const ALONE: usize = 1 << 18;

thread_local! {
    static SHARED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static BLOCK: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// destination ← or += left · right, by all threads.
///
/// # Safety
///
/// The processor has AVX-512F. The destination has `m` · `n` elements, rows one after the other, that nothing else reads or
/// writes meanwhile; where it is replaced it need not be initialised. The matrices have the sizes (see [`Matrix::holds`]).
pub(crate) unsafe fn product(destination: *mut f32, sizes: Sizes, left: Matrix<'_>, right: Matrix<'_>, write: Write) {
    let Sizes { m, n, k } = sizes;
    let alone = m.saturating_mul(n).saturating_mul(k) <= ALONE;
    let slice = k.div_ceil(k.div_ceil(SLICE));
    let threads = if alone { 1 } else { rayon::current_num_threads() };
    let plan = Plan::new(sizes, slice, threads);
    let task = Task {
        destination,
        sizes,
        left,
        right,
        plan,
    };
    let mut shared = SHARED.take();
    reserve(&mut shared, plan.shared_panels * plan.shared_width() * slice);
    for first in (0..k).step_by(slice) {
        let depth = slice.min(k - first);
        let write = if first == 0 { write } else { Write::Add };
        for panels in chunks(plan.panels_to_share, plan.shared_panels) {
            let panel_length = plan.shared_width() * depth;
            // A few panels a task: see `tile::pack`.
            let at_once = panels.1.div_ceil(4 * threads);
            let pack = |(index, some): (usize, &mut [f32])| {
                let first_panel = panels.0 + index * at_once;
                let count = some.len() / panel_length;
                // SAFETY: there are such panels, they have room for their width times the depth, and are this call's alone.
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
                    reserve(buffer, plan.block_panels * plan.own_width() * slice);
                    // SAFETY: the elements of the product that belong to a block and these shared panels are written by this
                    // call alone; the panels were packed for this slice.
                    unsafe { task.multiply_block(block, buffer, (panels.0, packed), (first, depth), write) };
                });
            };
            if alone {
                (0..plan.blocks).for_each(multiply);
            } else {
                (0..plan.blocks).into_par_iter().for_each(multiply);
            }
        }
    }
    SHARED.set(shared);
}

/// Makes room for `length` values, whatever they are.
fn reserve(buffer: &mut Vec<f32>, length: usize) {
    if buffer.len() < length {
        buffer.clear();
        buffer.resize(length, 0.0);
    }
}

/// `(first, count)` of the chunks of `size` of 0 to `total`.
fn chunks(total: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..total)
        .step_by(size)
        .map(move |first| (first, size.min(total - first)))
}

/// Which matrix is shared, and how the other is cut.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Whether blocks are of the left matrix' rows, and the right matrix is shared.
    blocks_of_rows: bool,
    /// Panels of the shared matrix, and how many are packed at a time.
    panels_to_share: usize,
    shared_panels: usize,
    /// Panels of the other, how many blocks they are cut into, and the most in one.
    panels: usize,
    blocks: usize,
    block_panels: usize,
}

impl Plan {
    fn new(Sizes { m, n, .. }: Sizes, slice: usize, threads: usize) -> Self {
        let blocks_of_rows = m >= n;
        let mut plan = Self {
            blocks_of_rows,
            panels_to_share: 0,
            shared_panels: 0,
            panels: 0,
            blocks: 0,
            block_panels: 0,
        };
        let (own, shared) = if blocks_of_rows { (m, n) } else { (n, m) };
        let panel_bytes = |width: usize| width * slice * size_of::<f32>();
        plan.panels_to_share = shared.div_ceil(plan.shared_width());
        plan.shared_panels = (SHARED_BYTES / panel_bytes(plan.shared_width())).clamp(1, plan.panels_to_share.max(1));
        plan.panels = own.div_ceil(plan.own_width());
        let most = (BLOCK_BYTES / panel_bytes(plan.own_width())).max(1);
        // As many for each thread, of which none has more than one panel more than another.
        plan.blocks = plan.panels.div_ceil(most).next_multiple_of(threads).min(plan.panels);
        plan.block_panels = plan.panels.div_ceil(plan.blocks.max(1));
        plan
    }

    fn own_width(&self) -> usize {
        if self.blocks_of_rows { ROWS } else { COLUMNS }
    }

    fn shared_width(&self) -> usize {
        if self.blocks_of_rows { COLUMNS } else { ROWS }
    }
}

struct Task<'a> {
    destination: *mut f32,
    sizes: Sizes,
    left: Matrix<'a>,
    right: Matrix<'a>,
    plan: Plan,
}

// SAFETY: the destination is written by `multiply_block` only, whose callers promise that no two of them write the same part.
unsafe impl Sync for Task<'_> {}

impl Task<'_> {
    /// Packs panels of rows of the left matrix, along the slice.
    ///
    /// # Safety
    ///
    /// There are such panels, and `into` has room for ROWS · depth values for each.
    unsafe fn pack_rows(&self, into: *mut f32, panels: Range<usize>, slice: (usize, usize)) {
        // SAFETY: as the caller promises.
        unsafe { pack::<ROWS>(into, self.left, self.sizes.m, panels, slice) }
    }

    /// Packs panels of columns of the right matrix, along the slice.
    ///
    /// # Safety
    ///
    /// There are such panels, and `into` has room for COLUMNS · depth values for each.
    unsafe fn pack_columns(&self, into: *mut f32, panels: Range<usize>, slice: (usize, usize)) {
        // SAFETY: as the caller promises.
        unsafe { pack::<COLUMNS>(into, self.right.transposed(), self.sizes.n, panels, slice) }
    }

    /// Packs panels of the shared matrix.
    ///
    /// # Safety
    ///
    /// There are such panels, and `into` has room for them.
    unsafe fn pack_shared(&self, into: *mut f32, panels: Range<usize>, slice: (usize, usize)) {
        // SAFETY: as the caller promises.
        unsafe {
            if self.plan.blocks_of_rows {
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
        let plan = &self.plan;
        let own_panels = block * plan.panels / plan.blocks..(block + 1) * plan.panels / plan.blocks;
        let own_length = plan.own_width() * depth;
        let buffer = &mut buffer[..own_panels.len() * own_length];
        // SAFETY: the block's panels are there, and the buffer has room for them.
        unsafe {
            if plan.blocks_of_rows {
                self.pack_rows(buffer.as_mut_ptr(), own_panels.clone(), (first, depth));
            } else {
                self.pack_columns(buffer.as_mut_ptr(), own_panels.clone(), (first, depth));
            }
        }
        for (index, shared) in shared.chunks_exact(plan.shared_width() * depth).enumerate() {
            for (own_index, own) in own_panels.clone().zip(buffer.chunks_exact(own_length)) {
                let shared_index = first_shared + index;
                let (row, column, left, right) = if plan.blocks_of_rows {
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
                // SAFETY: both panels are packed to this depth; the place lies in the product, and is this call's alone.
                unsafe { tile::multiply(depth, left.as_ptr(), right.as_ptr(), place, write) };
            }
        }
    }
}

/// Packs panels of WIDTH rows of a matrix that has `rows`, along the slice.
///
/// # Safety
///
/// There are such panels, and `into` has room for WIDTH · depth values for each. The processor has AVX-512F.
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
