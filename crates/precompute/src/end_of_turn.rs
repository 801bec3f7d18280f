//! The token that ends a turn, and the files by which an exported student knows it.

use leadspan_cache::Cache;
use leadspan_corpus::{self as corpus, ChatTemplate, SectionSettings};
use leadspan_model::{TokenizerBundle, files_with_stop_tokens};
use serde_json::{Map, Value};

use crate::PrecomputeError;

/// Files by name.
type Files = Vec<(String, Vec<u8>)>;

/// The name that files of a tokenizer and chat templates have for the token that ends a text.
const EOS_TOKEN: &str = "eos_token";
/// The files that say which one it is.
const NAMING: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

/// The token with which `template` ends the model's turn, if it shows one.
pub(crate) fn end_of_turn(
    template: &ChatTemplate,
    sections: &SectionSettings,
    tokenizer: &TokenizerBundle,
) -> Option<u32> {
    let added_tokens = |text: &str| tokenizer.added_tokens_in(text);
    corpus::end_of_turn(template, sections, added_tokens, tokenizer.starting_token())
}

/// What an exported student gets of the cache that it was trained on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudentFiles {
    /// The tokenizer's files, by name.
    pub files: Files,
    /// Whether the chat template shows no token that ends the model's turn, so that none of the files names one. `false` if there is
    /// no template that can be read.
    pub lacks_end_of_turn: bool,
}

/// The tokenizer's files for a student that is trained on `cache`. The token that ends a turn is among the stop tokens
/// in `generation_config.json`, also if an earlier version made the cache and left it out, and it is the tokenizer's `eos_token`,
/// unless the chat template writes that token elsewhere. Files that cannot be read as a tokenizer's stay as they are: training does
/// not need them.
///
/// # Errors
///
/// If a file is not the one that the cache states.
pub fn student_files(cache: &Cache) -> Result<StudentFiles, PrecomputeError> {
    let files = cache.tokenizer_contents()?;
    let dir = cache.tokenizer_dir();
    // Rules of a newer version, which are not read, do not change how a turn ends.
    let sections: SectionSettings = serde_json::from_value(cache.identity().sections.clone()).unwrap_or_default();
    let opened = |files: Files| TokenizerBundle::from_files(&dir, files).ok();
    // `None` without a template that can be read, and `Some(None)` if that shows no end.
    let end_of = |tokenizer: &TokenizerBundle| {
        let jinja = tokenizer.chat_template.as_deref()?;
        let template = ChatTemplate::of_model(jinja, tokenizer.named_tokens(), &sections.template_arguments).ok()?;
        Some(end_of_turn(&template, &sections, tokenizer))
    };
    let Some(tokenizer) = opened(files.clone()) else {
        return Ok(StudentFiles {
            files,
            lacks_end_of_turn: false,
        });
    };
    let shown = end_of(&tokenizer);
    let end = shown.flatten();
    let files = files_with_stop_tokens(&dir, None, &tokenizer, end.as_slice()).unwrap_or(files);
    let named = end.and_then(|end| with_eos_token(&files, &tokenizer, end));
    // With another name for it, the tokenizer must still give the same tokens, and the template the same end.
    let named = named.filter(|named| {
        let same = |changed: TokenizerBundle| changed.fingerprint == tokenizer.fingerprint && end_of(&changed) == shown;
        opened(named.clone()).is_some_and(same)
    });
    Ok(StudentFiles {
        files: named.unwrap_or(files),
        lacks_end_of_turn: shown == Some(None),
    })
}

/// The files with the token `end` as the `eos_token`, at which programs stop that do not read `generation_config.json`. `None` if it
/// is that, no file says which it is, or the chat template, which would then write another text, asks for it.
fn with_eos_token(files: &Files, tokenizer: &TokenizerBundle, end: u32) -> Option<Files> {
    let text = tokenizer.tokenizer.id_to_token(end)?;
    let asks = tokenizer
        .chat_template
        .as_deref()
        .is_some_and(|jinja| jinja.contains(EOS_TOKEN));
    if asks || tokenizer.special_token(EOS_TOKEN) == Some(&text) {
        return None;
    }
    let mut files = files.clone();
    let mut is_changed = false;
    for (_, bytes) in files.iter_mut().filter(|(name, _)| NAMING.contains(&name.as_str())) {
        let mut object: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
        let Some(named) = object.get_mut(EOS_TOKEN) else {
            continue;
        };
        *named = text.clone().into();
        *bytes = serde_json::to_vec_pretty(&object).ok()?;
        bytes.push(b'\n');
        is_changed = true;
    }
    is_changed.then_some(files)
}
