//! Tests of whole caches: bytes that reading touches, damage, interruption, reading, the round trip.

mod bytes_touched;
mod corruption;
mod interruption;
mod reading;
mod round_trip;
pub(crate) mod synthetic;
