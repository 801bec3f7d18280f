//! Seeded initial weights, which depend on nothing but the seed and the weight's name.

use std::f64::consts::TAU;

use candle_core::{DType, Device, Result, Tensor};

/// Standard deviation of seeded weights, the usual `initializer_range`.
const STANDARD_DEVIATION: f64 = 0.02;

/// The initial values of the weight `name`, in single precision: norms are `norms`, biases 0, all other weights normal.
///
/// # Errors
///
/// If the device has no memory for them.
pub(super) fn initial_weight(
    name: &str,
    shape: &[usize],
    (seed, norms): (u64, f32),
    device: &Device,
) -> Result<Tensor> {
    if name.ends_with("norm.weight") {
        Tensor::full(norms, shape, device)
    } else if name.ends_with(".bias") {
        Tensor::zeros(shape, DType::F32, device)
    } else {
        let values = normal_numbers(seed, name, STANDARD_DEVIATION, shape.iter().product());
        Tensor::from_vec(values, shape, device)
    }
}

/// `count` independent draws from a normal distribution with mean 0.
///
/// The uniform bits are the extended output of BLAKE3 keyed by seed and name, so a weight's values do not depend on the
/// order in which weights are made, on the machine, or on a library's generator. The Box–Muller transform turns them into
/// normal numbers.
fn normal_numbers(seed: u64, name: &str, standard_deviation: f64, count: usize) -> Vec<f32> {
    let mut hasher = blake3::Hasher::new_derive_key("leadspan 2026 initial weights");
    hasher.update(&seed.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut stream = hasher.finalize_xof();
    let mut uniform = || {
        let mut bytes = [0; 4];
        stream.fill(&mut bytes);
        // In (0, 1): the logarithm of 0 is not finite.
        (f64::from(u32::from_le_bytes(bytes)) + 0.5) / 4_294_967_296.0
    };
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt() * standard_deviation, TAU * uniform());
        values.push((radius * angle.cos()) as f32);
        values.push((radius * angle.sin()) as f32);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_moments_of_a_normal_distribution_and_repeat() {
        let draws = normal_numbers(7, "weight", 0.5, 40_001);
        assert_eq!(draws, normal_numbers(7, "weight", 0.5, 40_001));
        assert_ne!(draws[..8], normal_numbers(8, "weight", 0.5, 8)[..]);
        assert_ne!(draws[..8], normal_numbers(7, "other", 0.5, 8)[..]);
        let mean = draws.iter().map(|&x| f64::from(x)).sum::<f64>() / draws.len() as f64;
        let moment = |power: i32| draws.iter().map(|&x| f64::from(x).powi(power)).sum::<f64>() / draws.len() as f64;
        assert!(
            mean.abs() < 0.01 && (moment(2) - 0.25).abs() < 0.01,
            "{mean} {}",
            moment(2)
        );
        assert!((moment(4) / moment(2).powi(2) - 3.0).abs() < 0.15);
    }
}
