//! Supervised positions as rows: targets, weights, and what the teacher gives each outcome.

use leadspan_distribution::Distributions;
use leadspan_model::kernels::{DeviceRows, DrawnTokens};
use std::ops::Range;

use super::{Distillation, distillation::Target, probability::Probability, teacher::Stored};

/// The supervised positions of one forward pass, in the order of their hidden states.
///
/// The outcomes of a row are its entries, most probable first, and then the bucket.
#[derive(Clone, Debug)]
pub struct SupervisedRows {
    pub(super) distillation: Distillation,
    pub(crate) targets: Vec<u32>,
    pub(crate) weights: Vec<f32>,
    /// The place of each row's first entry, and at the end the number of entries.
    offsets: Vec<usize>,
    token_ids: Vec<u32>,
    /// Outcomes at temperature 1 with a bucket, for the metrics.
    measured: Vec<Probability>,
    /// Outcomes as the distillation has them; empty if those are the measured ones.
    taught: Vec<Probability>,
    drawn_offsets: Vec<usize>,
    drawn_token_ids: Vec<u32>,
    drawn_probabilities: Vec<f64>,
}

impl SupervisedRows {
    /// No rows, for learning by `distillation`.
    pub fn new(distillation: Distillation) -> Self {
        Self {
            distillation,
            targets: Vec::new(),
            weights: Vec::new(),
            offsets: vec![0],
            token_ids: Vec::new(),
            measured: Vec::new(),
            taught: Vec::new(),
            drawn_offsets: vec![0],
            drawn_token_ids: Vec::new(),
            drawn_probabilities: Vec::new(),
        }
    }

    /// Adds the positions of one sample, all with the same `weight`, for a student with a head of `vocabulary` rows.
    ///
    /// The entries are rescaled so that they and the tail sum to one exactly. If `distributions` is empty, the teacher is
    /// unknown at these positions, and the divergence from it is 0 for any student.
    ///
    /// # Panics
    ///
    /// If there are distributions, but not one for each target, or they lack the temperature of the distillation.
    pub fn push_sample(
        &mut self,
        targets: impl ExactSizeIterator<Item = u32>,
        distributions: &Distributions,
        weight: f32,
        vocabulary: usize,
    ) {
        let weights = std::iter::repeat_n(weight, targets.len());
        self.push_weighted(targets.zip(weights), distributions, vocabulary);
    }

    /// Like [`push_sample`](Self::push_sample), with a weight beside each target.
    pub(crate) fn push_weighted(
        &mut self,
        targets: impl ExactSizeIterator<Item = (u32, f32)>,
        distributions: &Distributions,
        vocabulary: usize,
    ) {
        if distributions.is_empty() {
            self.push_targets(targets);
            return;
        }
        assert_eq!(targets.len(), distributions.len(), "one target for each position");
        self.reserve(targets.len(), distributions.token_ids().len());
        for ((target, weight), position) in targets.zip(distributions.iter()) {
            let stored = Stored::new(position, vocabulary);
            self.targets.push(target);
            self.weights.push(weight);
            self.token_ids.extend(stored.token_ids());
            self.offsets.push(self.token_ids.len());
            stored.with_bucket(1.0, f64::from(position.tail_logprob), &mut self.measured);
            let temperature = self.distillation.temperature();
            match self.distillation.target() {
                _ if self.distillation.is_measured() => {}
                Target::Bucket { tail, .. } => {
                    let tail = tail.of(&position);
                    stored.with_bucket(temperature, tail, &mut self.taught);
                }
                Target::RenormalizeTeacher | Target::RenormalizeBoth { .. } => {
                    stored.conditioned_on_entries(temperature, &mut self.taught);
                }
                Target::Sampled => stored.with_draws(
                    &mut self.taught,
                    &mut self.drawn_token_ids,
                    &mut self.drawn_probabilities,
                ),
            }
            self.drawn_offsets.push(self.drawn_token_ids.len());
        }
    }

    /// Makes room for `positions` more positions with `entries` entries.
    fn reserve(&mut self, positions: usize, entries: usize) {
        self.token_ids.reserve(entries);
        self.measured.reserve(entries + positions);
        if !self.distillation.is_measured() {
            self.taught.reserve(entries + positions);
        }
    }

