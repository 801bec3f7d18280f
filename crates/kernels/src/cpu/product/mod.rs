//! Matrix products on slices.
//!
//! Where the processor has AVX-512, products of all threads are our own ([`panels`] says how): an element adds up in an
//! order that depends on the depth of the product alone, so its bits do not depend on how many rows there are, nor on the
//! number of threads. The speed of both is in `docs/benchmarks.md`. All other products are the `gemm` crate's.

mod disjoint;
#[cfg(target_arch = "x86_64")]
mod panels;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tile;

use gemm::Parallelism;

pub(crate) use disjoint::Disjoint;

/// How the rows and columns of a matrix lie in a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `width` values, one after the other.
    pub(crate) fn rows(values: &'a [f32], width: usize) -> Self {
        Self::strided(values, width)
    }

    /// Rows that begin every `stride` values.
    pub(crate) fn strided(values: &'a [f32], stride: usize) -> Self {
        Self {
            values,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// The same values with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Whether the slice has all elements of a matrix of this size.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = (rows.max(1) - 1) * self.row_stride + (columns.max(1) - 1) * self.column_stride;
        rows == 0 || columns == 0 || last < self.values.len()
    }
}

/// What becomes of the values that are in the destination of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// They are replaced.
    Replace,
    /// The product is added to them.
    Add,
}

/// Who computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread: inside a task.
    This,
    /// All threads.
    All,
}

/// The sizes of a product: `[m, k] · [k, n]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
}

impl Sizes {
    /// Elements of the product.
    fn elements(self) -> usize {
        self.m.checked_mul(self.n).expect("a product that fits into memory")
    }
}

/// destination `[m, n]`, rows one after the other, ← or += scale · left `[m, k]` · right `[k, n]`.
pub(crate) fn product(
    destination: &mut [f32],
    sizes: Sizes,
    left: Matrix<'_>,
    right: Matrix<'_>,
    (write, scale, threads): (Write, f32, Threads),
) {
    assert!(
        destination.len() >= sizes.elements(),
        "the destination of a product has all of its elements"
    );
    // SAFETY: the destination is that long, and borrowed for writing.
    unsafe { write_product(destination.as_mut_ptr(), sizes, left, right, (write, scale, threads)) }
}

/// left `[m, k]` · right `[k, n]` by all threads, rows one after the other.
pub(crate) fn new_product(sizes: Sizes, left: Matrix<'_>, right: Matrix<'_>) -> Vec<f32> {
    let mut destination = Vec::with_capacity(sizes.elements());
    // SAFETY: there is room for all elements, and nobody else has it; once the product is written, they are initialised.
    unsafe {
        write_product(
            destination.as_mut_ptr(),
            sizes,
            left,
            right,
            (Write::Replace, 1.0, Threads::All),
        );
        destination.set_len(sizes.elements());
    }
    destination
}

/// As [`product`]. Where the destination is replaced it is not read, and need not be initialised; all of it is written.
///
/// # Safety
///
/// The destination has `m` · `n` elements that nothing else reads or writes meanwhile.
unsafe fn write_product(
    destination: *mut f32,
    sizes: Sizes,
    left: Matrix<'_>,
    right: Matrix<'_>,
    (write, scale, threads): (Write, f32, Threads),
) {
    let Sizes { m, n, k } = sizes;
    assert!(
        left.holds(m, k) && right.holds(k, n),
        "the matrices of a product have the sizes it is told"
    );
    #[cfg(target_arch = "x86_64")]
    if threads == Threads::All && scale == 1.0 && k > 0 && is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512F, as just detected; the destination is as the caller promises.
        return unsafe { panels::product(destination, sizes, left, right, write) };
    }
    let parallelism = match threads {
        Threads::This => Parallelism::None,
        Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
    // SAFETY: every element that the product reads lies in its slice, as was just asserted: the largest index of a strided
    // matrix is that of its last row and column. The destination is as the caller promises.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            destination,
            1,
            n as isize,
            write == Write::Add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}
