//! Renders a conversation and finds where the content of its last turn begins.

use crate::{
    ChatTemplate, Given, Message, RowProblem, RowRules, SectionSettings, conversation::Conversation,
    layout::with_thinking, shown::Shown,
};

/// A rendered conversation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RenderedConversation {
    /// The whole text, without a generation prompt.
    pub(crate) text: String,
    /// The byte at which the last turn's content begins; `None` if the text does not show it.
    pub(crate) content_start: Option<usize>,
    /// Whether the last turn had a closed chain of thought before it was rendered.
    pub(crate) has_thinking: bool,
}

/// Renders a conversation that ends with the assistant's turn.
///
/// The content of that turn begins after the first of these that the text starts with:
///
/// 1. the conversation without the turn, rendered with a generation prompt. This is what the model is given to
///    continue, so thinking that is opened there is prompt;
/// 2. the text before a stand-in for the content, which is rendered in its place;
/// 3. for templates that have no generation prompt, the conversation without the turn.
///
/// If the template does not read `reasoning_content`, it goes between the thinking markers at the start of the content.
///
/// # Errors
///
/// If the template fails, or passes over a part of the conversation.
pub(crate) fn render(
    template: &ChatTemplate,
    conversation: Conversation,
    sections: &SectionSettings,
    rules: RowRules,
) -> Result<RenderedConversation, RowProblem> {
    let Conversation { mut messages, given } = conversation;
    let mut has_thinking = false;
    if let Some(last) = messages.last_mut() {
        if last
            .reasoning_content
            .as_deref()
            .is_some_and(|reasoning| reasoning.trim().is_empty())
        {
            last.reasoning_content = None;
        }
        has_thinking = last.reasoning_content.is_some() || last.content.contains(&sections.thinking_end);
        if !template.reads_reasoning_content()
            && let Some(reasoning) = last.reasoning_content.take()
        {
            last.content = with_thinking(sections, reasoning.trim(), &last.content);
        }
    }
    let rendered = template.try_render(&messages, &given, false);
    let text = rendered.map_err(|source| RowProblem::Template { source })?;
    if rules >= RowRules::Third {
        let shown = Shown {
            template,
            messages: &messages,
            given: &given,
            add_generation_prompt: false,
            thinking_end: &sections.thinking_end,
            text: &text,
        };
        shown.check()?;
    }
    let content_start = content_start(template, (&messages, &given), &text, sections);
    Ok(RenderedConversation {
        text,
        content_start,
        has_thinking,
    })
}

fn content_start(
    template: &ChatTemplate,
    (messages, given): (&[Message], &Given),
    text: &str,
    sections: &SectionSettings,
) -> Option<usize> {
    let (last, earlier) = messages.split_last()?;
    // A template may refuse a conversation without its last turn. The stand-in is used then.
    let opened = template
        .try_render(earlier, given, true)
        .ok()
        .filter(|opened| text.starts_with(opened.as_str()));
    let closed = template.try_render(earlier, given, false).ok();
    let has_generation_prompt = opened != closed;
    match opened {
        Some(opened) if has_generation_prompt => Some(opened.len()),
        opened => header_before_stand_in(template, last, (earlier, given), text, sections)
            .or_else(|| opened.filter(|opened| !opened.is_empty()).map(|opened| opened.len())),
    }
}