    /// Adds positions at which the teacher is unknown: the only outcome is the bucket.
    fn push_targets(&mut self, targets: impl Iterator<Item = (u32, f32)>) {
        let everything = Probability::of_log(0.0);
        for (target, weight) in targets {
            self.targets.push(target);
            self.weights.push(weight);
            self.offsets.push(self.token_ids.len());
            self.measured.push(everything);
            if !self.distillation.is_measured() {
                self.taught.push(everything);
            }
            self.drawn_offsets.push(self.drawn_token_ids.len());
        }
    }

    /// Some of the rows, in this order, with other weights.
    pub(crate) fn selected(&self, rows: &[usize], weights: Vec<f32>) -> Self {
        let mut selected = Self {
            weights,
            ..Self::new(self.distillation)
        };
        for &row in rows {
            selected.targets.push(self.targets[row]);
            selected.token_ids.extend(self.token_ids(row));
            selected.offsets.push(selected.token_ids.len());
            selected.measured.extend(self.measured(row));
            if !self.taught.is_empty() {
                selected.taught.extend(self.taught(row));
            }
            let (token_ids, probabilities) = self.drawn(row);
            selected.drawn_token_ids.extend(token_ids);
            selected.drawn_probabilities.extend(probabilities);
            selected.drawn_offsets.push(selected.drawn_token_ids.len());
        }
        selected
    }

    /// The same rows with an unknown teacher.
    pub(super) fn without_teacher(&self) -> Self {
        let everything = Probability::of_log(0.0);
        Self {
            distillation: Distillation::default(),
            targets: self.targets.clone(),
            weights: self.weights.clone(),
            offsets: vec![0; self.len() + 1],
            token_ids: Vec::new(),
            measured: vec![everything; self.len()],
            taught: Vec::new(),
            drawn_offsets: vec![0; self.len() + 1],
            drawn_token_ids: Vec::new(),
            drawn_probabilities: Vec::new(),
        }
    }

    /// The rows as kernels of a GPU take them.
    pub(super) fn on_device(&self) -> DeviceRows<'_> {
        let offsets = |offsets: &[usize]| offsets.iter().map(|&offset| offset as u32).collect();
        let logs = |outcomes: &[Probability]| outcomes.iter().map(|outcome| outcome.log).collect();
        let drawn = (!self.drawn_token_ids.is_empty()).then(|| DrawnTokens {
            offsets: offsets(&self.drawn_offsets),
            token_ids: &self.drawn_token_ids,
            probabilities: &self.drawn_probabilities,
        });
        DeviceRows {
            targets: &self.targets,
            weights: &self.weights,
            offsets: offsets(&self.offsets),
            token_ids: &self.token_ids,
            measured: logs(&self.measured),
            taught: (!self.taught.is_empty()).then(|| logs(&self.taught)),
            drawn,
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The tokens of a row's entries.
    pub(super) fn token_ids(&self, row: usize) -> &[u32] {
        &self.token_ids[self.offsets[row]..self.offsets[row + 1]]
    }

    /// The teacher's probabilities of a row's outcomes at temperature 1 with a bucket.
    pub(super) fn measured(&self, row: usize) -> &[Probability] {
        &self.measured[self.outcomes(row)]
    }

    /// The teacher's probabilities of a row's outcomes as they are learnt.
    pub(super) fn taught(&self, row: usize) -> &[Probability] {
        if self.taught.is_empty() {
            self.measured(row)
        } else {
            &self.taught[self.outcomes(row)]
        }
    }

    /// Tokens inside a row's bucket that are learnt individually, and their probabilities.
    pub(super) fn drawn(&self, row: usize) -> (&[u32], &[f64]) {
        let drawn = self.drawn_offsets[row]..self.drawn_offsets[row + 1];
        (&self.drawn_token_ids[drawn.clone()], &self.drawn_probabilities[drawn])
    }

    /// One outcome more than entries in each row.
    fn outcomes(&self, row: usize) -> Range<usize> {
        self.offsets[row] + row..self.offsets[row + 1] + row + 1
    }
}
