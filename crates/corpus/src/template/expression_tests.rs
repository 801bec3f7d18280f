//! The expressions that chat templates use, compared with what transformers makes of them
//! (`tests/fixtures/templates/make.py`).

use serde_json::{Map, Value as Json};

use super::*;
use crate::{EmptyContent, Role};

/// Templates that transformers renders and this engine refuses.
const REFUSED: &[&str] = &[
    "{{ '%r' % text }}",
    "{{ unicode.casefold() }}",
    "{{ 'abc'.isidentifier() }}",
    "{{ 'a\\n'.isprintable() }}",
    "{{ '{!r}'.format('a') }}",
    "{{ messages|map('attr', 'role')|list }}",
    "{{ text is callable }}",
    "{{ text|wordcount }}",
    "{{ text|truncate(10) }}",
    "{{ text|center(30) }}",
    "{{ 'a\\x41\\u00e9\\N{BULLET}' }}",
    "{{ cycler('a', 'b').next() }}",
    "{{ '%(a)s'|format(a=1) }}",
    "{{ text|attr('upper') is defined }}",
    "{{ number.bit_length() }}",
    "{{ half.is_integer() }}",
    "{{ 'a'.encode() }}",
    // Escapes that the engine reads in another way.
    "{{ '\\U0001f600' }}",
    "{{ '\\a\\v' }}",
    "{{ 'a\\/b' }}",
    "{{ 'a\\\nb' }}",
    // Digits of other scripts, and integers of more than 128 bits.
    "{{ '\\u0661'|int }}",
    "{{ '\\u0661'|float }}",
    "{{ '\\u00b2'|int }}",
    "{{ 1e40|int }}",
    "{{ '1234567890123456789012345678901234567890'|int }}",
    "{{ joiner(', ')() }}",
    // Macros do not take more arguments than they name.
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f() }}",
    "{% macro f() %}{{ varargs|join }}{{ kwargs }}{% endmacro %}{{ f(1, 2, a=3) }}",
    "{% macro f() %}{{ caller(1, 2) }}{% endmacro %}{% call(a) f() %}{{ a }}{{ varargs }}{% endcall %}",
];

/// Templates whose text differs, with the text that they give.
const DIFFERENT: &[(&str, &str)] = &[
    // A method is not an attribute.
    ("{{ text.upper is defined }}", "False"),
];

fn message(value: &Json) -> Message {
    let mut fields = value.as_object().unwrap().clone();
    let mut text = |name: &str| fields.remove(name).map(|text| text.as_str().unwrap().to_owned());
    let (role, content, reasoning_content) = (text("role"), text("content"), text("reasoning_content"));
    Message {
        role: Role::from_name(&role.unwrap()).unwrap(),
        content: content.unwrap(),
        empty_content: EmptyContent::Text,
        reasoning_content,
        other: fields,
    }
}

#[test]
fn expressions_give_what_they_give_in_transformers_or_are_refused() {
    let lines = include_str!("../../../../tests/fixtures/templates/expressions.jsonl");
    let mut lines = lines.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let head = lines.next().unwrap();
    let messages: Vec<Message> = head["messages"].as_array().unwrap().iter().map(message).collect();
    let arguments: &Map<String, Json> = head["arguments"].as_object().unwrap();
    let tokens = [("bos_token", "<s>"), ("pad_token", "<pad>")];
    let mut wrong = Vec::new();
    let mut rows = 0;
    for row in lines {
        rows += 1;
        let source = row["template"].as_str().unwrap();
        let rendered = ChatTemplate::of_model(source, tokens, arguments).and_then(|template| {
            let given = Given {
                tools: source.contains("tools").then(|| head["tools"].clone()),
                ..Given::default()
            };
            let rendered = template.try_render(&messages, &given, false);
            rendered.map_err(|source| CorpusError::Template { source })
        });
        let different = DIFFERENT.iter().find(|(other, _)| *other == source);
        let as_expected = match (&rendered, row["text"].as_str()) {
            (Ok(text), _) if different.is_some() => different.is_some_and(|(_, other)| other == text),
            (Ok(text), expected) => expected == Some(text.as_str()) && !REFUSED.contains(&source),
            (Err(_), None) => true,
            (Err(_), Some(_)) => REFUSED.contains(&source),
        };
        if !as_expected {
            let found = rendered.map_err(|error| std::error::Error::source(&error).map(ToString::to_string));
            wrong.push(format!("{source:?}\n    gives {found:?}\n    not   {}", row["text"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {rows}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows > 400);
}
