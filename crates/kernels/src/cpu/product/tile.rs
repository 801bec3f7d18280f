//! The two inner loops of a product with AVX-512: multiplying two packed panels to a tile, and packing panels.

use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_shuffle_f32x4, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

use super::Write;

/// The number of rows of a tile. With 2 registers per row, 28 of the 32 registers hold sums, and 3 hold factors.
pub(crate) const ROWS: usize = 14;
/// The number of columns of a tile: 2 registers.
pub(crate) const COLUMNS: usize = 32;
/// The number of values in a register.
const LANES: usize = 16;

/// The part of a product that a tile covers. At the edges of the product it is smaller than a tile.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The first element.
    pub(crate) start: *mut f32,
    /// The number of elements from one row to the next.
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// Writes the product of two panels, left `[depth, ROWS]` and right `[depth, COLUMNS]`, to `place`.
///
/// # Safety
///
/// The processor has AVX-512F. The panels have these sizes. `place` has 1 to ROWS rows and 1 to COLUMNS columns that
/// nothing else reads or writes during the call.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn multiply(depth: usize, left: *const f32, right: *const f32, place: Place, write: Write) {
    macro_rules! of_rows {
        ($($rows:literal)*) => {
            match place.rows {
                // SAFETY: as the caller promises; the match gives the number of rows.
                $($rows => unsafe { multiply_rows::<$rows>(depth, left, right, place, write) },)*
                _ => debug_assert!(false, "a tile has 1 to {ROWS} rows"),
            }
        };
    }
    of_rows!(14 13 12 11 10 9 8 7 6 5 4 3 2 1);
}

/// [`multiply`] for a number of rows that is known at compile time.
///
/// # Safety
///
/// As of `multiply`.
#[target_feature(enable = "avx512f")]
unsafe fn multiply_rows<const N: usize>(
    depth: usize,
    mut left: *const f32,
    mut right: *const f32,
    place: Place,
    write: Write,
) {
    let masks = [mask(place.columns), mask(place.columns.saturating_sub(LANES))];
    let mut sums = [[_mm512_setzero_ps(); 2]; N];
    // SAFETY: the panels have `depth` rows of their widths. In the product, only the lanes of the masks are read or
    // written, in the rows of the place. Addresses beyond are computed and prefetched, but not read.
    unsafe {
        for row in 0..N {
            let row = place.start.wrapping_add(row * place.stride);
            _mm_prefetch::<_MM_HINT_T0>(row.cast());
            _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(LANES).cast());
        }
        for _ in 0..depth {
            let columns = [_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(LANES))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*left.add(row));
                sums[0] = _mm512_fmadd_ps(value, columns[0], sums[0]);
                sums[1] = _mm512_fmadd_ps(value, columns[1], sums[1]);
            }
            left = left.add(ROWS);
            right = right.add(COLUMNS);
        }
        for (row, sums) in sums.iter().enumerate() {
            let row = place.start.add(row * place.stride);
            for (half, &sum) in sums.iter().enumerate() {
                let target = row.wrapping_add(half * LANES);
                let value = match write {
                    Write::Replace => sum,
                    Write::Add => _mm512_add_ps(_mm512_maskz_loadu_ps(masks[half], target), sum),
                };
                _mm512_mask_storeu_ps(target, masks[half], value);
            }
        }
    }
}

/// Some lines (rows or columns) of a matrix. Element d of line l is at `start` + l · `line_stride` + d · `stride`.
#[derive(Clone, Copy)]
pub(crate) struct Lines {
    pub(crate) start: *const f32,
    pub(crate) line_stride: usize,
    pub(crate) stride: usize,
    pub(crate) count: usize,
}

impl Lines {
    /// The lines from line `first` on.
    fn from(self, first: usize) -> Self {
        Self {
            start: self.start.wrapping_add(first * self.line_stride),
            count: self.count - first,
            ..self
        }
    }
}

/// Packs lines side by side into panels `[depth, WIDTH]`. Row d and column l of panel p is element d of line p · WIDTH + l.
/// The columns of missing lines are zero.
///
/// # Safety
///
/// The processor has AVX-512F. `panels` has depth · WIDTH elements for every WIDTH lines or fewer, which nothing else reads
/// or writes during the call. `depth` elements of each line can be read.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn pack<const WIDTH: usize>(panels: *mut f32, lines: Lines, depth: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        if lines.line_stride == 1 {
            return pack_rows::<WIDTH>(panels, lines, depth);
        }
        for (panel, first) in (0..lines.count).step_by(WIDTH).enumerate() {
            let (panel, lines) = (panels.add(panel * WIDTH * depth), lines.from(first));
            if lines.stride == 1 {
                pack_transposed::<WIDTH>(panel, lines, depth);
            } else {
                pack_one_by_one::<WIDTH>(panel, lines, depth);
            }
        }
    }
}

