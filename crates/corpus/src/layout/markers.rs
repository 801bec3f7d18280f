//! The rule that the last turn has one chain of thought: each thinking marker once, and nothing of the thinking in the answer.

use crate::{Message, RowProblem, RowRules, SectionSettings};

/// Checks the markers of the last turn, and takes off those around a thinking that is apart from the content.
///
/// A text before the thinking is allowed, and so is content without an end marker, which has no chain of thought.
pub(super) fn check(turn: &mut Message, sections: &SectionSettings, rules: RowRules) -> Result<(), RowProblem> {
    const CONTENT: &str = "the content of the last message";
    if rules < RowRules::Second {
        return Ok(());
    }
    check_one_end(turn, sections, rules)?;
    if rules < RowRules::Third {
        return Ok(());
    }
    match turn.reasoning_content.as_deref().filter(|text| !text.trim().is_empty()) {
        Some(reasoning) => {
            check_thinking(reasoning, "the thinking of the last message", sections)?;
            check_answer(&turn.content, CONTENT, sections)
        }
        None => match turn.content.split_once(&sections.thinking_end) {
            Some((opened, answer)) => {
                let thinking = opened.split_once(&sections.thinking_start);
                check_thinking(thinking.map_or(opened, |(_, thinking)| thinking), CONTENT, sections)?;
                check_answer(answer, CONTENT, sections)
            }
            None => Ok(()),
        },
    }
}

/// Checks that a chain of thought without its own markers has no start marker. `field` says where it is.
pub(super) fn check_thinking(thinking: &str, field: &str, sections: &SectionSettings) -> Result<(), RowProblem> {
    if thinking.contains(&sections.thinking_start) {
        return Err(RowProblem::StartInside {
            field: field.to_owned(),
            marker: sections.thinking_start.clone(),
        });
    }
    Ok(())
}

/// Checks that what follows a chain of thought has no thinking marker. `field` says where it is.
pub(super) fn check_answer(answer: &str, field: &str, sections: &SectionSettings) -> Result<(), RowProblem> {
    let markers = [&sections.thinking_end, &sections.thinking_start];
    match markers.into_iter().find(|marker| answer.contains(marker.as_str())) {
        Some(marker) => Err(RowProblem::MarkerInAnswer {
            field: field.to_owned(),
            marker: marker.clone(),
        }),
        None => Ok(()),
    }
}

/// Checks that a turn whose thinking is apart from its content has no other end marker, and takes off the markers around the
/// thinking.
fn check_one_end(turn: &mut Message, sections: &SectionSettings, rules: RowRules) -> Result<(), RowProblem> {
    let Some(reasoning) = turn.reasoning_content.as_mut().filter(|text| !text.trim().is_empty()) else {
        return Ok(());
    };
    let (start, end) = (&sections.thinking_start, &sections.thinking_end);
    let is_opened = rules >= RowRules::Third && reasoning.trim_start().starts_with(start);
    if is_opened || reasoning.contains(end) {
        let inside = reasoning.trim();
        let inside = inside.strip_prefix(start).unwrap_or(inside);
        *reasoning = inside.strip_suffix(end).unwrap_or(inside).to_owned();
    }
    let second = |field: &str| RowProblem::SecondEndMarker {
        field: field.to_owned(),
        marker: end.clone(),
    };
    if reasoning.contains(end) {
        return Err(second("the thinking of the last message"));
    }
    if turn.content.contains(end) {
        return Err(second("the content of the last message"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    #[test]
    fn thinking_apart_from_the_content_has_the_only_end_marker() {
        let of = |reasoning: &str, content: &str| {
            let mut turn = Message::new(Role::Assistant, content);
            turn.reasoning_content = Some(reasoning.to_owned());
            check(&mut turn, &SectionSettings::default(), RowRules::CURRENT)
                .map(|()| turn.reasoning_content.unwrap())
                .map_err(|problem| problem.to_string())
        };
        assert_eq!(of(" r ", "a").unwrap(), " r ");
        assert_eq!(of("<think>r</think>\n", "a").unwrap(), "r");
        assert_eq!(of("<think>r", "a").unwrap(), "r");
        assert_eq!(
            of("r <think> s", "a").unwrap_err(),
            "the thinking of the last message holds `<think>` inside the chain of thought, not at its beginning"
        );
        assert_eq!(
            of("r", "a <think>").unwrap_err(),
            "the content of the last message holds `<think>` after the chain of thought"
        );
        assert_eq!(of(" ", "<think>r</think>a").unwrap(), " ");
        assert_eq!(
            of("r", "<think>r</think>a").unwrap_err(),
            "the content of the last message holds `</think>`, but the chain of thought gets that marker at its end"
        );
        assert!(
            of("<think>r</think>a</think>", "a")
                .unwrap_err()
                .starts_with("the thinking of the last")
        );
    }

    #[test]
    fn content_has_each_marker_once() {
        let by = |rules, content: &str| {
            let mut turn = Message::new(Role::Assistant, content);
            check(&mut turn, &SectionSettings::default(), rules).map_err(|problem| problem.to_string())
        };
        for content in [
            "<think>r</think>a",
            "r</think>a",
            "well <think>r</think>a",
            "a",
            "<think>r",
            "the tag <think>, and again <think>",
            "</think>",
        ] {
            assert_eq!(by(RowRules::CURRENT, content), Ok(()), "{content}");
        }
        let after = |marker| {
            Err(format!(
                "the content of the last message holds `{marker}` after the chain of thought"
            ))
        };
        let inside =
            "the content of the last message holds `<think>` inside the chain of thought, not at its beginning";
        for (content, expected) in [
            ("<think>r</think>4</think>2", after("</think>")),
            ("<think>r</think>a<think>s</think>b", after("</think>")),
            ("<think>r</think>a<think>s", after("<think>")),
            ("r</think>a<think>", after("<think>")),
            ("<think><think>r</think>a", Err(inside.to_owned())),
            ("well <think>r<think>s</think>a", Err(inside.to_owned())),
        ] {
            assert_eq!(by(RowRules::CURRENT, content), expected, "{content}");
            // A corpus of older rules keeps its samples.
            assert_eq!(by(RowRules::Second, content), Ok(()), "{content}");
        }
    }
}
