//! The three sections of a sample, sets of them, and the token bounds that separate them.

use std::{borrow::Cow, fmt, ops::Range, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One part of a training sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Everything before the content of the last assistant turn, including earlier turns and headers.
    Prompt,
    /// From the thinking-start marker through the thinking-end marker.
    ChainOfThought,
    /// Everything after the chain of thought, including end-of-turn tokens.
    Answer,
}

/// A section name that is not one of the three.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a section: expected `prompt`, `chain_of_thought` or `answer`")]
pub struct UnknownSection {
    /// The text.
    pub given: String,
}

impl Section {
    /// All sections, in the order of a sample.
    pub const ALL: [Self; 3] = [Self::Prompt, Self::ChainOfThought, Self::Answer];

    /// The name used in configuration, columns and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::ChainOfThought => "chain_of_thought",
            Self::Answer => "answer",
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Section {
    type Err = UnknownSection;

    fn from_str(text: &str) -> Result<Self, UnknownSection> {
        Self::ALL
            .into_iter()
            .find(|section| section.as_str() == text)
            .ok_or_else(|| UnknownSection { given: text.to_owned() })
    }
}

/// A non-empty set of sections, such as the supervised ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionSet {
    bits: u8,
}

impl SectionSet {
    /// Prompt, chain of thought and answer.
    pub const ALL: Self = Self { bits: 0b111 };

    /// The set of the given sections, or `None` if there are none.
    pub fn new(sections: impl IntoIterator<Item = Section>) -> Option<Self> {
        let bits = sections.into_iter().fold(0, |bits, section| bits | 1 << section as u8);
        (bits != 0).then_some(Self { bits })
    }

    /// Whether `section` is in the set.
    pub const fn contains(self, section: Section) -> bool {
        self.bits & (1 << section as u8) != 0
    }

    /// Whether every section of `other` is in this set.
    pub const fn is_superset(self, other: Self) -> bool {
        self.bits & other.bits == other.bits
    }

    /// The sections of the set, in the order of a sample.
    pub fn iter(self) -> impl Iterator<Item = Section> {
        Section::ALL.into_iter().filter(move |&section| self.contains(section))
    }
}

impl fmt::Display for SectionSet {
    /// The names joined by `+`, as in `chain_of_thought+answer`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, section) in self.iter().enumerate() {
            if index > 0 {
                formatter.write_str("+")?;
            }
            section.fmt(formatter)?;
        }
        Ok(())
    }
}

/// Serialized as a list of section names.
impl JsonSchema for SectionSet {
    fn schema_name() -> Cow<'static, str> {
        "SectionSet".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<Section>(), "minItems": 1 })
    }
}

impl Serialize for SectionSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for SectionSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sections = Vec::<Section>::deserialize(deserializer)?;
        Self::new(sections).ok_or_else(|| de::Error::custom("the list of sections is empty: name at least one"))
    }
}

/// The bounds of a sample's sections, in tokens of the full sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SectionBounds {
    prompt_end: u32,
    chain_of_thought_end: u32,
    tokens: u32,
}

/// Section bounds that do not ascend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "section bounds do not ascend: the prompt ends at token {prompt_end}, the chain of thought at {chain_of_thought_end}, the sample at {tokens}"
)]
pub struct InvalidBounds {
    /// The end of the prompt.
    pub prompt_end: u32,
    /// The end of the chain of thought.
    pub chain_of_thought_end: u32,
    /// The number of tokens.
    pub tokens: u32,
}

impl SectionBounds {
    /// Bounds with prompt `0..prompt_end`, chain of thought `prompt_end..chain_of_thought_end`, answer up to `tokens`.
    ///
    /// # Errors
    ///
    /// If the three do not ascend.
    pub const fn new(prompt_end: u32, chain_of_thought_end: u32, tokens: u32) -> Result<Self, InvalidBounds> {
        if prompt_end <= chain_of_thought_end && chain_of_thought_end <= tokens {
            Ok(Self {
                prompt_end,
                chain_of_thought_end,
                tokens,
            })
        } else {
            Err(InvalidBounds {
                prompt_end,
                chain_of_thought_end,
                tokens,
            })
        }
    }

    /// The first token after the prompt.
    pub const fn prompt_end(self) -> u32 {
        self.prompt_end
    }

    /// The first token after the chain of thought.
    pub const fn chain_of_thought_end(self) -> u32 {
        self.chain_of_thought_end
    }

    /// The number of tokens of the sample.
    pub const fn tokens(self) -> u32 {
        self.tokens
    }

    /// The token range of one section; empty if the sample does not have the section.
    pub const fn range(self, section: Section) -> Range<u32> {
        match section {
            Section::Prompt => 0..self.prompt_end,
            Section::ChainOfThought => self.prompt_end..self.chain_of_thought_end,
            Section::Answer => self.chain_of_thought_end..self.tokens,
        }
    }

    /// The section that holds the token at `index`.
    pub const fn section_of(self, index: u32) -> Section {
        if index < self.prompt_end {
            Section::Prompt
        } else if index < self.chain_of_thought_end {
            Section::ChainOfThought
        } else {
            Section::Answer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_that_do_not_ascend_are_refused() {
        assert!(SectionBounds::new(3, 2, 5).is_err());
        assert!(SectionBounds::new(1, 6, 5).is_err());
        assert!(SectionBounds::new(0, 0, 0).is_ok());
    }

    #[test]
    fn sets_read_and_write_the_names_of_their_sections() {
        let set: SectionSet = serde_json::from_str(r#"["answer", "chain_of_thought"]"#).unwrap();
        assert_eq!(set.to_string(), "chain_of_thought+answer");
        assert_eq!(serde_json::to_string(&set).unwrap(), r#"["chain_of_thought","answer"]"#);
        assert!(SectionSet::ALL.is_superset(set) && !set.is_superset(SectionSet::ALL));
        assert!(serde_json::from_str::<SectionSet>("[]").is_err());
        assert!(serde_json::from_str::<SectionSet>(r#"["thoughts"]"#).is_err());
    }

    proptest! {
        #[test]
        fn sections_partition_the_sample(a in 0u32..500, b in 0u32..500, c in 0u32..500) {
            let bounds = SectionBounds::new(a, a + b, a + b + c).unwrap();
            let mut next = 0;
            for section in Section::ALL {
                let range = bounds.range(section);
                prop_assert_eq!(range.start, next);
                next = range.end;
                for index in range {
                    prop_assert_eq!(bounds.section_of(index), section);
                }
            }
            prop_assert_eq!(next, bounds.tokens());
        }
    }
}