/// Packs lines that are side by side in the matrix already. It packs all panels at once: the rows of large matrices are so
/// far apart that their cache lines would evict each other before the next panel reads them.
///
/// # Safety
///
/// As of `pack`.
#[target_feature(enable = "avx512f")]
unsafe fn pack_rows<const WIDTH: usize>(panels: *mut f32, lines: Lines, depth: usize) {
    /// How many rows ahead memory is prefetched.
    const AHEAD: usize = 4;
    for element in 0..depth {
        let row = lines.start.wrapping_add(element * lines.stride);
        for line in (0..lines.count).step_by(LANES) {
            _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(AHEAD * lines.stride + line).cast());
        }
        for (panel, first) in (0..lines.count).step_by(WIDTH).enumerate() {
            for lane in (0..WIDTH).step_by(LANES) {
                let read = mask((lines.count - first).min(WIDTH).saturating_sub(lane));
                // SAFETY: only lanes of existing lines are read, and only columns of the panel are written; prefetching
                // does not read.
                unsafe {
                    let values = _mm512_maskz_loadu_ps(read, row.wrapping_add(first + lane));
                    let target = panels.add((panel * depth + element) * WIDTH + lane);
                    _mm512_mask_storeu_ps(target, mask(WIDTH - lane), values);
                }
            }
        }
    }
}

/// Packs one panel of lines with consecutive elements: transposes 16 × 16 elements at a time in registers.
///
/// # Safety
///
/// As of `pack`.
#[target_feature(enable = "avx512f")]
unsafe fn pack_transposed<const WIDTH: usize>(panel: *mut f32, lines: Lines, depth: usize) {
    /// How many elements ahead memory is prefetched. The processor's own prefetching does not follow so many lines.
    const AHEAD: usize = 16 * LANES;
    for first in (0..WIDTH).step_by(LANES) {
        let present = lines.count.min(WIDTH).saturating_sub(first).min(LANES);
        let written = mask(WIDTH - first);
        for element in (0..depth).step_by(LANES) {
            let elements = (depth - element).min(LANES);
            let mut square = [_mm512_setzero_ps(); LANES];
            // SAFETY: only `elements` elements of existing lines are read; prefetching does not read. Only rows `element`
            // to `element` + `elements` of the panel are written, within its columns.
            unsafe {
                for (line, row) in square.iter_mut().enumerate().take(present) {
                    let from = lines.start.add((first + line) * lines.line_stride + element);
                    _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(AHEAD).cast());
                    *row = _mm512_maskz_loadu_ps(mask(elements), from);
                }
                transpose(&mut square);
                for (row, &values) in square.iter().enumerate().take(elements) {
                    _mm512_mask_storeu_ps(panel.add((element + row) * WIDTH + first), written, values);
                }
            }
        }
    }
}

/// Packs one panel of lines with any strides.
///
/// # Safety
///
/// As of `pack`.
unsafe fn pack_one_by_one<const WIDTH: usize>(panel: *mut f32, lines: Lines, depth: usize) {
    for element in 0..depth {
        for line in 0..WIDTH {
            // SAFETY: only existing lines are read; the panel has a place for each value.
            unsafe {
                let value = if line < lines.count {
                    *lines.start.add(line * lines.line_stride + element * lines.stride)
                } else {
                    0.0
                };
                *panel.add(element * WIDTH + line) = value;
            }
        }
    }
}

/// Transposes the rows: exchanges single values, then pairs of values, then quarters of the registers twice.
#[target_feature(enable = "avx512f")]
fn transpose(rows: &mut [__m512; LANES]) {
    let mut pairs = [_mm512_setzero_ps(); LANES];
    for i in (0..LANES).step_by(2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for i in (0..LANES).step_by(4) {
        let [a, b, c, d] = [pairs[i], pairs[i + 1], pairs[i + 2], pairs[i + 3]].map(|x| _mm512_castps_pd(x));
        rows[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        rows[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        rows[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        rows[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    // Quarters 0 and 2, and quarters 1 and 3, of two registers.
    let even = |a, b| _mm512_shuffle_f32x4::<0x88>(a, b);
    let odd = |a, b| _mm512_shuffle_f32x4::<0xdd>(a, b);
    let mut quarters = [_mm512_setzero_ps(); LANES];
    for i in 0..4 {
        quarters[i] = even(rows[i], rows[4 + i]);
        quarters[4 + i] = odd(rows[i], rows[4 + i]);
        quarters[8 + i] = even(rows[8 + i], rows[12 + i]);
        quarters[12 + i] = odd(rows[8 + i], rows[12 + i]);
    }
    for i in 0..4 {
        rows[i] = even(quarters[i], quarters[8 + i]);
        rows[8 + i] = odd(quarters[i], quarters[8 + i]);
        rows[4 + i] = even(quarters[4 + i], quarters[12 + i]);
        rows[12 + i] = odd(quarters[4 + i], quarters[12 + i]);
    }
}

/// The mask of the first `count` lanes.
fn mask(count: usize) -> u16 {
    if count >= LANES { u16::MAX } else { (1 << count) - 1 }
}
