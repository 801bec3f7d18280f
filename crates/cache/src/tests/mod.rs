//! What holds of a whole cache: what reading touches, damage, interruption, the round trip.

mod bytes_touched;
mod corruption;
mod interruption;
mod reading;
mod round_trip;
pub(crate) mod synthetic;
