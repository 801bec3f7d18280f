//! What must hold of a Parquet file before the library may decode it.
//!
//! The Parquet library believes what a file says of its pages: it makes room for as many bytes as a page claims to have,
//! and for as many entries as an index claims to list, before it looks whether they are there. [`check_pages`] and
//! [`check_page_index`] compare those claims with the size of the file. What else is wrong with a file the library finds
//! itself, in an error or, here and there, a panic, which readers turn into an error (`leadspan_files::guarded`): the last line of defence, not the
//! first.
//!
//! What is in the columns is not this crate's business.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod pages;
mod thrift;

pub use pages::{Claim, check_page_index, check_pages};
