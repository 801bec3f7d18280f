//! Tests of whole caches: bytes that reading touches, damage, cutting, merging, exchanged files, strangers' files, interruption, reading, the
//! round trip.

mod bytes_touched;
mod corruption;
mod cutting;
mod cutting_again;
mod exchanged;
mod interruption;
mod merging;
mod reading;
mod round_trip;
mod strangers;
pub(crate) mod synthetic;
