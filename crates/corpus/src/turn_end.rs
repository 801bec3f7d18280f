//! Finds the text with which a chat template ends the assistant's turn, and the token in it.
//!
//! The template is rendered with a reply whose end is recognised. A template may refuse a plain reply, or leave it out: one
//! that asks for thinking, or for markers of its own. So other replies follow until one is seen. The caller knows which texts are
//! tokens.

use serde_json::{Map, Value};

use crate::{ChatTemplate, Given, Message, Role, SectionSettings};

/// Stands for the assistant's words. It has no letters, which a template may change.
const ANSWER: &str = "\u{e000}\u{e001}\u{e000}";

/// Stands for what the user says next.
const NEXT: &str = "\u{e000}\u{e002}\u{e000}";

const SYSTEM: &str = "instructions";

const QUESTION: &str = "question";

const THOUGHT: &str = "thought";

/// The names of the field of a message with its thinking.
const THINKING_FIELDS: [&str; 2] = ["reasoning", "thinking"];

/// The most texts that a template looks for and that are tried in replies.
const MOST_MARKERS: usize = 8;

/// The most bytes of such a text.
const MARKER_BYTES: usize = 40;

/// The token with which `template` ends the assistant's turn; `None` if it shows none. `added_tokens` finds the added tokens in a
/// text, and `starting` is the token with which texts begin, if it ends none.
///
/// A model that learnt from this template writes what follows the assistant's words at the end of a conversation. If that has no
/// token, one that comes only before the next turn counts, but none of the next turn's own header: the model does not learn to
/// write it. The header counts if nothing else ends a turn.
pub fn end_of_turn(
    template: &ChatTemplate,
    sections: &SectionSettings,
    added_tokens: impl Fn(&str) -> Vec<u32>,
    starting: Option<u32>,
) -> Option<u32> {
    let after = after_turn(template, sections);
    let opening = added_tokens(&after.opening);
    let between = added_tokens(&after.between).into_iter();
    let between: Vec<u32> = between.filter(|&token| Some(token) != starting).collect();
    let of_next_turn_only = || between.iter().find(|token| !opening.contains(token));
    let of_header = || between.first().filter(|_| after.at_the_end.is_empty());
    let at_the_end = added_tokens(&after.at_the_end).into_iter().next();
    at_the_end.or_else(|| of_next_turn_only().or_else(of_header).copied())
}

/// The texts around turns, each empty if it is white space alone or not shown.
#[derive(Default)]
struct AfterTurn {
    /// What follows the assistant's words at the end of a conversation.
    at_the_end: String,
    /// What stands between the assistant's words and the user's next ones.
    between: String,
    /// What stands before the user's first words, behind the system prompt.
    opening: String,
}

impl AfterTurn {
    fn is_empty(&self) -> bool {
        self.at_the_end.is_empty() && self.between.is_empty()
    }
}

fn after_turn(template: &ChatTemplate, sections: &SectionSettings) -> AfterTurn {
    let usual = usual_replies(sections).into_iter();
    let unusual = || replies_with(&looked_for(&template.source())).into_iter();
    // These are made only if none of the usual replies is seen.
    let mut replies = usual.chain(std::iter::once_with(unusual).flatten());
    let seen = replies.find_map(|reply| {
        let openings = [vec![], vec![Message::new(Role::System, SYSTEM)]];
        let mut texts = (openings.into_iter()).map(|opening| texts_after(template, opening, &reply));
        texts.find(|after| !after.is_empty())
    });
    seen.unwrap_or_default()
}

/// What the template writes after `reply` in a conversation that begins with `opening`.
fn texts_after(template: &ChatTemplate, opening: Vec<Message>, reply: &Message) -> AfterTurn {
    let mut messages = opening;
    messages.extend([Message::new(Role::User, QUESTION), reply.clone()]);
    let halves = |messages: &[Message]| {
        let text = template.try_render(messages, &Given::default(), false).ok()?;
        let (before, after) = text.rsplit_once(ANSWER)?;
        Some((before.to_owned(), after.to_owned()))
    };
    let ending = halves(&messages);
    messages.push(Message::new(Role::User, NEXT));
    let continued = halves(&messages);
    let before = ending
        .as_ref()
        .or(continued.as_ref())
        .map(|(before, _)| before.as_str());
    let opening = before.and_then(|before| {
        let opening = before.rsplit_once(QUESTION)?.0;
        Some(
            opening
                .rsplit_once(SYSTEM)
                .map_or(opening, |(_, behind)| behind)
                .to_owned(),
        )
    });
    let between = continued.and_then(|(_, after)| Some(after.split_once(NEXT)?.0.to_owned()));
    let shown = |text: Option<String>| text.filter(|text| !text.trim().is_empty()).unwrap_or_default();
    AfterTurn {
        at_the_end: shown(ending.map(|(_, after)| after)),
        between: shown(between),
        opening: shown(opening),
    }
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
        let after = after_turn(&template, &SectionSettings::default());
        let texts = [after.at_the_end, after.between].into_iter();
        texts.filter(|text| !text.is_empty()).collect()
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
    fn a_token_of_the_next_turns_header_ends_no_turn_that_ends_with_text() {
        const TOKENS: [&str; 4] = ["<bos>", "<eos>", "<sep>", "<user>"];
        let added_tokens = |text: &str| {
            let starts = (0..text.len()).filter(|&at| text.is_char_boundary(at));
            let token = |at| TOKENS.iter().position(|token| text[at..].starts_with(token));
            starts.filter_map(token).map(|id| u32::try_from(id).unwrap()).collect()
        };
        let found_from = |of_user: &str, of_reply: &str, starting| {
            let source = format!(
                "{{% for m in messages %}}{{% if m.role == 'user' %}}{of_user}{{% else %}}{of_reply}{{% endif %}}{{% endfor %}}"
            );
            let template = ChatTemplate::new(&source, Some("<bos>"), Some("<eos>")).unwrap();
            end_of_turn(&template, &SectionSettings::default(), added_tokens, starting)
        };
        let found = |of_user, of_reply| found_from(of_user, of_reply, Some(0));
        let llama = "{{ bos_token }}[INST] {{ m.content }} [/INST]";
        assert_eq!(found(llama, "{{ m.content }}###"), None);
        assert_eq!(found(llama, "{{ m.content }}{{ eos_token }}"), Some(1));
        assert_eq!(found("<user>{{ m.content }}", "{{ m.content }}###"), None);
        // The end comes only before the next turn.
        let separated = "{{ m.content }}###{% if not loop.last %}<sep>{% endif %}";
        assert_eq!(found("<user>{{ m.content }}", separated), Some(2));
        assert_eq!(found(llama, separated), Some(2));
        let ended = "{{ m.content }}{% if not loop.last %}{{ eos_token }}{% endif %}";
        assert_eq!(found(llama, ended), Some(1));
        // The next header is all that ends a turn.
        assert_eq!(found("<user>{{ m.content }}", "{{ m.content }}"), Some(3));
        assert_eq!(found(llama, "{{ m.content }}"), None);
        // The token with which texts begin ends them, too.
        assert_eq!(found_from(llama, "{{ m.content }}", None), Some(0));
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
