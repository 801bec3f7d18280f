//! A digest of the student's weights, by which processes notice that they have come apart.
//!
//! Processes make the same updates of the same gradients. Processors of different kinds may round them differently; then the
//! students would slowly become different ones, and the sum of their gradients would belong to none of them.

use candle_core::{DType, Result};
use leadspan_model::Parameters;

/// The FNV-1a prime (<http://www.isthe.com/chongo/tech/comp/fnv/>), and the basis that it goes with.
const PRIME: u64 = 0x0000_0100_0000_01b3;
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// A digest of the bits of all parameters, in the order of their names: FNV-1a with a word in place of a byte.
///
/// # Errors
///
/// If the device fails.
pub(crate) fn digest(parameters: &Parameters) -> Result<u64> {
    let mut digest = BASIS;
    for (_, variable) in parameters.iter() {
        let values = variable.as_detached_tensor().to_dtype(DType::F32)?.flatten_all()?;
        digest = (values.to_vec1::<f32>()?.iter()).fold(digest, |digest, value| {
            // The product alone would never carry a high bit down.
            (digest.rotate_left(23) ^ u64::from(value.to_bits())).wrapping_mul(PRIME)
        });
    }
    Ok(digest)
}
