//! Finds the text with which a chat template ends the assistant's turn.

use crate::{ChatTemplate, Given, Message, Role};

/// Stands for the assistant's words.
const ANSWER: &str = "\u{e000}answer\u{e000}";

/// Stands for what the user says next.
const NEXT: &str = "\u{e000}next\u{e000}";

/// The text that follows the assistant's words at the end of a conversation; where that is nothing but white space, the text
/// that follows them before the user's next words. `None` if the template shows neither.
///
/// A model that learnt from this template writes this text when its turn is over.
pub fn text_after_turn(template: &ChatTemplate) -> Option<String> {
    let mut messages = vec![
        Message::new(Role::User, "question"),
        Message::new(Role::Assistant, ANSWER),
    ];
    let after = |messages: &[Message]| {
        let text = template.try_render(messages, &Given::default(), false).ok()?;
        Some(text.rsplit_once(ANSWER)?.1.to_owned())
    };
    let at_the_end = after(&messages).filter(|text| !text.trim().is_empty());
    at_the_end.or_else(|| {
        messages.push(Message::new(Role::User, NEXT));
        let rest = after(&messages)?;
        let (between, _) = rest.split_once(NEXT)?;
        Some(between.to_owned()).filter(|text| !text.trim().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::tests::*;

    #[test]
    fn the_text_after_the_assistants_words_is_found() {
        let found = |source: &str| {
            let template = ChatTemplate::new(source, Some("<bos>"), Some("<eos>")).unwrap();
            text_after_turn(&template)
        };
        assert_eq!(found(SMOLLM2).as_deref(), Some("<|im_end|>\n"));
        assert_eq!(found(QWEN3).as_deref(), Some("<|im_end|>\n"));
        assert_eq!(found(LLAMA3).as_deref(), Some("<|eot_id|>"));
        assert_eq!(found(R1).as_deref(), Some("<eos>"));
        assert_eq!(found(NO_GENERATION_PROMPT).as_deref(), Some("\n\n### user:\n"));
        // The next turn's header is all that ends a turn.
        let headers = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}";
        assert_eq!(found(headers).as_deref(), Some("<|user|>\n"));
        assert_eq!(found("{{ messages[0].content }}"), None);
        assert_eq!(found("{{ raise_exception('no') }}"), None);
    }
}
