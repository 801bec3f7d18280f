//! Checks that a Parquet file must pass before the Parquet library decodes it.
//!
//! The Parquet library trusts the sizes that a file declares: it allocates as many bytes as a page claims to have, and as
//! many entries as an index claims to list, before it checks that they are there. [`check_pages`] and
//! [`check_page_index`] compare these claims with the size of the file, and [`check_footer`] looks at the schema, which the
//! library reads by recursion. The library detects all other damage itself. It then returns an error or, in a few places,
//! panics; readers turn the panic into an error with `leadspan_files::guarded`.
//!
//! This crate does not check the contents of columns.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod claim;
mod footer;
mod pages;
mod thrift;

pub use claim::Claim;
pub use footer::check_footer;
pub use pages::{LargePage, PageSizes, check_page_index, check_pages, page_sizes};
