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

/// The matrix A `[r, in]` of a low-rank adapter as PEFT starts it, in single precision: uniform in ±1/√in, which is what Kaiming
/// initialisation with a = √5 comes to.
///
/// # Errors
///
/// If the device has no memory for it.
pub(super) fn initial_narrowing(name: &str, shape: [usize; 2], seed: u64, device: &Device) -> Result<Tensor> {
    let bound = 1.0 / (shape[1] as f64).sqrt();
    let mut uniform = uniform_numbers(seed, name);
    let values = (0..shape[0] * shape[1]).map(|_| ((2.0 * uniform() - 1.0) * bound) as f32);
    Tensor::from_vec(values.collect::<Vec<f32>>(), &shape, device)
}

/// `count` independent draws from a normal distribution with mean 0.
///
/// The Box–Muller transform turns uniform numbers into normal ones.
fn normal_numbers(seed: u64, name: &str, standard_deviation: f64, count: usize) -> Vec<f32> {
    let mut uniform = uniform_numbers(seed, name);
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt() * standard_deviation, TAU * uniform());
        values.push((radius * angle.cos()) as f32);
        values.push((radius * angle.sin()) as f32);
    }
    values.truncate(count);
    values
}

/// Independent draws from a uniform distribution in (0, 1).
///
/// The bits are the extended output of BLAKE3 keyed by seed and name, so a weight's values do not depend on the order in which
/// weights are made, on the machine, or on a library's generator.
fn uniform_numbers(seed: u64, name: &str) -> impl FnMut() -> f64 {
    let mut hasher = blake3::Hasher::new_derive_key("leadspan 2026 initial weights");
    hasher.update(&seed.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut stream = hasher.finalize_xof();
    move || {
        let mut bytes = [0; 4];
        stream.fill(&mut bytes);
        // In (0, 1): the logarithm of 0 is not finite.
        (f64::from(u32::from_le_bytes(bytes)) + 0.5) / 4_294_967_296.0
    }
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

    #[test]
    fn an_adapter_starts_uniform_between_the_bounds_of_its_width() {
        let of = |name: &str, seed| {
            let tensor = initial_narrowing(name, [100, 400], seed, &Device::Cpu).unwrap();
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let draws = of("a", 7);
        assert_eq!(draws, of("a", 7));
        assert_ne!(draws, of("a", 8));
        assert_ne!(draws, of("b", 7));
        // 1/√400; the variance of a uniform number in ±b is b²/3.
        assert!(draws.iter().all(|draw| draw.abs() < 0.05));
        let mean = |of: fn(f64) -> f64| draws.iter().map(|&draw| of(f64::from(draw))).sum::<f64>() / 40_000.0;
        assert!(mean(|x| x).abs() < 5e-4, "{}", mean(|x| x));
        assert!(
            (mean(|x| x * x) / (0.0025 / 3.0) - 1.0).abs() < 0.02,
            "{}",
            mean(|x| x * x)
        );
        assert!(draws.iter().any(|&draw| draw > 0.0499) && draws.iter().any(|&draw| draw < -0.0499));
    }
}
