//! What rows give to the chat template beside texts, from the row to the sample.

use serde_json::{Value, json};

use super::*;
use crate::{Known, append};

/// Writes tools, documents, a value and calls of tools.
const TEMPLATE: &str = "{% if tools %}{{ tools | tojson }}{% endif %}{% if documents %}{{ documents | tojson }}{% endif %}\
    {% if short %}Be short.{% endif %}{% for message in messages %}[{{ message.role }}]{{ message.content }}\
    {% for call in message.tool_calls or [] %}{{ call | tojson }}{% endfor %}{% endfor %}\
    {% if add_generation_prompt %}[assistant]{% endif %}";

/// Writes a content that is a text or a list, as that of Ministral 3 does. The length of null is none.
const BY_LENGTH: &str = "{% for m in messages %}[{{ m.role }}]{% if m.content is string and m.content != '' %}{{ m.content }}\
    {% elif m.content | length > 0 %}{% for block in m.content %}{{ block.text }}{% endfor %}{% endif %}\
    {% for call in m.tool_calls or [] %}+{{ call.name }}{{ call.arguments | tojson }}{% endfor %}{% endfor %}";

/// Recognises a turn that only calls tools by its null, as the R1 family's does.
const BY_NULL: &str = "{% for m in messages %}{% if m.role == 'assistant' and m.content is none %}\
    {% for call in m.tool_calls %}+{{ call.name }}{{ call.arguments | tojson }}{% endfor %}\
    {% else %}{{ m.content }}{% endif %}{% endfor %}";

/// The one sample of a row, or what is wrong with it.
fn sample(template: &ChatTemplate, format: &str, row: &Value) -> Result<Sample, String> {
    let directory = directory(&[("a.jsonl", &row.to_string())]);
    let data = serde_json::from_value(json!({"files": ["a.jsonl"], "format": format})).unwrap();
    let sections = SectionSettings {
        without_markers: WithoutMarkers::Answer,
        ..SectionSettings::default()
    };
    let prepared = prepare(directory.path(), &data, &sections, template, &byte_level(true), &|_| ());
    let mut prepared = prepared.map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    })?;
    Ok(prepared.samples.remove(0))
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, Some("<bos>"), Some("<eos>")).unwrap()
}

#[test]
fn columns_with_tools_documents_and_values_for_the_template_have_them_in_the_prompt() {
    let columns = |given: Value| {
        let mut row = json!({"question": "q", "chain_of_thought": "r", "answer": "4"});
        row.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        row
    };
    let all = columns(json!({
        "tools": [{"name": "add"}], "documents": [{"text": "d"}], "chat_template_kwargs": {"short": true},
    }));
    let found = sample(&template(TEMPLATE), "columns", &all).unwrap();
    assert_eq!(
        text(&found, Section::Prompt),
        r#"[{"name": "add"}][{"text": "d"}]Be short.[user]q[assistant]"#
    );
    for (given, part) in [
        (json!({"documents": [{"text": "d"}]}), "the field `documents`"),
        (
            json!({"chat_template_kwargs": {"short": true}}),
            "`short` of the field `chat_template_kwargs`",
        ),
    ] {
        assert_eq!(
            sample(&template(SMOLLM2), "columns", &columns(given)).unwrap_err(),
            format!("the chat template makes no use of {part}")
        );
    }
    let tools = columns(json!({"tools": [{"name": "add"}]}));
    assert!(sample(&template(SMOLLM2), "columns", &tools).is_err());
    let beside = template(TEMPLATE).beside_tool_use(true);
    assert_eq!(
        sample(&beside, "columns", &tools).unwrap_err(),
        "the conversation has `tools`, and the model's chat template for tools, `tool_use`, is not read"
    );
}

