//! The forms of answers, written as the engines write them.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// What is said of a position.
pub(super) struct Row {
    pub(super) top: Vec<(u32, f32)>,
    pub(super) target: (u32, f32),
}

/// A number as Python writes it.
fn number(value: f32) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        f32::NEG_INFINITY => "-9999.0".to_owned(),
        value => f64::from(value).to_string(),
    }
}

/// The answer of vLLM, as of `model`.
pub(super) fn in_vllms_form(rows: &[Row], model: &str) -> String {
    let mut text = format!(
        r#"{{"object":"text_completion","model":"{model}","choices":[{{"index":0,"text":"x","prompt_logprobs":[null"#
    );
    for row in rows {
        let is_apart = row.top.iter().all(|(token, _)| *token != row.target.0);
        let entries = row.top.iter().chain(is_apart.then_some(&row.target)).enumerate();
        let entries: Vec<String> = entries
            .map(|(place, (token, logprob))| {
                let (rank, logprob) = (place + 1, number(*logprob));
                format!(r#""{token}":{{"logprob":{logprob},"rank":{rank},"decoded_token":"é"}}"#)
            })
            .collect();
        write!(text, ",{{{}}}", entries.join(",")).unwrap();
    }
    text + "]}]}"
}

/// The answer of SGLang about `tokens`: flat arrays in base64, or lists of lists.
pub(super) fn in_sglangs_form(tokens: &[u32], rows: &[Row], in_base64: bool) -> String {
    let targets: Vec<String> = rows
        .iter()
        .map(|row| format!(",[{},{},null]", number(row.target.1), row.target.0))
        .collect();
    let targets = targets.concat();
    let first = tokens[0];
    let top = if in_base64 {
        let all = || rows.iter().flat_map(|row| &row.top);
        let values: Vec<u8> = all().flat_map(|(_, logprob)| logprob.to_le_bytes()).collect();
        let ids: Vec<u8> = all().flat_map(|(token, _)| (*token as i32).to_le_bytes()).collect();
        format!(
            r#""input_top_logprobs_val_flat_b64":"{}","input_top_logprobs_idx_flat_b64":"{}","input_top_logprobs_null_prefix":1,
            "input_top_logprobs_val_flat_b64_dtype":"float32","input_top_logprobs_idx_flat_b64_dtype":"int32""#,
            BASE64_STANDARD.encode(values),
            BASE64_STANDARD.encode(ids)
        )
    } else {
        let listed = |row: &Row| {
            let entries = row
                .top
                .iter()
                .map(|(token, logprob)| format!("[{},{token},null]", number(*logprob)));
            format!(",[{}]", entries.collect::<Vec<_>>().join(","))
        };
        format!(
            r#""input_top_logprobs":[null{}]"#,
            rows.iter().map(listed).collect::<String>()
        )
    };
    format!(r#"{{"text":"x","meta_info":{{"input_token_logprobs":[[null,{first},null]{targets}],{top}}}}}"#)
}
