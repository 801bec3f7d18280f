//! The forms of SGLang's answers: `input_top_logprobs` of `/generate`, as flat arrays in base64, as flat lists, or as lists of
//! lists from versions that do not know the others.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::PositionAnswer;

pub(super) const PATH: &str = "/generate";

/// A request for the `k` most probable tokens at every position of `tokens`.
pub(super) fn request(tokens: &[u32], k: usize) -> Value {
    json!({
        "input_ids": tokens,
        "sampling_params": { "max_new_tokens": 1, "temperature": 1.0 },
        "return_logprob": true,
        "logprob_start_len": 0,
        "top_logprobs_num": k,
        "return_flat_raw_top_logprobs": true,
        "return_flat_raw_top_logprobs_b64": true,
        "stream": false,
    })
}

/// The most bytes of an answer: lists of lists are the longest form.
pub(super) fn most_bytes(tokens: usize, k: usize) -> u64 {
    (1 << 20) + tokens as u64 * (k as u64 + 2) * 256
}

#[derive(Deserialize)]
struct Generated {
    meta_info: Facts,
}

/// A log-probability, its token, and the token's text or null.
#[derive(Deserialize)]
struct Listed(Option<f64>, u32, #[serde(default)] serde::de::IgnoredAny);

#[expect(clippy::struct_field_names, reason = "SGLang's own names")]
#[derive(Deserialize)]
struct Facts {
    input_token_logprobs: Option<Vec<Listed>>,
    input_top_logprobs: Option<Vec<Option<Vec<Listed>>>>,
    input_top_logprobs_val_flat: Option<Vec<f64>>,
    input_top_logprobs_idx_flat: Option<Vec<i64>>,
    input_top_logprobs_val_flat_b64: Option<String>,
    input_top_logprobs_idx_flat_b64: Option<String>,
    input_top_logprobs_val_flat_b64_dtype: Option<String>,
    input_top_logprobs_idx_flat_b64_dtype: Option<String>,
    input_top_logprobs_null_prefix: Option<usize>,
}

/// The answers about the positions of a request of `tokens`: one for every token but the first.
///
/// # Errors
///
/// Says what is not in SGLang's form.
pub(super) fn read(body: &[u8], tokens: &[u32]) -> Result<Vec<PositionAnswer>, String> {
    let Generated { meta_info: facts } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let targets = facts
        .input_token_logprobs
        .as_ref()
        .ok_or("it has no `input_token_logprobs`")?;
    if let Some((place, (Listed(_, found, _), sent))) = targets
        .iter()
        .zip(tokens)
        .enumerate()
        .find(|(_, (Listed(_, found, _), sent))| found != *sent)
    {
        return Err(format!(
            "it is about token {found} in place {place}, where {sent} was sent"
        ));
    }
    let rows = rows(&facts)?;
    if targets.len() != rows.len() + 1 {
        let (targets, rows) = (targets.len(), rows.len());
        return Err(format!(
            "it has {targets} `input_token_logprobs`, and {rows} rows of `input_top_logprobs`"
        ));
    }
    rows.into_iter()
        .zip(&targets[1..])
        .map(|(entries, Listed(target, _, _))| {
            let target = Some(target.ok_or("a token has no log-probability")? as f32);
            Ok(PositionAnswer { entries, target })
        })
        .collect()
}

/// The entries of each position but the first token's, in whichever form they are.
fn rows(facts: &Facts) -> Result<Vec<Vec<(u32, f32)>>, String> {
    if let Some(nested) = &facts.input_top_logprobs {
        let row = |row: &Option<Vec<Listed>>| -> Result<Vec<(u32, f32)>, String> {
            let row = row
                .as_ref()
                .ok_or("`input_top_logprobs` has a null that is not the first")?;
            row.iter()
                .map(|Listed(logprob, token, _)| Ok((*token, logprob.ok_or("an entry has no log-probability")? as f32)))
                .collect()
        };
        return nested.iter().skip(1).map(row).collect();
    }
    let (values, tokens): (Vec<f32>, Vec<i64>) = match facts {
        Facts {
            input_top_logprobs_val_flat_b64: Some(values),
            input_top_logprobs_idx_flat_b64: Some(tokens),
            input_top_logprobs_val_flat_b64_dtype: value_type,
            input_top_logprobs_idx_flat_b64_dtype: token_type,
            ..
        } => {
            let is = |found: &Option<String>, expected| found.as_deref().is_none_or(|found| found == expected);
            if !is(value_type, "float32") || !is(token_type, "int32") {
                return Err("its flat arrays are not of `float32` and `int32`".to_owned());
            }
            let tokens = words(tokens)?
                .into_iter()
                .map(|word| i64::from(i32::from_le_bytes(word)));
            (
                words(values)?.into_iter().map(f32::from_le_bytes).collect(),
                tokens.collect(),
            )
        }
        Facts {
            input_top_logprobs_val_flat: Some(values),
            input_top_logprobs_idx_flat: Some(tokens),
            ..
        } => (values.iter().map(|&value| value as f32).collect(), tokens.clone()),
        _ => return Err("it has no `input_top_logprobs` in any form".to_owned()),
    };
    if facts.input_top_logprobs_null_prefix.is_some_and(|prefix| prefix != 1) {
        return Err("more than the first token has no distribution".to_owned());
    }
    let positions = facts
        .input_token_logprobs
        .as_ref()
        .map_or(0, Vec::len)
        .saturating_sub(1);
    if values.len() != tokens.len() || positions == 0 || values.len() % positions != 0 || values.is_empty() {
        let (values, tokens) = (values.len(), tokens.len());
        return Err(format!(
            "it has {values} log-probabilities and {tokens} tokens for {positions} positions"
        ));
    }
    let entries = tokens
        .into_iter()
        .zip(values)
        .map(|(token, value)| match u32::try_from(token) {
            Ok(token) => Ok((token, value)),
            Err(_) => Err(format!("{token} is no token id")),
        });
    let entries: Vec<(u32, f32)> = entries.collect::<Result<_, _>>()?;
    let k = entries.len() / positions;
    Ok(entries.chunks(k).map(<[(u32, f32)]>::to_vec).collect())
}

/// The words of four bytes in a text in base64.
fn words(text: &str) -> Result<Vec<[u8; 4]>, String> {
    let bytes = BASE64_STANDARD
        .decode(text)
        .map_err(|error| format!("a flat array is damaged: {error}"))?;
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(format!("a flat array has {} bytes", bytes.len()));
    }
    Ok(words.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(top: &str) -> String {
        format!(
            r#"{{"text":"x","meta_info":{{"id":"r","input_token_logprobs":[[null,5,null],[-0.25,6,null],[-3.0,7,"c"]],{top}}}}}"#
        )
    }

    fn expected() -> Vec<PositionAnswer> {
        [(vec![(6, -0.25), (9, -1.5)], -0.25), (vec![(8, -0.5), (3, -2.0)], -3.0)]
            .map(|(entries, target)| PositionAnswer {
                entries,
                target: Some(target),
            })
            .to_vec()
    }

    #[test]
    fn every_form_of_an_answer_is_read() {
        let encode = |bytes: Vec<u8>| BASE64_STANDARD.encode(bytes);
        let values = encode(
            [-0.25f32, -1.5, -0.5, -2.0]
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        );
        let tokens = encode([6i32, 9, 8, 3].iter().flat_map(|token| token.to_le_bytes()).collect());
        for top in [
            format!(
                r#""input_top_logprobs_val_flat_b64":"{values}","input_top_logprobs_idx_flat_b64":"{tokens}",
                "input_top_logprobs_val_flat_b64_dtype":"float32","input_top_logprobs_idx_flat_b64_dtype":"int32",
                "input_top_logprobs_shape":[2,2],"input_top_logprobs_null_prefix":1"#
            ),
            r#""input_top_logprobs_val_flat":[-0.25,-1.5,-0.5,-2.0],"input_top_logprobs_idx_flat":[6,9,8,3],
               "input_top_logprobs_shape":[2,2],"input_top_logprobs_null_prefix":1"#
                .to_owned(),
            r#""input_top_logprobs":[null,[[-0.25,6,null],[-1.5,9,null]],[[-0.5,8,"x"],[-2.0,3,null]]]"#.to_owned(),
        ] {
            assert_eq!(read(meta(&top).as_bytes(), &[5, 6, 7]).unwrap(), expected(), "{top}");
        }
    }

    #[test]
    fn what_is_not_in_sglangs_form_is_named() {
        let flat = |values: &str, tokens: &str| {
            meta(&format!(
                r#""input_top_logprobs_val_flat_b64":"{values}","input_top_logprobs_idx_flat_b64":"{tokens}""#
            ))
        };
        for (body, problem) in [
            ("nonsense".to_owned(), "expected"),
            (r#"{"meta_info":{}}"#.to_owned(), "no `input_token_logprobs`"),
            (meta(r#""a":1"#), "in any form"),
            (flat("AAAA", "AAAA"), "3 bytes"),
            (flat("*", "AAAAAA=="), "damaged"),
            (
                flat("AAAAAA==", "AAAAAA=="),
                "1 log-probabilities and 1 tokens for 2 positions",
            ),
            (flat("AAAAAAAAAAA=", "AAAAAP////8="), "-1 is no token id"),
            (
                meta(r#""input_top_logprobs":[null,[[-1,1,null]]]"#),
                "3 `input_token_logprobs`, and 1 rows",
            ),
            (
                meta(r#""input_top_logprobs":[null,null,null]"#),
                "null that is not the first",
            ),
        ] {
            let error = read(body.as_bytes(), &[5, 6, 7]).unwrap_err();
            assert!(error.contains(problem), "{body}: {error}");
        }
        let other = read(meta(r#""input_top_logprobs":[]"#).as_bytes(), &[5, 1, 7]).unwrap_err();
        assert_eq!(other, "it is about token 6 in place 1, where 1 was sent");
    }
}
