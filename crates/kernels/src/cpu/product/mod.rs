//! Matrix products on slices.
//!
//! If the processor has AVX-512, products on all threads use the implementation of this module, described in [`panels`]. An
//! element's order of summation then depends on the depth of the product alone, so its bits depend neither on the number of
//! rows nor on the number of threads. All other products use the `gemm` crate. The speed of both is in
//! `docs/benchmarks.md`.

mod disjoint;
#[cfg(target_arch = "x86_64")]
mod panels;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tile;

use gemm::Parallelism;

pub(crate) use disjoint::Disjoint;

/// A matrix in a slice, with the distances between its rows and columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix of consecutive rows of `width` values.
    pub(crate) fn rows(values: &'a [f32], width: usize) -> Self {
        Self::strided(values, width)
    }

    /// A matrix whose rows begin every `stride` values.
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

    /// Whether the slice contains all elements of a matrix of this size.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = (rows.max(1) - 1) * self.row_stride + (columns.max(1) - 1) * self.column_stride;
        rows == 0 || columns == 0 || last < self.values.len()
    }
}

/// How a product is written to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// It replaces the destination's values.
    Replace,
    /// It is added to the destination's values.
    Add,
}

/// The threads that compute a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread, for products inside a task.
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
    /// The number of elements of the product.
    fn elements(self) -> usize {
        self.m.checked_mul(self.n).expect("a product that fits into memory")
    }
}

/// destination ← or += scale · left `[m, k]` · right `[k, n]`. The destination has `m` consecutive rows of `n` values.
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

/// left `[m, k]` · right `[k, n]` on all threads, as consecutive rows.
pub(crate) fn new_product(sizes: Sizes, left: Matrix<'_>, right: Matrix<'_>) -> Vec<f32> {
    let mut destination = Vec::with_capacity(sizes.elements());
    // SAFETY: the vector has room for all elements and no other owner; the product initialises them all.
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

/// As [`product`]. With [`Write::Replace`] the destination may be uninitialised: it is not read, and all of it is written.
///
/// # Safety
///
/// The destination has `m` · `n` elements that nothing else reads or writes during the call.
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
    // SAFETY: the assertion above shows that every element that the product reads lies in its slice, because the largest
    // index of a strided matrix is that of its last row and column. The destination is as the caller promises.
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
