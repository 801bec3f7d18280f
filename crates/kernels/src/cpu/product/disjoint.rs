//! Slices that several threads write to at the same time.

use std::marker::PhantomData;

/// A slice whose parts are written by several threads.
pub(crate) struct Disjoint<'a> {
    start: *mut f32,
    length: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: only `slice` gives access to the values, and its caller promises that no two parts in use overlap.
unsafe impl Send for Disjoint<'_> {}
// SAFETY: as above.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    /// The parts of `values`.
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
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
    pub(crate) unsafe fn slice(&self, first: usize, count: usize) -> &mut [f32] {
        assert!(
            first.checked_add(count).is_some_and(|end| end <= self.length),
            "parts lie in their slice"
        );
        // SAFETY: the part lies in the slice that this borrows for writing, and overlaps no other part in use.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), count) }
    }
}
