//! Finds the text with which a chat template ends the assistant's turn.
//!
//! The template is rendered with a reply whose end is recognised. A template may refuse a plain reply, or leave it out: one
//! that asks for thinking, or for markers of its own. So other replies follow until one is seen. This file does not know which
//! texts are tokens.

use serde_json::{Map, Value};

use crate::{ChatTemplate, Given, Message, Role, SectionSettings};

/// Stands for the assistant's words. It has no letters, which a template may change.
const ANSWER: &str = "\u{e000}\u{e001}\u{e000}";

/// Stands for what the user says next.
const NEXT: &str = "\u{e000}\u{e002}\u{e000}";

const THOUGHT: &str = "thought";

/// The names of the field of a message with its thinking.
const THINKING_FIELDS: [&str; 2] = ["reasoning", "thinking"];

/// The most texts that a template looks for and that are tried in replies.
const MOST_MARKERS: usize = 8;

/// The most bytes of such a text.
const MARKER_BYTES: usize = 40;

/// The texts that follow the assistant's words: at the end of a conversation, and before the user's next words. Texts of white
/// space alone are left out, so the result is empty if the template shows neither.
///
/// A model that learnt from this template writes the first of them when its turn is over.
pub fn texts_after_turn(template: &ChatTemplate, sections: &SectionSettings) -> Vec<String> {
    let usual = usual_replies(sections).into_iter();
    let unusual = || replies_with(&looked_for(&template.source())).into_iter();
    // These are made only if none of the usual replies is seen.
    let mut replies = usual.chain(std::iter::once_with(unusual).flatten());
    let seen = replies.find_map(|reply| {
        let openings = [vec![], vec![Message::new(Role::System, "instructions")]];
        let mut texts = (openings.into_iter()).map(|opening| texts_after(template, opening, &reply));
        texts.find(|texts| !texts.is_empty())
    });
    seen.unwrap_or_default()
}

/// What the template writes after `reply` in a conversation that begins with `opening`.
fn texts_after(template: &ChatTemplate, opening: Vec<Message>, reply: &Message) -> Vec<String> {
    let mut messages = opening;
    messages.extend([Message::new(Role::User, "question"), reply.clone()]);
    let after = |messages: &[Message]| {
        let text = template.try_render(messages, &Given::default(), false).ok()?;
        Some(text.rsplit_once(ANSWER)?.1.to_owned())
    };
    let at_the_end = after(&messages);
    messages.push(Message::new(Role::User, NEXT));
    let between = after(&messages).and_then(|rest| Some(rest.split_once(NEXT)?.0.to_owned()));
    let texts = at_the_end.into_iter().chain(between);
    texts.filter(|text| !text.trim().is_empty()).collect()
}

/// A plain reply, and replies with thinking beside or inside the content.
fn usual_replies(sections: &SectionSettings) -> Vec<Message> {
    let plain = Message::new(Role::Assistant, ANSWER);
    let other = THINKING_FIELDS.map(|name| (name.to_owned(), Value::from(THOUGHT)));
    let apart = Message {
        reasoning_content: Some(THOUGHT.to_owned()),
        other: Map::from_iter(other),
        ..plain.clone()
    };
    let inside = thinking_reply(&sections.thinking_start, &sections.thinking_end);
    vec![plain, apart, inside]
}

fn thinking_reply(start: &str, end: &str) -> Message {
    Message::new(Role::Assistant, format!("{start}\n{THOUGHT}\n{end}\n\n{ANSWER}"))
}

/// Replies with one of the markers at either end, and with two of them around a thought.
fn replies_with(markers: &[String]) -> Vec<Message> {
    let mut replies = Vec::new();
    for marker in markers {
        replies.push(Message::new(Role::Assistant, format!("{marker}\n{ANSWER}")));
        replies.push(Message::new(Role::Assistant, format!("{ANSWER}{marker}")));
        let others = markers.iter().filter(|other| *other != marker);
        replies.extend(others.map(|other| thinking_reply(marker, other)));
    }
    replies
}

