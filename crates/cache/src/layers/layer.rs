//! Layers: which positions a set of shards holds, and which layers together cover a request.
//!
//! Extending a cache adds a layer with the positions that the others lack. A layer is therefore a band of proportions
//! for each of its sections. Pure: `folder` has the folders of layers.

use std::ops::Range;

use leadspan_sequence::{LeadSpanProportion, Section, SectionSet, Split};
use serde::{Deserialize, Serialize};

use crate::{Coverage, SampleRef};

/// The part of one section that a layer holds: the targets above one lead-span proportion, up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Band {
    /// The section of the targets.
    pub section: Section,
    /// The lower bound: targets up to this proportion are in other layers. `None`: the band starts with the sample and
    /// holds all of a validation sample. With a lower bound, the band holds nothing of a validation sample.
    pub above: Option<LeadSpanProportion>,
    /// The upper bound: targets up to this proportion are in the band.
    pub up_to: LeadSpanProportion,
}

impl Band {
    /// The tokens of a sample that are targets of this band.
    pub(crate) fn targets(&self, sample: SampleRef<'_>) -> Range<u32> {
        let tokens = sample.token_count();
        let (first, end) = match (sample.split, self.above) {
            (Split::Train, above) => (above.map_or(0, |above| above.kept(tokens)), self.up_to.kept(tokens)),
            (Split::Validation, None) => (0, tokens),
            (Split::Validation, Some(_)) => (0, 0),
        };
        let section = sample.bounds.range(self.section);
        // No position predicts the first token of a sample.
        let start = section.start.max(first as u32).max(1);
        start..section.end.min(end as u32).max(start)
    }
}

/// The contents of a layer: a band for each of its sections, in the order of the sections; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Band>", into = "Vec<Band>")]
pub struct Layer {
    bands: Vec<Band>,
}

/// Bands that do not form a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a layer has one ascending band for each of its sections, in their order")]
pub struct NotALayer;

impl TryFrom<Vec<Band>> for Layer {
    type Error = NotALayer;

    fn try_from(bands: Vec<Band>) -> Result<Self, NotALayer> {
        let ascending = bands.iter().all(|band| band.above < Some(band.up_to));
        let in_order = bands.windows(2).all(|pair| pair[0].section < pair[1].section);
        if !bands.is_empty() && ascending && in_order {
            Ok(Self { bands })
        } else {
            Err(NotALayer)
        }
    }
}

impl From<Layer> for Vec<Band> {
    fn from(layer: Layer) -> Self {
        layer.bands
    }
}

impl From<Coverage> for Layer {
    /// The layer that alone holds everything that is asked for.
    fn from(coverage: Coverage) -> Self {
        let bands = coverage.sections.iter().map(|section| Band {
            section,
            above: None,
            up_to: coverage.proportion,
        });
        Self { bands: bands.collect() }
    }
}

impl Layer {
    /// The bands, in the order of their sections.
    pub fn bands(&self) -> &[Band] {
        &self.bands
    }

    /// The sections of the layer.
    pub fn sections(&self) -> SectionSet {
        SectionSet::new(self.bands.iter().map(|band| band.section)).expect("a layer has at least one band")
    }

    /// The band of a section; `None` if the layer does not hold the section.
    pub fn band(&self, section: Section) -> Option<&Band> {
        self.bands.iter().find(|band| band.section == section)
    }

    /// The positions of a sample that the layer holds, ascending.
    pub fn positions(&self, sample: SampleRef<'_>) -> impl Iterator<Item = u32> + use<> {
        let targets: Vec<Range<u32>> = self.bands.iter().map(|band| band.targets(sample)).collect();
        targets.into_iter().flatten().map(|target| target - 1)
    }

    /// The number of positions of a sample that the layer holds.
    pub fn position_count(&self, sample: SampleRef<'_>) -> usize {
        self.bands.iter().map(|band| band.targets(sample).len()).sum()
    }

    /// The number of leading tokens of a sample that a model must read to compute the layer's positions: up to the last
    /// position, without its target. `None` if the layer holds no position of the sample.
    pub fn leading_tokens(&self, sample: SampleRef<'_>) -> Option<u32> {
        let targets = self.bands.iter().map(|band| band.targets(sample));
        targets
            .filter(|targets| !targets.is_empty())
            .map(|targets| targets.end - 1)
            .max()
    }

