//! What is stored of the tail in addition to its mass: a term for each temperature, and draws.

use leadspan_simd::exponentiate;

use crate::{EntrySettings, select::Candidate};

/// Facts about one tail, in the scratch memory of [`TailScratch`].
pub(crate) struct Tail<'a> {
    pub(crate) temperature_tails: &'a [f32],
    /// Ascending.
    pub(crate) token_ids: &'a [u32],
    pub(crate) draws: &'a [u32],
}

#[derive(Default)]
pub(crate) struct TailScratch {
    kept: Vec<u32>,
    token_ids: Vec<u32>,
    logits: Vec<f32>,
    masses: Vec<f32>,
    uniforms: Vec<f64>,
    temperature_tails: Vec<f32>,
    drawn: Vec<u32>,
    draws: Vec<u32>,
}

impl TailScratch {
    /// Computes the facts that `settings` ask for about the tokens of `logits` that are not in `kept`.
    pub(crate) fn of(
        &mut self,
        logits: &[f32],
        kept: &[Candidate],
        log_sum_exp: f64,
        settings: &EntrySettings,
        seed: u64,
    ) -> Tail<'_> {
        self.temperature_tails.clear();
        self.drawn.clear();
        self.draws.clear();
        if settings.tail_samples > 0 || !settings.temperatures.is_empty() {
            self.gather(logits, kept);
            for &temperature in &settings.temperatures {
                let tail = self.log_sum_exp_at(f64::from(temperature), log_sum_exp);
                self.temperature_tails.push(tail as f32);
            }
            self.draw(settings.tail_samples, seed);
        }
        Tail {
            temperature_tails: &self.temperature_tails,
            token_ids: &self.drawn,
            draws: &self.draws,
        }
    }

    fn gather(&mut self, logits: &[f32], kept: &[Candidate]) {
        self.kept.clear();
        self.kept.extend(kept.iter().map(|candidate| candidate.token));
        self.kept.sort_unstable();
        self.token_ids.clear();
        self.logits.clear();
        let mut from = 0;
        for &token in self.kept.iter().chain([&(logits.len() as u32)]) {
            self.token_ids.extend(from..token);
            self.logits.extend_from_slice(&logits[from as usize..token as usize]);
            from = token + 1;
        }
    }

    /// Puts exp((z − max) / τ) of the tail's logits z into `masses`; returns max and the sum.
    fn exponentiate(&mut self, temperature: f64) -> (f64, f64) {
        let max = self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        self.masses.clear();
        let scaled = |logit: &f32| (f64::from(logit - max) / temperature) as f32;
        self.masses.extend(self.logits.iter().map(scaled));
        (f64::from(max), exponentiate(&mut self.masses, 0.0))
    }

    /// log Σ exp(ℓ/τ) over the tail, with ℓ = z − `log_sum_exp`; −∞ if there is no tail.
    fn log_sum_exp_at(&mut self, temperature: f64, log_sum_exp: f64) -> f64 {
        if self.logits.is_empty() {
            return f64::NEG_INFINITY;
        }
        let (max, sum) = self.exponentiate(temperature);
        (max - log_sum_exp) / temperature + sum.ln()
    }

    /// Draws `count` times with replacement, each token in proportion to its probability, by inverting the cumulative
    /// distribution at sorted uniform numbers.
    fn draw(&mut self, count: u32, seed: u64) {
        if count == 0 || self.logits.is_empty() {
            return;
        }
        let (_, sum) = self.exponentiate(1.0);
        self.uniforms.clear();
        self.uniforms
            .extend((1..=u64::from(count)).map(|number| uniform(seed, number) * sum));
        self.uniforms.sort_unstable_by(f64::total_cmp);
        let mut uniforms = self.uniforms.iter().copied().peekable();
        let (mut cumulative, last) = (0.0, self.token_ids.len() - 1);
        for (index, (&token, &mass)) in self.token_ids.iter().zip(&self.masses).enumerate() {
            cumulative += f64::from(mass);
            let mut draws = 0;
            // Rounding must not push a draw past the last token.
            while uniforms
                .next_if(|&uniform| uniform < cumulative || index == last)
                .is_some()
            {
                draws += 1;
            }
            if draws > 0 {
                self.drawn.push(token);
                self.draws.push(draws);
            }
        }
    }
}

/// The `number`-th uniform number in [0, 1) of a seed, by SplitMix64 (Steele, Lea, Flood 2014). It gives the same numbers
/// in every version of this program.
fn uniform(seed: u64, number: u64) -> f64 {
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use crate::{EntrySettings, Row, reduce};

    fn settings(tail_samples: u32, temperatures: &[f32]) -> EntrySettings {
        EntrySettings {
            tail_samples,
            temperatures: temperatures.to_vec(),
            ..EntrySettings::top_k(1)
        }
    }

    /// Probabilities 8, 4, 1, 2, 1 of 16.
    fn logits() -> Vec<f32> {
        [8f32, 4.0, 1.0, 2.0, 1.0].map(f32::ln).to_vec()
    }

    #[test]
    fn tail_terms_are_those_worked_out_by_hand() {
        let stored = reduce(&logits(), 5, &[Row { target: 0, seed: 0 }], &settings(0, &[2.0, 0.5])).unwrap();
        let terms = stored.get(0).temperature_tails;
        // At τ = 2 the tail sums the square roots of its probabilities 4, 1, 2, 1 of 16; at ½ their squares.
        let expected = [
            ((2.0 + 1.0 + 2f64.sqrt() + 1.0) / 4.0).ln(),
            ((16.0 + 1.0 + 4.0 + 1.0) / 256f64).ln(),
        ];
        for (term, expected) in terms.iter().zip(expected) {
            assert!((f64::from(*term) - expected).abs() < 1e-6, "{term} {expected}");
        }
        let whole = EntrySettings {
            top_k: 5,
            ..settings(3, &[2.0])
        };
        let stored = reduce(&logits(), 5, &[Row { target: 0, seed: 0 }], &whole).unwrap();
        assert_eq!(stored.get(0).temperature_tails, [f32::NEG_INFINITY]);
        assert_eq!(stored.get(0).sampled_token_ids, [0u32; 0]);
    }

    #[test]
    fn draws_come_from_the_tail_in_proportion_and_are_a_function_of_the_seed() {
        let mut drawn = [0u32; 5];
        for seed in 0..400 {
            let row = [Row { target: 0, seed }];
            let stored = reduce(&logits(), 5, &row, &settings(40, &[])).unwrap();
            assert_eq!(stored, reduce(&logits(), 5, &row, &settings(40, &[])).unwrap());
            let position = stored.get(0);
            assert!(position.sampled_token_ids.is_sorted());
            assert_eq!(position.sampled_draws.iter().sum::<u32>(), 40);
            for (&token, &draws) in position.sampled_token_ids.iter().zip(position.sampled_draws) {
                drawn[token as usize] += draws;
            }
        }
        // 16,000 draws: shares of ½, ⅛, ¼, ⅛ within four standard deviations.
        assert_eq!(drawn[0], 0);
        for (token, share) in [(1, 0.5), (2, 0.125), (3, 0.25), (4, 0.125)] {
            let (expected, deviation) = (16_000.0 * share, (16_000f64 * share * (1.0 - share)).sqrt());
            let difference = (f64::from(drawn[token]) - expected).abs();
            assert!(difference < 4.0 * deviation, "{drawn:?}");
        }
    }
}
