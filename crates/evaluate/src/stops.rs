//! What ends an answer.

use leadspan_corpus::{ChatTemplate, SectionSettings, end_of_turn};
use leadspan_model::{ModelError, ModelSource, TokenizerBundle, stop_tokens};

/// What ends an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stops {
    /// Tokens: those of the model's files, the one with which its chat template ends a turn, and those of `evaluate.stop`.
    pub(crate) tokens: Vec<u32>,
    /// The other texts of `evaluate.stop`.
    pub(crate) texts: Vec<String>,
    /// Whether it is known what ends a turn: the template shows a token that does, or `evaluate.stop` is set.
    pub(crate) are_of_turn: bool,
}

/// Finds what ends an answer.
pub(crate) fn stops(
    source: &ModelSource,
    tokenizer: &TokenizerBundle,
    template: &ChatTemplate,
    (sections, asked): (&SectionSettings, &[String]),
) -> Result<Stops, ModelError> {
    let mut tokens = stop_tokens(source, tokenizer)?;
    let added_tokens = |text: &str| tokenizer.added_tokens_in(text);
    let end_of_turn = end_of_turn(template, sections, added_tokens, tokenizer.starting_token());
    let are_of_turn = end_of_turn.is_some() || !asked.is_empty();
    let (of_tokens, texts): (Vec<_>, Vec<_>) = (asked.iter()).partition(|text| tokenizer.added_token(text).is_some());
    let asked = of_tokens.into_iter().filter_map(|text| tokenizer.added_token(text));
    for token in end_of_turn.into_iter().chain(asked) {
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    Ok(Stops {
        tokens,
        texts: texts.into_iter().cloned().collect(),
        are_of_turn,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_end_of_a_turn_and_what_is_asked_for_join_the_stop_tokens_of_the_model() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-teacher");
        let model = tempfile::tempdir().unwrap();
        for name in [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
        ] {
            fs::copy(fixture.join(name), model.path().join(name)).unwrap();
        }
        let found_with = |template: Option<&str>, eos_token_id: &str, asked: &[&str]| {
            let generation = format!("{{\"eos_token_id\": {eos_token_id}}}");
            fs::write(model.path().join("generation_config.json"), generation).unwrap();
            let source = ModelSource::open(model.path()).unwrap();
            let tokenizer = source.tokenizer().unwrap();
            let template = template.unwrap_or(tokenizer.chat_template.as_deref().unwrap());
            let template = ChatTemplate::new(template, None, None).unwrap();
            let asked: Vec<String> = asked.iter().map(|&text| text.to_owned()).collect();
            let found = stops(&source, &tokenizer, &template, (&SectionSettings::default(), &asked)).unwrap();
            (found.tokens, found.texts, found.are_of_turn)
        };
        let found = |eos_token_id: &str, asked: &[&str]| found_with(None, eos_token_id, asked);
        // The model of a base model names `<|endoftext|>`, and the template writes `<|im_end|>`.
        assert_eq!(found("0", &[]), (vec![0, 2], Vec::new(), true));
        assert_eq!(found("2", &[]), (vec![2], Vec::new(), true));
        let texts = vec!["</think".to_owned(), "Question:".to_owned()];
        let asked = ["</think", "<|im_start|>", "Question:", "<|im_end|>"];
        assert_eq!(found("0", &asked), (vec![0, 2, 1], texts, true));
        // Text comes before the token, and the template asks for thinking.
        let thinks = "{% for m in messages %}{% if m.role == 'assistant' %}{% if '</think>' not in m.content %}\
                      {{ raise_exception('think') }}{% endif %}<a>{{ m.content }}</a>\n<|im_end|>{% else %}\
                      {{ m.content }}{% endif %}{% endfor %}";
        assert_eq!(found_with(Some(thinks), "0", &[]), (vec![0, 2], Vec::new(), true));
        // No token: the model's own are all there is, unless something is asked for.
        let bare = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
        assert_eq!(found_with(Some(bare), "0", &[]), (vec![0], Vec::new(), false));
        // A token of the next turn's header is not that of a turn that ends with text.
        let textual = "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>{{ m.content }}{% else %}{{ m.content }}\
                       ###{% endif %}{% endfor %}";
        assert_eq!(found_with(Some(textual), "0", &[]), (vec![0], Vec::new(), false));
        let asked = (vec![0], vec!["user:".to_owned()], true);
        assert_eq!(found_with(Some(bare), "0", &["user:"]), asked);
    }
}
