//! What a template shows, and what it passes over.

use serde_json::json;

use super::*;
use crate::template::tests::{LLAMA3, QWEN3, SMOLLM2};

/// What transformers' users write: tools, documents and calls, each if it is there.
const ALL: &str = "{% for tool in tools or [] %}{{ tool|tojson }}{% endfor %}\
    {% for document in documents or [] %}[{{ document.text }}]{% endfor %}{% if shout %}!{% endif %}\
    {% for m in messages %}{{ m.role }}:{{ m.content }}{% for call in m.tool_calls or [] %}\
    {{ call.function.name }}({{ call.function.arguments|tojson }}){% endfor %};{% endfor %}";

fn turns(turns: &Value) -> Vec<Message> {
    let turn = |turn: &Value| {
        let mut fields = turn.as_object().unwrap().clone();
        let text = |value: Option<Value>| value.map_or(String::new(), |text| text.as_str().unwrap().to_owned());
        let role = Role::from_name(&text(fields.shift_remove("role"))).unwrap();
        let content = text(fields.shift_remove("content"));
        Message {
            other: fields,
            ..Message::new(role, content)
        }
    };
    turns.as_array().unwrap().iter().map(turn).collect()
}

fn prompt(source: &str, messages: &Value, given: &Given) -> Result<String, String> {
    let template = ChatTemplate::new(source, None, None).unwrap();
    prompt_of(&template, messages, given)
}

fn prompt_of(template: &ChatTemplate, messages: &Value, given: &Given) -> Result<String, String> {
    let rendered = template.render_prompt(&turns(messages), given, "</think>");
    rendered.map_err(|error| match error {
        CorpusError::UnsuitedTemplate { problem } => problem.to_string(),
        other => format!("{other:?}"),
    })
}

fn given(tools: Option<Value>, documents: Option<Value>, arguments: Value) -> Given {
    let Value::Object(arguments) = arguments else {
        panic!("arguments are an object")
    };
    Given {
        tools,
        documents,
        arguments,
    }
}

