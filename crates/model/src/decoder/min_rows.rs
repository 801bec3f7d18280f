//! The number of rows below which a matrix product adds up in another order.

/// The fewest rows that go through a product.
///
/// A product of fewer rows adds up in another order, and a position's result must not depend on what shares its pass. Shorter
/// inputs are filled up to this length, or take a kernel of their own.
pub(crate) const MIN_ROWS: usize = 72;
