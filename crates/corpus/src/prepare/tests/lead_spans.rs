//! The column that says how much of each sample is kept.

use super::*;
use crate::PreparedSample;

/// Rows with these values of `keep`, as JSON; an empty text leaves the field out.
fn rows(values: &[&str]) -> String {
    let row = |(number, value): (usize, &&str)| {
        let messages = r#"[{"role":"user","content":"q"},{"role":"assistant","content":"<think>r</think>a"}]"#;
        let keep = if value.is_empty() {
            String::new()
        } else {
            format!(r#","keep":{value}"#)
        };
        format!("{{\"id\":\"{number}\",\"messages\":{messages}{keep}}}\n")
    };
    values.iter().enumerate().map(row).collect()
}

fn prepared(values: &[&str], more: &Value) -> Result<(Vec<PreparedSample>, PrepareReport), CorpusError> {
    let directory = directory(&[("a.jsonl", &rows(values))]);
    let mut table = json!({ "files": ["a.jsonl"] });
    table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let data: DataSettings = serde_json::from_value(table).unwrap();
    let template = ChatTemplate::new(SMOLLM2, Some("<bos>"), Some("<eos>")).unwrap();
    let (mut samples, sections) = (Vec::new(), SectionSettings::default());
    let arrangement = prepare_into(
        directory.path(),
        &data,
        &sections,
        &template,
        &byte_level(true),
        &|_| (),
        &mut |sample| {
            samples.push(sample);
            Ok::<(), CorpusError>(())
        },
    )?;
    Ok((samples, arrangement.report))
}

fn named() -> Value {
    json!({ "lead_span_column": "keep" })
}

#[test]
fn each_sample_keeps_what_its_row_says_and_its_hash_knows() {
    let (samples, _) = prepared(&["0.5", "1.0", "7", "100000"], &named()).unwrap();
    let tokens = samples[0].tokens.len() as u32;
    let kept: Vec<Option<u32>> = samples.iter().map(|sample| sample.lead_span).collect();
    assert_eq!(kept, [Some(tokens / 2), Some(tokens), Some(7), Some(tokens)]);
    let (plain, _) = prepared(&["0.5", "1.0", "7", "100000"], &json!({})).unwrap();
    assert!(plain.iter().all(|sample| sample.lead_span.is_none()));
    assert_ne!(plain[0].row_hash, samples[0].row_hash);
    // A row whose column changes is another row.
    let (other, _) = prepared(&["0.25", "1.0", "7", "100000"], &named()).unwrap();
    assert_ne!(other[0].row_hash, samples[0].row_hash);
    assert_eq!(other[1].row_hash, samples[1].row_hash);
}

#[test]
fn a_row_without_a_proportion_or_a_count_is_refused_by_its_place() {
    for (value, told) in [
        ("1.5", "the field `keep` is 1.5, which is neither a proportion"),
        ("0", "the field `keep` is 0, which"),
        ("1", "the field `keep` is 1, which"),
        ("-0.5", "the field `keep` is -0.5, which"),
        (
            "\"half\"",
            "the field `keep` must be a proportion or a number of tokens, found a string",
        ),
        ("null", "`keep`"),
        ("", "`keep`"),
    ] {
        let error = prepared(&["0.5", value], &named()).unwrap_err();
        assert_eq!(error.to_string(), "bad row at `a.jsonl:2`");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(told), "{value}: {cause}");
    }
    let mut skipping = named();
    skipping["on_bad_row"] = "skip".into();
    let (samples, report) = prepared(&["0.5", "1.5"], &skipping).unwrap();
    assert_eq!((samples.len(), report.rows), (1, 2));
}
