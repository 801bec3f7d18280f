//! Tests of whole caches: bytes that reading touches, damage, exchanged files, strangers' files, interruption, reading, the
//! round trip.

mod bytes_touched;
mod corruption;
mod exchanged;
mod interruption;
mod reading;
mod round_trip;
mod strangers;
pub(crate) mod synthetic;