/// The length of the text before the last turn's content, found by rendering a stand-in for that content.
fn header_before_stand_in(
    template: &ChatTemplate,
    last: &Message,
    (earlier, given): (&[Message], &Given),
    text: &str,
    sections: &SectionSettings,
) -> Option<usize> {
    let stand_in = (0..=text.len())
        .map(|n| format!("\u{e000}leadspan{n}\u{e000}"))
        .find(|stand_in| !text.contains(stand_in))?;
    let mut messages = earlier.to_vec();
    let reasoning_content = last.reasoning_content.as_ref().map(|_| stand_in.clone());
    let thinks = reasoning_content.is_some();
    messages.push(Message {
        content: stand_in.clone(),
        reasoning_content,
        ..last.clone()
    });
    let rendered = template.try_render(&messages, given, false).ok()?;
    let header = rendered
        .split(&stand_in)
        .next()
        .filter(|header| header.len() < rendered.len())?;
    if !text.starts_with(header) {
        return None;
    }
    // The template writes the marker before a separate `reasoning_content`. The marker is part of the content.
    let before_marker = header
        .trim_end()
        .strip_suffix(&sections.thinking_start)
        .filter(|_| thinks);
    Some(before_marker.unwrap_or(header).len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Role, template::tests::*};

    fn rendered(template: &str, messages: Vec<Message>) -> RenderedConversation {
        let template = ChatTemplate::new(template, Some("<bos>"), Some("<eos>")).unwrap();
        let conversation = Conversation {
            messages,
            given: Given::default(),
        };
        let (sections, rules) = (SectionSettings::default(), RowRules::Second);
        render(&template, conversation, &sections, rules).unwrap()
    }

    fn content(template: &str, messages: Vec<Message>) -> String {
        let rendered = rendered(template, messages);
        rendered.text[rendered.content_start.unwrap()..].to_owned()
    }

    fn ask(answer: &str) -> Vec<Message> {
        vec![Message::new(Role::User, "q"), Message::new(Role::Assistant, answer)]
    }

    fn ask_apart(reasoning: &str, answer: &str) -> Vec<Message> {
        let mut messages = ask(answer);
        messages[1].reasoning_content = Some(reasoning.into());
        messages
    }

    #[test]
    fn the_content_begins_after_the_generation_prompt() {
        for template in [SMOLLM2, QWEN3] {
            let expected = "<think>\nr\n</think>\n\na<|im_end|>\n";
            assert_eq!(content(template, ask("<think>\nr\n</think>\n\na")), expected);
        }
        assert_eq!(content(LLAMA3, ask("<think>r</think>a")), "<think>r</think>a<|eot_id|>");
    }

    #[test]
    fn thinking_kept_apart_reaches_every_template() {
        for template in [SMOLLM2, QWEN3] {
            assert_eq!(
                content(template, ask_apart("r", "a")),
                "<think>\nr\n</think>\n\na<|im_end|>\n"
            );
        }
    }

    #[test]
    fn thinking_opened_by_the_generation_prompt_is_not_content() {
        assert_eq!(
            content(OPENS_THINKING, ask_apart("r", "a")),
            "r\n</think>\n\na<|im_end|>\n"
        );
    }

    #[test]
    fn a_turn_that_the_generation_prompt_does_not_open_is_found_by_a_stand_in() {
        // The generation prompt opens the thinking, but the finished turn does not repeat that.
        assert_eq!(content(R1, ask("r</think>a")), "r</think>a<eos>");
        // No generation prompt at all; the header is not content.
        assert_eq!(content(NO_GENERATION_PROMPT, ask("a")), "a\n\n");
        // Refuses a conversation whose last turn is the user's.
        assert_eq!(content(REFUSES_OPEN_CONVERSATIONS, ask("a")), "a;");
    }

    #[test]
    fn the_marker_that_a_template_writes_before_thinking_kept_apart_is_content() {
        let template = "{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content %}<think>\n\
            {{ m.reasoning_content }}</think>{% endif %}{{ m.content }}{% endfor %}";
        assert_eq!(content(template, ask_apart("r", "a")), "<think>\nr</think>a");
    }

    #[test]
    fn text_that_looks_like_the_stand_in_does_not_mislead() {
        let mut messages = ask("a");
        messages[0].content = "\u{e000}leadspan0\u{e000}".into();
        assert_eq!(content(NO_GENERATION_PROMPT, messages), "a\n\n");
    }

    #[test]
    fn a_turn_that_the_template_leaves_out_has_no_content() {
        let template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}\
            {% if add_generation_prompt %}>{% endif %}";
        assert_eq!(rendered(template, ask("a")).content_start, None);
    }

    #[test]
    fn thinking_that_a_template_removes_is_noticed() {
        let removed = rendered(REMOVES_THINKING, ask("<think>r</think>a"));
        assert!(removed.has_thinking && !removed.text.contains("</think>"));
        assert!(!rendered(REMOVES_THINKING, ask("a")).has_thinking);
    }
}
