//! Replaces the thinking markers of a data set by the configured ones.

use super::LayoutOptions;
use crate::{RowProblem, RowRules, SectionSettings};

/// How a data set marks the parts of the assistant's text.
pub(super) struct DataMarkers {
    /// Opens the chain of thought.
    pub(super) thinking_start: &'static str,
    /// Closes it.
    pub(super) thinking_end: &'static str,
    /// Markers of parts that are not distinguished here; they are removed.
    pub(super) removed: &'static [&'static str],
}

/// The markers of the OpenThoughts family.
pub(super) const THOUGHT_AND_SOLUTION: DataMarkers = DataMarkers {
    thinking_start: "<|begin_of_thought|>",
    thinking_end: "<|end_of_thought|>",
    removed: &["<|begin_of_solution|>", "<|end_of_solution|>"],
};

/// The markers of DeepSeek-R1 and most later models.
pub(super) const THINK: DataMarkers = DataMarkers {
    thinking_start: "<think>",
    thinking_end: "</think>",
    removed: &[],
};

impl DataMarkers {
    /// The assistant's text with the configured markers.
    ///
    /// If a chain of thought is opened and closed, it and the text after it lose their outer white space and get the
    /// spacing that reasoning models write. An empty one gets no markers, so that `sections.without_markers` decides
    /// about the row. If the markers are not in that order, each is replaced in its place.
    ///
    /// # Errors
    ///
    /// A chain of thought that holds the configured end marker, which is not the data's.
    pub(super) fn translate(&self, text: &str, options: LayoutOptions) -> Result<String, RowProblem> {
        let sections = options.sections;
        let parts = text.split_once(self.thinking_end).and_then(|(opened, after)| {
            let (before, thought) = opened.split_once(self.thinking_start)?;
            Some((before, thought, after))
        });
        let Some((before, thought, after)) = parts else {
            return Ok(self.replace(text, sections).trim().to_owned());
        };
        if options.rules >= RowRules::Second && thought.contains(&sections.thinking_end) {
            return Err(RowProblem::SecondEndMarker {
                field: "the chain of thought".to_owned(),
                marker: sections.thinking_end.clone(),
            });
        }
        let (before, after) = (self.replace(before, sections), self.replace(after, sections));
        let (thought, answer) = (self.replace(thought, sections), after.trim());
        let text = match thought.trim() {
            "" => answer.to_owned(),
            thought => with_thinking(sections, thought, answer),
        };
        Ok(format!("{}{text}", before.trim_start()))
    }

    /// The text with each marker replaced in its place.
    pub(super) fn replace(&self, text: &str, sections: &SectionSettings) -> String {
        let mut text = text
            .replace(self.thinking_start, &sections.thinking_start)
            .replace(self.thinking_end, &sections.thinking_end);
        for marker in self.removed {
            text = text.replace(marker, "");
        }
        text
    }
}

/// The assistant's text with its chain of thought inside the thinking markers, as reasoning models write it.
pub(crate) fn with_thinking(sections: &SectionSettings, chain_of_thought: &str, answer: &str) -> String {
    let SectionSettings {
        thinking_start,
        thinking_end,
        ..
    } = sections;
    let thinking = format!("{thinking_start}\n{chain_of_thought}\n{thinking_end}");
    if answer.is_empty() {
        thinking
    } else {
        format!("{thinking}\n\n{answer}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{ColumnNames, tests::options};

    fn translated(markers: &DataMarkers, text: &str, sections: &SectionSettings) -> Result<String, String> {
        let columns = ColumnNames::default();
        let translated = markers.translate(text, options(&columns, sections));
        translated.map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_configured_end_marker_inside_a_thought_with_other_markers_is_refused() {
        let sections = SectionSettings::default();
        let text = "<|begin_of_thought|>one</think>two<|end_of_thought|>4";
        assert_eq!(
            translated(&THOUGHT_AND_SOLUTION, text, &sections).unwrap_err(),
            "the chain of thought holds `</think>`, but the chain of thought gets that marker at its end"
        );
    }

    #[test]
    fn thought_and_solution_become_what_reasoning_models_write() {
        let sections = SectionSettings::default();
        for (text, expected) in [
            (
                "<|begin_of_thought|>\n\nhm\n\nso\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n4\n\n<|end_of_solution|>",
                "<think>\nhm\n\nso\n</think>\n\n4",
            ),
            ("\n<|begin_of_thought|>t<|end_of_thought|>", "<think>\nt\n</think>"),
            // Text outside of both is kept.
            (
                "Well: <|begin_of_thought|>t<|end_of_thought|> and <|begin_of_solution|>s<|end_of_solution|>!\n",
                "Well: <think>\nt\n</think>\n\nand s!",
            ),
            // An empty thought.
            (
                "<|begin_of_thought|> \n<|end_of_thought|><|begin_of_solution|>s<|end_of_solution|>",
                "s",
            ),
            ("<|begin_of_solution|>\ns\n<|end_of_solution|>", "s"),
            // Not closed, not opened, in the wrong order.
            ("<|begin_of_thought|>t", "<think>t"),
            ("t<|end_of_thought|>s", "t</think>s"),
            ("<|end_of_thought|>t<|begin_of_thought|>", "</think>t<think>"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(
                translated(&THOUGHT_AND_SOLUTION, text, &sections).unwrap(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn the_markers_are_the_configured_ones() {
        let sections = SectionSettings {
            thinking_start: "[thought]".into(),
            thinking_end: "[/thought]".into(),
            ..SectionSettings::default()
        };
        assert_eq!(
            translated(&THINK, "<think>\nt\n</think>\n\na", &sections).unwrap(),
            "[thought]\nt\n[/thought]\n\na"
        );
        assert_eq!(translated(&THINK, "t</think>a", &sections).unwrap(), "t[/thought]a");
        let plain = translated(&THINK, "<think>\nt\n</think>\n\na", &SectionSettings::default()).unwrap();
        assert_eq!(plain, "<think>\nt\n</think>\n\na");
    }
}
