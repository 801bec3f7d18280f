//! The smallest number of rows of a matrix product whose order of summation does not depend on that number.

/// The fewest rows of a general matrix product.
///
/// A product of fewer rows sums in another order, but a position's result must not depend on what shares its pass. Shorter
/// inputs are padded to this length, or take a kernel of their own (the skinny product).
pub(crate) const MIN_ROWS: usize = 72;
