//! Integration tests: the real program on a tiny seeded teacher.

#![allow(clippy::unwrap_used)]

mod base_students;
mod caches;
mod cutting;
mod evaluate;
mod hub;
mod interruptions;
#[cfg(not(feature = "mpi"))]
mod launching;
mod lora;
mod losses;
mod messages;
mod operations;
mod outlets;
mod planning;
mod policies;
mod program;
mod quickstart;
mod replaying;
mod reporting;
mod resuming;
mod served;
mod small_disk;
mod stages;
mod steps;
mod stopping;
mod stores;
mod supervised;
mod sweeping;
mod teachers;
mod workers;
