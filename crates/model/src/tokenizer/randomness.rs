//! Refuses tokenizers that draw at random: the same text must always give the same tokens.

use tokenizers::{ModelWrapper, Tokenizer};

/// # Errors
///
/// If merges are left out at random (BPE dropout).
pub(super) fn refuse(tokenizer: &Tokenizer) -> Result<(), String> {
    match tokenizer.get_model() {
        ModelWrapper::BPE(model) => match model.dropout {
            Some(dropout) if dropout > 0.0 => Err(format!(
                "`model.dropout` in its `tokenizer.json` is {dropout}, so the same text gives other tokens each time; set it to \
                 null"
            )),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}