    /// The name of the layer's folder. Bands of the same proportions stand together, as in
    /// `0-0.5-prompt+chain_of_thought+answer` or `0-0.75-prompt,0.5-0.75-answer`.
    pub fn folder_name(&self) -> String {
        let mut groups: Vec<(&Band, Vec<&str>)> = Vec::new();
        for band in &self.bands {
            let alike = |other: &Band| (other.above, other.up_to) == (band.above, band.up_to);
            match groups.iter_mut().find(|(first, _)| alike(first)) {
                Some((_, sections)) => sections.push(band.section.as_str()),
                None => groups.push((band, vec![band.section.as_str()])),
            }
        }
        let name = |(band, sections): &(&Band, Vec<&str>)| {
            let above = band.above.map_or_else(|| "0".to_owned(), |above| above.to_string());
            format!("{above}-{}-{}", band.up_to, sections.join("+"))
        };
        groups.iter().map(name).collect::<Vec<_>>().join(",")
    }
}

/// The proportion up to which `layers` hold a section without a gap; `None` if they do not hold its beginning.
pub(crate) fn reach<'a>(
    layers: impl Iterator<Item = &'a Layer> + Clone,
    section: Section,
) -> Option<LeadSpanProportion> {
    let mut reached = None;
    let bands = layers.filter_map(|layer| layer.band(section));
    loop {
        let next = bands
            .clone()
            .filter(|band| band.above <= reached && Some(band.up_to) > reached)
            .map(|band| band.up_to)
            .max();
        match next {
            Some(further) => reached = Some(further),
            None => return reached,
        }
    }
}

/// The layer that has to be added to `layers` to cover `asked`; `None` if they cover it.
pub(crate) fn remainder(asked: &Coverage, layers: &[&Layer]) -> Option<Layer> {
    let missing = |section| {
        let above = reach(layers.iter().copied(), section);
        (above < Some(asked.proportion)).then_some(Band {
            section,
            above,
            up_to: asked.proportion,
        })
    };
    let bands: Vec<Band> = asked.sections.iter().filter_map(missing).collect();
    Layer::try_from(bands).ok()
}

