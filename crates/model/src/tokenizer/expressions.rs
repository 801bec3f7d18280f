//! Refuses regular expressions of a `tokenizer.json` that take very long for some texts.
//!
//! An expression such as `(a+)+b` takes a time that grows exponentially with a run of the same letter. Each expression is
//! tried on short texts of that kind, made of the characters that it names and of one character of each class. The engine
//! counts its steps, so the verdict does not depend on the speed of the machine. What this does not find still ends: the
//! engine gives up after ten million steps at one place of a text, and the caller makes an error of it.

use std::collections::BTreeSet;

use onig::{MatchParam, Regex, SearchOptions};
use serde::Serialize;
use serde_json::Value;
use tokenizers::Tokenizer;

/// Bytes of each text.
const TEXT_BYTES: usize = 256;

/// The most steps at one place of a text. An expression that is linear takes a few for each byte.
const MOST_STEPS: u32 = 64 * TEXT_BYTES as u32;

/// The most characters and pairs of them that are taken out of one expression.
const MOST_UNITS: usize = 200;

/// One text or more of each class that expressions name.
const UNITS: [&str; 20] = [
    "a", "A", "0", " ", "\n", "\r", "\r\n", "\t", "_", "'", "é", "漢", "あ", "\u{300}", "!", "€", " a", "a ", "a0",
    "aA",
];

/// What follows the repetition. After these, the beginning of the expression follows: the engine does not start where a character that
/// the expression needs is missing.
const ENDS: [&str; 3] = ["!", "\u{0}", "\n"];

/// # Errors
///
/// The expression that takes too many steps.
pub(super) fn refuse_slow(tokenizer: &Tokenizer) -> Result<(), String> {
    let mut expressions = Vec::new();
    collect(tokenizer.get_normalizer(), &mut expressions);
    collect(tokenizer.get_pre_tokenizer(), &mut expressions);
    collect(tokenizer.get_decoder(), &mut expressions);
    for expression in expressions {
        // The tokenizer has compiled it, so this does not fail.
        let Ok(compiled) = Regex::new(&expression) else {
            continue;
        };
        let units = units(&expression);
        if let Some(unit) = units.iter().find(|unit| is_slow(&compiled, unit, &expression)) {
            return Err(format!(
                "the regular expression `{expression}` in its `tokenizer.json` takes very long for texts that repeat `{}`",
                unit.escape_debug()
            ));
        }
    }
    Ok(())
}

/// Adds the expressions of a part of a tokenizer.
fn collect(part: Option<&impl Serialize>, expressions: &mut Vec<String>) {
    fn walk(value: &Value, expressions: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(expression) if name == "Regex" => expressions.push(expression.clone()),
                        value => walk(value, expressions),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, expressions)),
            _ => {}
        }
    }
    // All parts serialize: this is how a tokenizer is saved.
    if let Some(Ok(value)) = part.map(serde_json::to_value) {
        walk(&value, expressions);
    }
}

/// Texts to repeat: those of [`UNITS`], the characters of the expression, and pairs of neighbours among them.
fn units(expression: &str) -> Vec<String> {
    let characters: Vec<char> = expression.chars().collect();
    let single: BTreeSet<String> = characters.iter().map(char::to_string).collect();
    let pairs: BTreeSet<String> = characters.windows(2).map(|pair| pair.iter().collect()).collect();
    let of_expression = single.into_iter().chain(pairs).take(MOST_UNITS);
    UNITS.iter().map(|&unit| unit.to_owned()).chain(of_expression).collect()
}

/// Whether finding all matches in a repetition of `unit` takes too many steps at one place.
fn is_slow(compiled: &Regex, unit: &str, expression: &str) -> bool {
    let run = unit.repeat(TEXT_BYTES / unit.len());
    let needed: String = expression.chars().take(TEXT_BYTES).collect();
    let mut texts: Vec<String> = ENDS.iter().map(|end| format!("{run}{end}{needed}")).collect();
    texts.push(run);
    texts.iter().any(|text| {
        let mut from = 0;
        while from < text.len() {
            let mut limits = MatchParam::default();
            limits.set_retry_limit_in_match(MOST_STEPS);
            let mut region = onig::Region::new();
            let found = compiled.search_with_param(
                text,
                from,
                text.len(),
                SearchOptions::SEARCH_OPTION_NONE,
                Some(&mut region),
                limits,
            );
            match found {
                Err(_) => return true,
                Ok(None) => return false,
                Ok(Some(_)) => {
                    let end = region.pos(0).map_or(text.len(), |(_, end)| end);
                    let next = text[from..].chars().next().map_or(1, char::len_utf8);
                    from = end.max(from + next);
                }
            }
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow_unit(expression: &str) -> Option<String> {
        let compiled = Regex::new(expression).unwrap();
        units(expression)
            .into_iter()
            .find(|unit| is_slow(&compiled, unit, expression))
    }

    #[test]
    fn expressions_of_exponential_and_quadratic_time_are_found() {
        for expression in [
            r"(a+)+b",
            r"(?:a|a)*b",
            r"(\w+\s?)*:",
            r"(?:\p{L}|[a-z])+;",
            r"(x+x+)+y",
            r"(?:ab|ab)*c",
            r"(\s|\n)*#",
            r"(.+)+=",
            r"\p{L}*\p{L}*\p{L}*\d",
            r"(?=(\d+)+x)\d",
        ] {
            assert!(slow_unit(expression).is_some(), "{expression}");
        }
    }

    #[test]
    fn expressions_of_known_models_pass() {
        for expression in [
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
            "[一-龥\u{3040}-ゟ゠-ヿ]+",
            r"\p{N}{1,3}",
        ] {
            assert_eq!(slow_unit(expression), None, "{expression}");
        }
    }
}