/// The quoted texts of a template that it seems to look for, as in `'[END]' in content` and `content.split('[END]')`.
fn looked_for(source: &str) -> Vec<String> {
    let before_in = source.match_indices(" in ").filter_map(|(at, _)| {
        let before = source[..at].trim_end();
        let before = before.strip_suffix(" not").unwrap_or(before).trim_end();
        let quote = before.chars().next_back().filter(|last| ['\'', '"'].contains(last))?;
        Some(before.strip_suffix(quote)?.rsplit_once(quote)?.1)
    });
    let argument = source.match_indices('(').filter_map(|(at, _)| {
        let after = source[at + 1..].trim_start();
        let quote = after.chars().next().filter(|first| ['\'', '"'].contains(first))?;
        Some(after.strip_prefix(quote)?.split_once(quote)?.0)
    });
    let mut found: Vec<String> = Vec::new();
    for text in before_in.chain(argument) {
        let text = text.replace("\\n", "\n");
        // Names of fields and roles are words.
        let is_word = text.trim().chars().all(|c| c.is_alphanumeric() || c == '_');
        if !is_word && text.len() <= MARKER_BYTES && !found.contains(&text) && found.len() < MOST_MARKERS {
            found.push(text);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::tests::*;

    fn found(source: &str) -> Vec<String> {
        let template = ChatTemplate::new(source, Some("<bos>"), Some("<eos>")).unwrap();
        texts_after_turn(&template, &SectionSettings::default())
    }

    fn first(source: &str) -> Option<String> {
        found(source).into_iter().next()
    }

    #[test]
    fn the_text_after_the_assistants_words_is_found() {
        assert_eq!(first(SMOLLM2).as_deref(), Some("<|im_end|>\n"));
        assert_eq!(first(QWEN3).as_deref(), Some("<|im_end|>\n"));
        assert_eq!(first(LLAMA3).as_deref(), Some("<|eot_id|>"));
        assert_eq!(first(R1).as_deref(), Some("<eos>"));
        assert_eq!(first(NO_GENERATION_PROMPT).as_deref(), Some("\n\n### user:\n"));
        // The next turn's header is all that ends a turn.
        let headers = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}";
        assert_eq!(found(headers), ["<|user|>\n"]);
        // Both are told: only one of them may have a token.
        let closed = "{% for m in messages %}<|{{ m.role }}|><a>{{ m.content }}</a>{% endfor %}";
        assert_eq!(found(closed), ["</a>", "</a><|user|><a>"]);
        assert!(found("{{ messages[0].content }}").is_empty());
        assert!(found("{{ raise_exception('no') }}").is_empty());
    }

    #[test]
    fn a_template_that_refuses_or_changes_a_plain_reply_is_given_others() {
        let each = |of_reply: &str| {
            format!(
                "{{% for m in messages %}}{{% if m.role == 'assistant' %}}{of_reply}<end>{{% else %}}{{{{ m.content }}}}\
                 {{% endif %}}{{% endfor %}}"
            )
        };
        for of_reply in [
            // Thinking apart from the content, by each of its names.
            "{% if not m.reasoning_content %}{{ raise_exception('think') }}{% endif %}{{ m.content }}",
            "{% if not m.thinking %}{{ raise_exception('think') }}{% endif %}{{ m.content }}",
            "{{ m.reasoning + m.content }}",
            // Thinking inside.
            "{% if '</think>' not in m.content %}{{ raise_exception('think') }}{% endif %}{{ m.content }}",
            "{{ m.content.split('</think>')[1] }}",
            "{{ (m.content.split('<think>')[1]).split('</think>')[1] | trim }}",
            // Markers of its own.
            "{% if '[THOUGHT]' in m.content %}{{ m.content.split(\"[ANSWER]\")[1] }}{% endif %}",
            "{{ m.content.split('<|answer|>')[1] }}",
            "{% if not m.content.endswith('</s>') %}{{ raise_exception('end') }}{% endif %}{{ m.content[:-4] }}",
            // Letters are changed.
            "{{ m.content | upper | trim }}",
        ] {
            assert_eq!(first(&each(of_reply)).as_deref(), Some("<end>"), "{of_reply}");
        }
        // A conversation must have a system prompt.
        let with_system = "{% if messages[0].role != 'system' %}{{ raise_exception('no') }}{% endif %}";
        let source = with_system.to_owned() + &each("{{ m.content }}");
        assert_eq!(first(&source).as_deref(), Some("<end>"));
        // A conversation must end with the user.
        let for_user = "{% if messages[-1].role != 'user' %}{{ raise_exception('no') }}{% endif %}";
        let source = for_user.to_owned() + &each("{{ m.content }}");
        assert_eq!(found(&source), ["<end>"]);
    }
}
