//! Mutations of everything that is read, through the crates' public interfaces.
//!
//! Reading any file ends with an error or a value: without a panic, an abort or a hang, and with at most 64 MiB plus 16 bytes
//! for each byte of the file at the peak. If checksums were computed anew, a mutation may also read as another value without
//! an error.
//!
//! Memory that C libraries allocate (zstd's windows and oniguruma) is not counted.
//!
//! This is a program of its own because it counts allocations, and would also count those of other tests in the same process.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod allocator;
mod cache;
mod cache_files;
mod codec;
mod harness;
mod imports;
mod models;
mod mutation;
mod rows;
mod tables;

use std::time::Duration;

fn readers() -> Vec<harness::Reader> {
    [
        codec::readers(),
        tables::readers(),
        cache_files::readers(),
        imports::readers(),
        rows::readers(),
        models::readers(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn twenty_thousand_mutations_end_in_errors_or_values() {
    harness::run(20_000, readers(), None);
}

#[test]
#[ignore = "the long suite: about twenty minutes; it also limits the wall time of each read"]
fn a_million_mutations_end_in_errors_or_values() {
    use std::io::Write as _;
    let report = harness::run(1_000_000, readers(), Some(Duration::from_secs(30)));
    std::io::stderr().write_all(report.as_bytes()).unwrap();
}
