//! Vectorised sums of exponentials over a row of logits.
//!
//! Every instruction set runs the same arithmetic in sixteen lanes, without fused multiply-add. So AVX-512, AVX2 and
//! baseline machines give the same bits; wider instructions are only faster.

use crate::on_widest_vectors;

const LANES: usize = 16;
/// How many values of a row are summed in single precision (64 per lane) before the sums are added in double precision.
const BLOCK: usize = 64 * LANES;

on_widest_vectors! {
    /// Σ exp(z − `max`) over the logits z of `row` below `threshold`, and the number of logits equal to `threshold`.
    ///
    /// `max` is the largest logit of the row, so every term is at most 1. Pass +∞ as `threshold` to sum the whole row.
    /// The relative error is below 1e-6.
    pub fn exp_sum_below(row: &[f32], max: f32, threshold: f32) -> (f64, usize) {
        exp_sum_below_lanes(row, max, threshold)
    }
}

on_widest_vectors! {
    /// Replaces every logit z of `row` by exp(z − `max`), and returns their sum.
    ///
    /// `max` is at least the largest logit. The relative error is below 1e-6; −∞ becomes about 1e-38, not zero.
    pub fn exponentiate(row: &mut [f32], max: f32) -> f64 {
        let mut sum = 0f64;
        for block in row.chunks_mut(BLOCK) {
            let mut sums = [0f32; LANES];
            let (lanes, rest) = block.as_chunks_mut::<LANES>();
            for logits in lanes {
                for lane in 0..LANES {
                    logits[lane] = exp_of_non_positive((logits[lane] - max).min(0.0));
                    sums[lane] += logits[lane];
                }
            }
            for (logit, sum) in rest.iter_mut().zip(&mut sums) {
                *logit = exp_of_non_positive((*logit - max).min(0.0));
                *sum += *logit;
            }
            sum += sums.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        }
        sum
    }
}

/// [`exp_sum_below`] for any instruction set.
#[inline(always)]
fn exp_sum_below_lanes(row: &[f32], max: f32, threshold: f32) -> (f64, usize) {
    let mut sum = 0f64;
    let mut equal = 0usize;
    for block in row.chunks(BLOCK) {
        let mut sums = [0f32; LANES];
        let mut counts = [0u32; LANES];
        let (lanes, rest) = block.as_chunks::<LANES>();
        for logits in lanes {
            add_terms(&mut sums, &mut counts, logits, max, threshold);
        }
        if !rest.is_empty() {
            let mut logits = [f32::INFINITY; LANES];
            logits[..rest.len()].copy_from_slice(rest);
            // Padding is above every threshold except +∞. For +∞ it counts as equal, but then the count is unused.
            for lane in &mut logits[rest.len()..] {
                *lane = f32::INFINITY;
            }
            add_terms(&mut sums, &mut counts, &logits, max, threshold);
        }
        sum += sums.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        equal += counts.iter().map(|&lane| lane as usize).sum::<usize>();
    }
    (sum, equal)
}

/// Adds one logit to the sum and the count of each lane.
#[inline(always)]
fn add_terms(sums: &mut [f32; LANES], counts: &mut [u32; LANES], logits: &[f32; LANES], max: f32, threshold: f32) {
    for lane in 0..LANES {
        let logit = logits[lane];
        let term = exp_of_non_positive((logit - max).min(0.0));
        sums[lane] += if logit < threshold { term } else { 0.0 };
        counts[lane] += u32::from(logit == threshold);
    }
}

/// exp(x) for x ≤ 0, with a relative error of about 1e-7. Below −87 the result stays at exp(−87) ≈ 1.6e-38, which changes
/// no sum of this crate.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2; exp(r) by its Taylor polynomial of degree 6; 2^n by its bit pattern.
#[inline(always)]
pub fn exp_of_non_positive(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5·2^23 rounds to the nearest integer within vector registers.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let polynomial = 1.0 / 720.0;
    let polynomial = polynomial * r + 1.0 / 120.0;
    let polynomial = polynomial * r + 1.0 / 24.0;
    let polynomial = polynomial * r + 1.0 / 6.0;
    let polynomial = polynomial * r + 0.5;
    let polynomial = polynomial * r + 1.0;
    let polynomial = polynomial * r + 1.0;
    let exponent = (shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits());
    polynomial * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_matches_the_library_to_a_few_ulps() {
        let mut worst = 0f64;
        for step in 0..=870_000 {
            let x = -(step as f32) / 10_000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp_of_non_positive(x)) - exact).abs() / exact);
        }
        assert!(worst < 3e-7, "{worst}");
        assert!(exp_of_non_positive(0.0) == 1.0 && exp_of_non_positive(f32::NEG_INFINITY) < 2e-38);
    }

    #[test]
    fn sums_and_ties_match_a_plain_loop_at_every_length() {
        for length in [1usize, 2, 15, 16, 17, 1023, 1024, 1025, 5000] {
            let row: Vec<f32> = (0..length).map(|i| ((i * 7919) % 97) as f32 / 8.0 - 6.0).collect();
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for threshold in [max, 0.0, -6.0] {
                let (sum, equal) = exp_sum_below(&row, max, threshold);
                let plain: f64 = row
                    .iter()
                    .filter(|&&z| z < threshold)
                    .map(|&z| f64::from(z - max).exp())
                    .sum();
                assert!(
                    (sum - plain).abs() <= 1e-6 * plain,
                    "{length} {threshold}: {sum} {plain}"
                );
                assert_eq!(equal, row.iter().filter(|&&z| z == threshold).count());
            }
            let (sum, _) = exp_sum_below(&row, max, f32::INFINITY);
            let plain: f64 = row.iter().map(|&z| f64::from(z - max).exp()).sum();
            assert!((sum - plain).abs() <= 1e-6 * plain);
        }
    }

    #[test]
    fn exponentials_written_in_place_are_the_terms_of_the_sum() {
        for length in [1usize, 15, 16, 17, 1025, 3000] {
            let row: Vec<f32> = (0..length).map(|i| ((i * 7919) % 97) as f32 / 8.0 - 6.0).collect();
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut written = row.clone();
            let sum = exponentiate(&mut written, max);
            for (&term, &logit) in written.iter().zip(&row) {
                assert!((term - (logit - max).exp()).abs() <= 3e-7 * term);
            }
            let plain: f64 = written.iter().map(|&term| f64::from(term)).sum();
            assert!((sum - plain).abs() <= 1e-6 * plain);
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let row: Vec<f32> = (0..3001).map(|i| ((i * 104_729) % 1009) as f32 / 50.0).collect();
        let (fastest, baseline) = (exp_sum_below(&row, 20.16, 18.0), exp_sum_below_lanes(&row, 20.16, 18.0));
        assert_eq!(fastest.0.to_bits(), baseline.0.to_bits());
        assert_eq!(fastest.1, baseline.1);
    }
}
