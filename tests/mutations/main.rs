//! Mutations of everything that is read, through the crates' public interfaces.
//!
//! Whatever stands in a file, reading it ends, in an error or a value: no panic, no abort, no more than 64 MiB and 16 bytes
//! for each byte of the file held at the peak, no hang. Where checksums were computed anew, a mutation may well be a
//! different value; that it is one without an error is fine.
//!
//! Of the memory, what C libraries allocate (zstd's windows and oniguruma) is not counted.
//!
//! A program of its own, because it counts what is allocated, and a test that ran beside it would be counted too.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod allocator;
mod cache;
mod cache_files;
mod codec;
mod harness;
mod models;
mod mutation;
mod rows;
mod tables;

fn readers() -> Vec<harness::Reader> {
    [
        codec::readers(),
        tables::readers(),
        cache_files::readers(),
        rows::readers(),
        models::readers(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn twenty_thousand_mutations_end_in_errors_or_values() {
    harness::run(20_000, readers());
}

#[test]
#[ignore = "takes some twenty minutes: part of the long suite"]
fn a_million_mutations_end_in_errors_or_values() {
    use std::io::Write as _;
    let report = harness::run(1_000_000, readers());
    std::io::stderr().write_all(report.as_bytes()).unwrap();
}
