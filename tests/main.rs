//! Integration tests: the real program on a tiny seeded teacher.

#![allow(clippy::unwrap_used)]

mod caches;
mod interruptions;
mod losses;
mod messages;
mod planning;
mod program;
mod reporting;
mod stages;
mod teachers;