#[test]
fn what_a_row_gives_is_in_the_text_or_refused_by_name() {
    let ask = json!([{"role": "user", "content": "q"}]);
    let tools = || Some(json!([{"name": "add"}]));
    let documents = || Some(json!([{"text": "d"}]));
    let all = given(tools(), documents(), json!({"shout": true}));
    assert_eq!(prompt(ALL, &ask, &all).unwrap(), r#"{"name": "add"}[d]!user:q;"#);
    // The default of a template, given by a row.
    assert!(prompt(ALL, &ask, &given(None, None, json!({"shout": false}))).is_ok());
    let refused = |source: &str, given: Given| prompt(source, &ask, &given).unwrap_err();
    // The template speaks of tools and documents, but does not write them.
    let mentions = format!("{SMOLLM2}{{# tools and documents #}}");
    assert_eq!(
        refused(&mentions, given(tools(), None, json!({}))),
        "the chat template makes no use of the field `tools`"
    );
    assert_eq!(
        refused(SMOLLM2, given(None, documents(), json!({}))),
        "the chat template makes no use of the field `documents`"
    );
    assert_eq!(
        refused(ALL, given(None, None, json!({"shout": true, "out": 1}))),
        "the chat template makes no use of `out` of the field `chat_template_kwargs`"
    );
}

#[test]
fn tools_are_refused_beside_a_template_of_their_own() {
    let template = ChatTemplate::new(ALL, None, None).unwrap().beside_tool_use(true);
    let ask = json!([{"role": "user", "content": "q"}]);
    let with_tools = given(Some(json!([{"name": "add"}])), None, json!({}));
    assert_eq!(
        prompt_of(&template, &ask, &with_tools).unwrap_err(),
        "the conversation has `tools`, and the model's chat template for tools, `tool_use`, is not read"
    );
    assert_eq!(prompt_of(&template, &ask, &Given::default()).unwrap(), "user:q;");
}

#[test]
fn calls_of_tools_and_their_arguments_are_in_the_text_or_refused_by_name() {
    let with_call = |call: Value| {
        json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "user", "content": "and?"}])
    };
    let none = Given::default();
    let add = with_call(json!({"function": {"name": "add", "arguments": {"a": 1}}}));
    assert!(prompt(ALL, &add, &none).unwrap().contains(r#"add({"a": 1})"#));
    assert!(prompt(QWEN3, &add, &none).is_ok());
    let text = with_call(json!({"function": {"name": "add", "arguments": "{\"a\": 1}"}}));
    assert!(prompt(ALL, &text, &none).is_ok());
    assert_eq!(
        prompt(SMOLLM2, &add, &none).unwrap_err(),
        "the chat template makes no use of `tool_calls[0]` of turn 2 from `assistant`"
    );
    // The name is in the text, but not because of the call.
    let named = with_call(json!({"function": {"name": "q", "arguments": {}}}));
    assert!(prompt(SMOLLM2, &named, &none).is_err());
    let names_only = "{% for m in messages %}{{ m.content }}{% for call in m.tool_calls or [] %}\
        {{ call.function.name }}{% endfor %}{% endfor %}";
    assert_eq!(
        prompt(names_only, &add, &none).unwrap_err(),
        "the chat template makes no use of the arguments in `tool_calls[0]` of turn 2 from `assistant`"
    );
    // A template that acts by the name.
    let by_name = "{% for m in messages %}{{ m.content }}{% for call in m.tool_calls or [] %}\
        {% if call.function.name == 'add' %}+{{ call.function.arguments.a }}{% endif %}{% endfor %}{% endfor %}";
    assert!(prompt(by_name, &add, &none).is_ok());
    // Nothing is lost of a list without calls.
    let no_calls = json!([{"role": "assistant", "content": "a", "tool_calls": []}, {"role": "user", "content": "q"}]);
    assert!(prompt(SMOLLM2, &no_calls, &none).is_ok());
}

#[test]
fn other_fields_of_a_turn_that_hold_content_are_in_the_text_or_refused_by_name() {
    for name in FIELDS {
        let mut system = json!({"role": "system", "content": "s"});
        system[name] = json!([{"name": "add"}]);
        let messages = json!([system, {"role": "user", "content": "q"}]);
        assert_eq!(
            prompt(SMOLLM2, &messages, &Given::default()).unwrap_err(),
            format!("the chat template makes no use of `{name}` of the system prompt")
        );
        let writes = format!("{SMOLLM2}{{{{ messages[0].{name}|tojson }}}}");
        assert!(prompt(&writes, &messages, &Given::default()).is_ok());
    }
}

#[test]
fn a_turn_that_the_template_passes_over_is_refused() {
    let messages = json!([{"role": "system", "content": "s"}, {"role": "user", "content": "4?"},
        {"role": "tool", "content": "4"}]);
    let knows_no_tools = "{% for m in messages if m.role != 'tool' %}{{ m.content }}{% endfor %}";
    assert_eq!(
        prompt(knows_no_tools, &messages, &Given::default()).unwrap_err(),
        "the chat template makes no use of the content of turn 2 after the system prompt, from `tool`"
    );
    for template in [SMOLLM2, QWEN3] {
        assert!(prompt(template, &messages, &Given::default()).is_ok());
    }
    // Thinking that is cut out of an earlier turn, white space that is trimmed, and texts that are written otherwise.
    let earlier = json!([{"role": "user", "content": " q \n"}, {"role": "assistant", "content": "<think>r</think>"},
        {"role": "user", "content": " \"r\" "}]);
    for template in [
        QWEN3,
        LLAMA3,
        "{% for m in messages %}{{ m.content|tojson }}{% endfor %}",
    ] {
        assert!(prompt(template, &earlier, &Given::default()).is_ok(), "{template}");
    }
}
