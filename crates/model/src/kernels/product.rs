//! Matrix products on slices, and slices that several threads write to at once: the unsafe code of the kernels.

use std::marker::PhantomData;

use gemm::Parallelism;

/// How the rows and columns of a matrix lie in a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `width` values, one after the other.
    pub(super) fn rows(values: &'a [f32], width: usize) -> Self {
        Self::strided(values, width)
    }

    /// Rows that begin every `stride` values.
    pub(super) fn strided(values: &'a [f32], stride: usize) -> Self {
        Self {
            values,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// The same values with rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
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
pub(super) enum Threads {
    /// The calling thread: inside a task.
    This,
    /// All threads.
    All,
}

/// The sizes of a product: `[m, k] · [k, n]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
}

/// destination `[m, n]`, rows one after the other, ← or += scale · left `[m, k]` · right `[k, n]`.
pub(super) fn product(
    destination: &mut [f32],
    sizes: Sizes,
    left: Matrix<'_>,
    right: Matrix<'_>,
    (write, scale, threads): (Write, f32, Threads),
) {
    let Sizes { m, n, k } = sizes;
    assert!(
        destination.len() >= m * n && left.holds(m, k) && right.holds(k, n),
        "the matrices of a product have the sizes it is told"
    );
    let parallelism = match threads {
        Threads::This => Parallelism::None,
        Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
    // SAFETY: every element that the product reads or writes lies in its slice, as was just asserted: the largest index of
    // a strided matrix is that of its last row and column. The destination is borrowed for writing, so nothing overlaps.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            destination.as_mut_ptr(),
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

/// A slice of which several threads write different parts.
pub(super) struct Disjoint<'a> {
    start: *mut f32,
    length: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: it only hands out parts through `slice`, whose caller promises that no two of them overlap.
unsafe impl Send for Disjoint<'_> {}
// SAFETY: as above.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub(super) fn new(values: &'a mut [f32]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            length: values.len(),
            borrow: PhantomData,
        }
    }

    /// `count` values from `first` on.
    ///
    /// # Safety
    ///
    /// No other part that overlaps this one may be in use at the same time.
    #[expect(clippy::mut_from_ref, reason = "whoever calls it promises that parts do not overlap")]
    pub(super) unsafe fn slice(&self, first: usize, count: usize) -> &mut [f32] {
        assert!(
            first.checked_add(count).is_some_and(|end| end <= self.length),
            "parts lie in their slice"
        );
        // SAFETY: the part lies in the slice that this borrows for writing, and overlaps no other part in use.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), count) }
    }
}
