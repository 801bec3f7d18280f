//! A choice of positions that is made after the student's forward pass.

use std::ops::Range;

use super::{
    measure::Measure,
    positions::{Positions, highest},
};

/// What the rows of a forward pass are chosen by, and to which sample each belongs.
#[derive(Clone, Debug)]
pub(crate) struct StudentChoice {
    positions: Positions,
    measure: Measure,
    /// Where the rows of each sample begin, and the number of all.
    edges: Vec<usize>,
}

impl StudentChoice {
    /// The choice that `positions` ask for among the rows of samples with so many rows each; `None` if the student chooses
    /// nothing.
    pub(crate) fn new(positions: Positions, rows_of_samples: impl Iterator<Item = usize>) -> Option<Self> {
        let measure = positions.measure()?;
        let mut edges = vec![0];
        for rows in rows_of_samples {
            edges.push(edges.last().map_or(0, |end| end + rows));
        }
        Some(Self {
            positions,
            measure,
            edges,
        })
    }

    /// What decides.
    pub(crate) fn measure(&self) -> Measure {
        self.measure
    }

    /// How many rows are learnt.
    pub(crate) fn learnt(&self) -> usize {
        self.samples().map(|rows| self.positions.learnt(rows.len())).sum()
    }

    /// The rows that are learnt, ascending, each with its weight. The weights of a sample's rows are scaled so that their sum
    /// is that of all of its rows.
    pub(crate) fn rows(&self, measures: &[f64], weights: &[f32]) -> (Vec<usize>, Vec<f32>) {
        let (mut chosen, mut scaled) = (Vec::new(), Vec::new());
        for rows in self.samples() {
            let count = self.positions.learnt(rows.len());
            let found = highest(&measures[rows.clone()], count).into_iter();
            let found: Vec<usize> = found.map(|place| rows.start + place).collect();
            let sum = |rows: &mut dyn Iterator<Item = usize>| rows.map(|row| f64::from(weights[row])).sum::<f64>();
            let scale = sum(&mut rows.clone()) / sum(&mut found.iter().copied());
            scaled.extend(found.iter().map(|&row| (f64::from(weights[row]) * scale) as f32));
            chosen.extend(found);
        }
        (chosen, scaled)
    }

    fn samples(&self) -> impl Iterator<Item = Range<usize>> {
        self.edges.windows(2).map(|edges| edges[0]..edges[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sample_keeps_its_share_of_rows_and_all_of_its_weight() {
        let half = Positions::Disagreement("0.5".parse().unwrap());
        let choice = StudentChoice::new(half, [4, 1, 3].into_iter()).unwrap();
        assert_eq!((choice.measure(), choice.learnt()), (Measure::Disagreement, 4));
        let measures = [0.1, 0.9, 0.4, 0.4, 0.0, 3.0, 2.0, 3.0];
        let weights = [0.125, 0.25, 0.25, 0.375, 1.0, 0.5, 0.25, 0.25];
        let (rows, scaled) = choice.rows(&measures, &weights);
        // Rows 2 and 3 are equal, and so are 5 and 7.
        assert_eq!(rows, [1, 2, 4, 5]);
        // The first sample has 1 in all, of which ½ is left; the last one has 1, of which ½ is left.
        assert_eq!(scaled, [0.5, 0.5, 1.0, 1.0]);
        assert!(StudentChoice::new(Positions::All, [4].into_iter()).is_none());
    }
}