/// The bands to read from each of `layers`, given by their indices, to get `asked`; `None` if they do not cover it.
pub(crate) fn division(asked: &Coverage, layers: &[&Layer]) -> Option<Vec<(usize, Layer)>> {
    let mut wanted: Vec<Vec<Band>> = vec![Vec::new(); layers.len()];
    for section in asked.sections.iter() {
        let mut reached = None;
        while reached < Some(asked.proportion) {
            let next = |(index, layer): (usize, &&Layer)| {
                let band = layer.band(section)?;
                (band.above <= reached && Some(band.up_to) > reached).then_some((index, band.up_to))
            };
            let candidates = || layers.iter().enumerate().filter_map(next);
            // The shortest band that suffices, or else the one that reaches furthest.
            let sufficient = candidates().filter(|(_, up_to)| *up_to >= asked.proportion);
            let (index, up_to) = sufficient
                .min_by_key(|&(index, up_to)| (up_to, index))
                .or_else(|| candidates().max_by_key(|&(index, up_to)| (up_to, std::cmp::Reverse(index))))?;
            wanted[index].push(Band {
                section,
                above: reached,
                up_to: up_to.min(asked.proportion),
            });
            reached = Some(up_to);
        }
    }
    let used = wanted.into_iter().enumerate().filter(|(_, bands)| !bands.is_empty());
    Some(used.map(|(index, bands)| (index, Layer { bands })).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use proptest::prelude::*;

    fn proportion(text: &str) -> LeadSpanProportion {
        text.parse().unwrap()
    }

    fn band(section: Section, above: Option<&str>, up_to: &str) -> Band {
        Band {
            section,
            above: above.map(proportion),
            up_to: proportion(up_to),
        }
    }

    #[test]
    fn validation_samples_are_whole_in_the_layer_that_begins_with_them() {
        let corpus = synthetic::corpus(3, 2, 8);
        let half = synthetic::coverage("0.5", SectionSet::ALL);
        let base = Layer::from(half);
        let more = remainder(&synthetic::coverage("1", SectionSet::ALL), &[&base]).unwrap();
        for sample in corpus.samples() {
            let tokens = sample.token_count();
            let (kept, rest) = match sample.split {
                Split::Train => ((tokens / 2).max(1), tokens - (tokens / 2).max(1)),
                Split::Validation => (tokens, 0),
            };
            assert_eq!(base.position_count(sample), kept - 1);
            assert!(base.positions(sample).eq(half.positions(sample)));
            assert_eq!(more.position_count(sample), rest);
            for layer in [&base, &more] {
                assert_eq!(
                    layer.leading_tokens(sample),
                    layer.positions(sample).max().map(|last| last + 1)
                );
            }
        }
    }

    #[test]
    fn folders_are_named_for_their_bands() {
        use Section::{Answer, ChainOfThought, Prompt};
        let name = |bands: Vec<Band>| Layer::try_from(bands).unwrap().folder_name();
        let half = Layer::from(synthetic::coverage("0.5", SectionSet::ALL));
        assert_eq!(half.folder_name(), "0-0.5-prompt+chain_of_thought+answer");
        assert_eq!(name(vec![band(Answer, Some("0.5"), "1")]), "0.5-1.0-answer");
        let mixed = vec![
            band(Prompt, None, "0.75"),
            band(ChainOfThought, Some("0.5"), "0.75"),
            band(Answer, None, "0.75"),
        ];
        assert_eq!(name(mixed), "0-0.75-prompt+answer,0.5-0.75-chain_of_thought");
        for wrong in [
            vec![],
            vec![band(Answer, Some("0.5"), "0.5")],
            vec![band(Answer, None, "1"), band(Prompt, None, "1")],
        ] {
            assert_eq!(Layer::try_from(wrong), Err(NotALayer));
        }
    }

    #[test]
    fn a_gap_ends_the_reach() {
        let layers = |bands: &[Band]| -> Vec<Layer> {
            let one = |&band| Layer::try_from(vec![band]).unwrap();
            bands.iter().map(one).collect()
        };
        let answer = |above, up_to| band(Section::Answer, above, up_to);
        let of = |bands: &[Band]| reach(layers(bands).iter(), Section::Answer);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[answer(Some("0.5"), "1")]), None);
        assert_eq!(
            of(&[answer(Some("0.5"), "0.75"), answer(None, "0.5")]),
            Some(proportion("0.75"))
        );
        assert_eq!(
            of(&[answer(Some("0.6"), "0.75"), answer(None, "0.5")]),
            Some(proportion("0.5"))
        );
    }

    proptest! {
        #[test]
        fn extensions_tile_what_is_asked_for_without_overlap(
            steps in prop::collection::vec((1u32..=100, 1u8..8), 1..6), asked in (1u32..=100, 1u8..8),
        ) {
            let coverage = |(percent, bits): (u32, u8)| {
                let sections = Section::ALL.into_iter().filter(|&section| bits & (1 << section as u8) != 0);
                let text = if percent == 100 { "1".to_owned() } else { format!("0.{percent:02}") };
                synthetic::coverage(&text, SectionSet::new(sections).unwrap())
            };
            let mut layers: Vec<Layer> = Vec::new();
            for step in steps {
                let held: Vec<Layer> = layers.clone();
                layers.extend(remainder(&coverage(step), &held.iter().collect::<Vec<_>>()));
            }
            let asked = coverage(asked);
            let held: Vec<Layer> = layers.clone();
            layers.extend(remainder(&asked, &held.iter().collect::<Vec<_>>()));
            let parts = division(&asked, &layers.iter().collect::<Vec<_>>()).unwrap();
            for sample in synthetic::corpus(9, 3, 4).samples() {
                let mut held: Vec<u32> = layers.iter().flat_map(|layer| layer.positions(sample)).collect();
                held.sort_unstable();
                prop_assert!(held.windows(2).all(|pair| pair[0] < pair[1]), "a position is held twice");
                let mut read: Vec<u32> = Vec::new();
                for (index, part) in &parts {
                    let stored: Vec<u32> = layers[*index].positions(sample).collect();
                    prop_assert!(part.positions(sample).all(|position| stored.contains(&position)));
                    read.extend(part.positions(sample));
                }
                read.sort_unstable();
                prop_assert_eq!(read, asked.positions(sample).collect::<Vec<_>>());
            }
        }
    }
}