#[test]
fn calls_of_tools_are_learnt_or_refused() {
    let calls = json!([{"name": "add", "arguments": {"a": 1}}]);
    let row = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": calls}]});
    // A turn that only calls tools is no empty turn.
    let found = sample(&template(TEMPLATE), "messages", &row).unwrap();
    assert_eq!(
        text(&found, Section::Answer),
        r#"{"name": "add", "arguments": {"a": 1}}"#
    );
    let mut by_null = row.clone();
    by_null["messages"][1]["content"] = Value::Null;
    by_null["messages"].as_array_mut().unwrap().extend([
        json!({"role": "tool", "content": "2"}),
        json!({"role": "assistant", "content": "two"}),
    ]);
    // A content that is null is no field, as transformers has it.
    let found = sample(&template(BY_LENGTH), "messages", &by_null).unwrap();
    assert_eq!(
        text(&found, Section::Prompt),
        r#"[user]q[assistant]+add{"a": 1}[tool]2[assistant]"#
    );
    let absent = template(
        "{% for m in messages %}{{ m.role }}:{{ m.content is defined }} {% for call in m.tool_calls or [] %}\
        {{ call.name }}{{ call.arguments | tojson }}{% endfor %}{{ m.content }}{% endfor %}",
    );
    let found = sample(&absent, "messages", &by_null).unwrap();
    assert_eq!(
        text(&found, Section::Prompt),
        r#"user:True qassistant:False add{"a": 1}tool:True 2assistant:True "#
    );
    assert_eq!(
        sample(&template(BY_NULL), "messages", &by_null).unwrap_err(),
        "the chat template makes no use of `tool_calls[0]` of turn 2 from `assistant`"
    );
    // Corpora of earlier rules are extended by these.
    let extended = |rules| {
        let directory = directory(&[("a.jsonl", &by_null.to_string())]);
        let data = serde_json::from_value(json!({"files": ["a.jsonl"], "format": "messages"})).unwrap();
        let sections = SectionSettings {
            without_markers: WithoutMarkers::Answer,
            ..SectionSettings::default()
        };
        let known = Known { samples: &[], rules };
        let (template, tokenizer) = (template(BY_NULL), byte_level(true));
        append(
            directory.path(),
            &data,
            &sections,
            &template,
            &tokenizer,
            known,
            &|_| (),
        )
    };
    assert_eq!(extended(RowRules::Fifth).unwrap().samples.len(), 1);
    assert!(extended(RowRules::Sixth).is_err());
    by_null["messages"][1]["content"] = "".into();
    assert!(sample(&template(BY_NULL), "messages", &by_null).is_err());
    assert_eq!(
        sample(&template(SMOLLM2), "messages", &row).unwrap_err(),
        "the chat template makes no use of `tool_calls[0]` of turn 2 from `assistant`"
    );
}

#[test]
fn a_corpus_of_the_second_rules_is_extended_by_them() {
    let row = |id: u32, given: Value| {
        let mut row =
            json!({"id": id, "question": "q", "chain_of_thought": "Well <think>r</think> 0.5", "answer": "5"});
        row.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        row.to_string() + "\n"
    };
    let rows = row(1, json!({"tools": [{"name": "add"}]})) + &row(2, json!({"chat_template_kwargs": 1}));
    let directory = directory(&[("a.jsonl", &rows)]);
    let data = serde_json::from_value(json!({"files": ["a.jsonl"], "format": "columns"})).unwrap();
    let append_by = |rules| {
        let known = Known { samples: &[], rules };
        let sections = SectionSettings::default();
        append(
            directory.path(),
            &data,
            &sections,
            &template(SMOLLM2),
            &byte_level(true),
            known,
            &|_| (),
        )
    };
    let samples = append_by(RowRules::Second).unwrap().samples;
    assert_eq!(samples.len(), 2);
    for sample in &samples {
        let thought = text(sample, Section::ChainOfThought);
        assert_eq!(thought, "<think>\nWell <think>r\n</think>");
    }
    assert!(append_by(RowRules::CURRENT).is_err());
}
