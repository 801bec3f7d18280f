//! The token that ends a turn, and the files by which an exported student knows it.

use leadspan_cache::Cache;
use leadspan_corpus::{self as corpus, ChatTemplate, SectionSettings};
use leadspan_model::{TokenizerBundle, files_with_stop_tokens};

use crate::PrecomputeError;

/// The token with which `template` ends the model's turn, if it shows one.
pub(crate) fn end_of_turn(
    template: &ChatTemplate,
    sections: &SectionSettings,
    tokenizer: &TokenizerBundle,
) -> Option<u32> {
    let added_tokens = |text: &str| tokenizer.added_tokens_in(text);
    corpus::end_of_turn(template, sections, added_tokens, tokenizer.starting_token())
}

/// The tokenizer's files for a student that is trained on `cache`, by name. The token that ends a turn is among the stop tokens
/// in `generation_config.json`, also if an earlier version made the cache and left it out. Files that cannot be read as a
/// tokenizer's stay as they are: training does not need them.
///
/// # Errors
///
/// If a file is not the one that the cache states.
pub fn student_files(cache: &Cache) -> Result<Vec<(String, Vec<u8>)>, PrecomputeError> {
    let files = cache.tokenizer_contents()?;
    let dir = cache.tokenizer_dir();
    let Ok(tokenizer) = TokenizerBundle::from_files(&dir, files.clone()) else {
        return Ok(files);
    };
    // Rules of a newer version, which are not read, do not change how a turn ends.
    let sections: SectionSettings = serde_json::from_value(cache.identity().sections.clone()).unwrap_or_default();
    let end = tokenizer.chat_template.as_deref().and_then(|jinja| {
        let template = ChatTemplate::of_model(jinja, tokenizer.named_tokens(), &sections.template_arguments).ok()?;
        end_of_turn(&template, &sections, &tokenizer)
    });
    Ok(files_with_stop_tokens(&dir, None, &tokenizer, end.as_slice()).unwrap_or(files))
}
