//! Caches pushed and pulled: what is there at the end, after a kill at any moment, and after faults of a store.

mod cutting;
mod damage;
mod fake;
mod kills;
mod made;
mod others;
mod reaching;
mod round_trip;
mod s3;
mod server;
mod web;
