//! The supervised positions of a sample: those whose next token lies in the lead span and in a supervised section.

use crate::{LeadSpanProportion, SectionBounds, SectionSet};

/// The supervised positions of a sample, ascending.
///
/// Position i is the place whose distribution predicts token i + 1. It counts if that token lies in the lead span and
/// its section is supervised, so a kept span of m tokens has at most m − 1 positions.
pub fn supervised_positions(
    bounds: SectionBounds,
    proportion: LeadSpanProportion,
    sections: SectionSet,
) -> impl Iterator<Item = u32> {
    positions_of_kept(bounds, proportion.kept(bounds.tokens() as usize) as u32, sections)
}

/// The supervised positions of a sample of which the first `kept` tokens are kept, ascending.
pub fn positions_of_kept(bounds: SectionBounds, kept: u32, sections: SectionSet) -> impl Iterator<Item = u32> {
    sections.iter().flat_map(move |section| {
        let targets = bounds.range(section);
        (targets.start.max(1)..targets.end.min(kept)).map(|target| target - 1)
    })
}

/// The number of supervised positions, without listing them.
pub fn supervised_position_count(bounds: SectionBounds, proportion: LeadSpanProportion, sections: SectionSet) -> usize {
    let kept = proportion.kept(bounds.tokens() as usize) as u32;
    sections
        .iter()
        .map(|section| {
            let targets = bounds.range(section);
            (targets.start.max(1)..targets.end.min(kept)).len()
        })
        .sum()
}

/// The number of leading tokens that a model needs as input to predict the tokens after a sample's positions: those up to
/// the last position, because attention is causal. 0 if there is no position.
pub fn fed_tokens(last_position: Option<u32>) -> usize {
    last_position.map_or(0, |position| position as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Section;
    use proptest::prelude::*;

    fn positions(bounds: (u32, u32, u32), proportion: &str, sections: &[Section]) -> Vec<u32> {
        let bounds = SectionBounds::new(bounds.0, bounds.1, bounds.2).unwrap();
        let sections = SectionSet::new(sections.iter().copied()).unwrap();
        supervised_positions(bounds, proportion.parse().unwrap(), sections).collect()
    }

    #[test]
    fn a_position_counts_where_its_target_is_kept_and_supervised() {
        use Section::{Answer, ChainOfThought, Prompt};
        // Ten tokens: prompt 0..3, chain of thought 3..8, answer 8..10.
        let bounds = (3, 8, 10);
        assert_eq!(positions(bounds, "1", &Section::ALL), (0..9).collect::<Vec<_>>());
        assert_eq!(positions(bounds, "1", &[ChainOfThought]), [2, 3, 4, 5, 6]);
        assert_eq!(positions(bounds, "1", &[Prompt, Answer]), [0, 1, 7, 8]);
        assert_eq!(positions(bounds, "0.5", &[ChainOfThought]), [2, 3]);
        assert_eq!(positions(bounds, "0.5", &[Answer]), [0u32; 0]);
        assert_eq!(positions(bounds, "0.1", &Section::ALL), [0u32; 0]);
        assert_eq!(positions((0, 1, 1), "1", &Section::ALL), [0u32; 0]);
    }

    proptest! {
        #[test]
        fn positions_nest_ascend_and_are_counted_right(
            a in 0u32..60, b in 0u32..60, c in 0u32..60, bits in 1u8..8, percent in 1u32..=100, longer in 0u32..50,
        ) {
            let bounds = SectionBounds::new(a, a + b, a + b + c).unwrap();
            let sections = SectionSet::new(Section::ALL.into_iter().filter(|&s| bits & (1 << s as u8) != 0)).unwrap();
            let of = |percent: u32| {
                let text = if percent >= 100 { "1".to_owned() } else { format!("0.{percent:02}") };
                let proportion: LeadSpanProportion = text.parse().unwrap();
                let listed: Vec<u32> = supervised_positions(bounds, proportion, sections).collect();
                assert_eq!(listed.len(), supervised_position_count(bounds, proportion, sections));
                listed
            };
            let (short, long) = (of(percent), of(percent + longer));
            prop_assert!(short.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(long.starts_with(&short));
            if bits == 0b111 && bounds.tokens() > 0 {
                prop_assert_eq!(of(100).len() as u32, bounds.tokens() - 1);
            }
        }
    }
}
