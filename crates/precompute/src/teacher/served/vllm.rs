//! The form of vLLM's answers: `prompt_logprobs` of `/v1/completions`.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::{Value, json};

use super::answer::{PositionAnswer, is_above};

pub(super) const PATH: &str = "/v1/completions";

/// A request for the `k` most probable tokens at every position of `tokens`.
pub(super) fn request(model: &str, tokens: &[u32], k: usize) -> Value {
    // The one token that is generated is not looked at: there must be one.
    json!({
        "model": model, "prompt": tokens, "max_tokens": 1, "temperature": 1.0, "prompt_logprobs": k, "stream": false,
    })
}

/// The most bytes of an answer: for each entry its token as text in several forms, and its numbers.
pub(super) fn most_bytes(tokens: usize, k: usize) -> u64 {
    (1 << 20) + tokens as u64 * (k as u64 + 1) * 512
}

#[derive(Deserialize)]
struct Completion {
    model: Option<String>,
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    prompt_logprobs: Option<Vec<Option<Entries>>>,
}

/// The object of a position: token ids with log-probabilities and, where they are stated, ranks.
struct Entries(Vec<(u32, f32, Option<i64>)>);

impl Entries {
    /// The tokens with their log-probabilities.
    ///
    /// # Errors
    ///
    /// If a token of a better rank is less probable, beyond rounding.
    fn ordered(self) -> Result<Vec<(u32, f32)>, String> {
        let mut ranked: Vec<(i64, u32, f32)> = self
            .0
            .iter()
            .filter_map(|&(token, logprob, rank)| Some((rank?, token, logprob)))
            .collect();
        ranked.sort_unstable_by_key(|&(rank, token, _)| (rank, token));
        let contradicts = |pair: &&[(i64, u32, f32)]| pair[0].0 < pair[1].0 && is_above(pair[1].2, pair[0].2);
        if let Some(&[(rank, token, logprob), (other_rank, other, other_logprob)]) = ranked.windows(2).find(contradicts)
        {
            return Err(format!(
                "token {token} has rank {rank} with the log-probability {logprob}, and token {other} has rank {other_rank} with \
                 {other_logprob}"
            ));
        }
        Ok(self.0.into_iter().map(|(token, logprob, _)| (token, logprob)).collect())
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Listed;
        #[derive(Deserialize)]
        struct Entry {
            logprob: f64,
            rank: Option<i64>,
        }
        impl<'de> Visitor<'de> for Listed {
            type Value = Entries;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object from token ids to log-probabilities")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                // A map would hide a token that is there twice.
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(0));
                while let Some((token, Entry { logprob, rank })) = map.next_entry::<String, Entry>()? {
                    let token = token
                        .parse()
                        .map_err(|_| A::Error::custom(format!("`{}` is no token id", token.escape_debug())))?;
                    entries.push((token, logprob as f32, rank));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Listed)
    }
}

/// The name of the model that answered, and the answers about the positions of a request: one for every token but the first.
///
/// # Errors
///
/// Says what is not in vLLM's form.
pub(super) fn read(body: &[u8]) -> Result<(Option<String>, Vec<PositionAnswer>), String> {
    let Completion { model, choices } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let [choice] = <[Choice; 1]>::try_from(choices).map_err(|choices| format!("{} choices", choices.len()))?;
    let positions = choice.prompt_logprobs.ok_or("it has no `prompt_logprobs`")?;
    let mut positions = positions.into_iter();
    if !matches!(positions.next(), Some(None)) {
        return Err("the first of its `prompt_logprobs` is not null".to_owned());
    }
    let answers = positions
        .enumerate()
        .map(|(number, position)| {
            let entries = position.ok_or("`prompt_logprobs` has a null that is not the first")?;
            let entries = entries.ordered().map_err(|why| format!("position {number}: {why}"))?;
            Ok(PositionAnswer { entries, target: None })
        })
        .collect::<Result<_, String>>()?;
    Ok((model, answers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_vllm_writes_it() {
        let body = br#"{"id":"c","object":"text_completion","model":"teacher","choices":[{"index":0,"text":"x","logprobs":null,
            "finish_reason":"length","prompt_logprobs":[null,
            {"6":{"logprob":-9.5,"rank":7,"decoded_token":"\u00e9"},"9":{"logprob":-0.5,"rank":1,"decoded_token":"a"}},
            {"7":{"logprob":-9999.0,"rank":1,"decoded_token":null}}]}],"usage":{"prompt_tokens":3}}"#;
        let (model, answers) = read(body).unwrap();
        assert_eq!(model.as_deref(), Some("teacher"));
        let entries: Vec<Vec<(u32, f32)>> = answers.into_iter().map(|position| position.entries).collect();
        assert_eq!(entries, [vec![(6, -9.5), (9, -0.5)], vec![(7, -9999.0)]]);
        let twice = br#"{"choices":[{"prompt_logprobs":[null,{"6":{"logprob":-1},"6":{"logprob":-2}}]}]}"#;
        let (model, answers) = read(twice).unwrap();
        assert_eq!((model, answers[0].entries.len()), (None, 2));
    }

    #[test]
    fn what_is_not_in_vllms_form_is_named() {
        for (body, problem) in [
            ("<html>", "expected value"),
            (r#"{"choices":[]}"#, "0 choices"),
            (r#"{"choices":[{}]}"#, "no `prompt_logprobs`"),
            (r#"{"choices":[{"prompt_logprobs":[{}]}]}"#, "is not null"),
            (
                r#"{"choices":[{"prompt_logprobs":[null,null]}]}"#,
                "a null that is not the first",
            ),
            (
                r#"{"choices":[{"prompt_logprobs":[null,{"x":{"logprob":-1}}]}]}"#,
                "no token id",
            ),
            (
                r#"{"choices":[{"prompt_logprobs":[null,{"-1":{"logprob":-1}}]}]}"#,
                "no token id",
            ),
            (
                r#"{"choices":[{"prompt_logprobs":[null,{"1":{"logprob":NaN}}]}]}"#,
                "expected value",
            ),
            // The entries are of another position than the target.
            (
                r#"{"choices":[{"prompt_logprobs":[null,{"6":{"logprob":-0.5,"rank":99},"9":{"logprob":-1,"rank":1},"8":{"logprob":-2,"rank":2}}]}]}"#,
                "position 0: token 8 has rank 2 with the log-probability -2, and token 6 has rank 99 with -0.5",
            ),
        ] {
            let error = read(body.as_bytes()).unwrap_err();
            assert!(error.contains(problem), "{body}: {error}");
        }
    }
}
