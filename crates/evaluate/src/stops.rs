//! What ends an answer.

use leadspan_corpus::{ChatTemplate, text_after_turn};
use leadspan_model::{ModelError, ModelSource, TokenizerBundle, stop_tokens};

/// The tokens that end an answer, and the texts that do: those of the model's files, the one with which its chat template ends a
/// turn, and `evaluate.stop`.
pub(crate) fn stops(
    source: &ModelSource,
    tokenizer: &TokenizerBundle,
    template: &ChatTemplate,
    asked: &[String],
) -> Result<(Vec<u32>, Vec<String>), ModelError> {
    let mut tokens = stop_tokens(source, tokenizer)?;
    let end_of_turn = text_after_turn(template).and_then(|text| tokenizer.added_token_at_start(text.trim_start()));
    let (of_tokens, texts): (Vec<_>, Vec<_>) = (asked.iter()).partition(|text| tokenizer.added_token(text).is_some());
    let asked = of_tokens.into_iter().filter_map(|text| tokenizer.added_token(text));
    for token in end_of_turn.into_iter().chain(asked) {
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    Ok((tokens, texts.into_iter().cloned().collect()))
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
        let found = |eos_token_id: &str, asked: &[&str]| {
            let generation = format!("{{\"eos_token_id\": {eos_token_id}}}");
            fs::write(model.path().join("generation_config.json"), generation).unwrap();
            let source = ModelSource::open(model.path()).unwrap();
            let tokenizer = source.tokenizer().unwrap();
            let template = tokenizer.chat_template.as_deref().unwrap();
            let template = ChatTemplate::new(template, None, None).unwrap();
            let asked: Vec<String> = asked.iter().map(|&text| text.to_owned()).collect();
            stops(&source, &tokenizer, &template, &asked).unwrap()
        };
        // The model of a base model names `<|endoftext|>`, and the template writes `<|im_end|>`.
        assert_eq!(found("0", &[]), (vec![0, 2], Vec::new()));
        assert_eq!(found("2", &[]), (vec![2], Vec::new()));
        let texts = vec!["</think".to_owned(), "Question:".to_owned()];
        let asked = ["</think", "<|im_start|>", "Question:", "<|im_end|>"];
        assert_eq!(found("0", &asked), (vec![0, 2, 1], texts));
    }
}
