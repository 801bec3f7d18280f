//! Prints the text and tokens that a model's chat template and tokenizer give for conversations, to compare with other
//! implementations.
//!
//!     cargo run --release -p leadspan-precompute --example render -- MODEL CONVERSATIONS
//!
//! MODEL is a directory with a tokenizer, CONVERSATIONS a file of JSON lines with `messages` and an `id`, and perhaps `tools` and
//! `chat_template_kwargs`. Prints a line of JSON
//! with the special tokens by their names and the token that ends a turn, and then a line for each conversation: its id, the text, the text with a generation
//! prompt, the tokens of the text, and those of the sample that [`leadspan_corpus::prepare`] makes of the row. A text that is
//! refused is null, and `refused` says why.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, Write as _},
    path::Path,
};

use leadspan_corpus::{
    ChatTemplate, DataSettings, EmptyContent, Given, Message, Role, SectionSettings, WithoutMarkers, end_of_turn,
    prepare,
};
use leadspan_model::TokenizerBundle;
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, conversations] = arguments.as_slice() else {
        return Err("usage: render MODEL CONVERSATIONS".into());
    };
    let bundle = TokenizerBundle::open(Path::new(model))?;
    let template = bundle.chat_template.as_deref().ok_or("no chat template")?;
    let template = ChatTemplate::of_model(template, bundle.named_tokens(), &Map::new())?;
    let tokenizer = &bundle.tokenizer;

    let data: DataSettings =
        serde_json::from_value(json!({"files": [conversations], "max_tokens": 1_000_000, "on_bad_row": "skip"}))?;
    let sections = SectionSettings {
        without_markers: WithoutMarkers::Answer,
        ..SectionSettings::default()
    };
    let prepared = prepare(Path::new(""), &data, &sections, &template, tokenizer, &|_| ())?;
    let samples: BTreeMap<&str, &[u32]> = prepared
        .samples
        .iter()
        .map(|sample| (sample.id.as_str(), sample.tokens.as_slice()))
        .collect();

    let mut out = io::stdout().lock();
    let special_tokens: Map<String, Value> = (bundle.named_tokens())
        .map(|(name, token)| (name.to_owned(), token.into()))
        .collect();
    let added_tokens = |text: &str| bundle.added_tokens_in(text);
    let end_of_turn = end_of_turn(&template, &sections, added_tokens, bundle.starting_token());
    let end_of_turn = end_of_turn.and_then(|token| tokenizer.id_to_token(token));
    writeln!(
        out,
        "{}",
        json!({"special_tokens": special_tokens, "end_of_turn": end_of_turn})
    )?;
    for line in fs::read_to_string(conversations)?.lines() {
        let row: Value = serde_json::from_str(line)?;
        let messages = row["messages"].as_array().ok_or("no messages")?;
        let messages: Vec<Message> = messages
            .iter()
            .map(message)
            .collect::<Option<_>>()
            .ok_or("not a message")?;
        let id = row["id"].as_str().ok_or("no id")?;
        let given = Given {
            tools: row.get("tools").cloned(),
            documents: None,
            arguments: row["chat_template_kwargs"].as_object().cloned().unwrap_or_default(),
        };
        let render = |is_opened: bool| template.render_with(&messages, &given, is_opened);
        let refused = render(false).err().map(|error| chain(&error));
        let (text, opened) = (render(false).ok(), render(true).ok());
        let encoded = text.as_deref().map(|text| tokenizer.encode(text, false)).transpose();
        let encoded = encoded.map_err(|error| error.to_string())?;
        let encoded = encoded.map(|encoded| encoded.get_ids().to_vec());
        let made = json!({
            "id": id, "text": text, "refused": refused, "opened": opened, "encoded": encoded, "tokens": samples.get(id),
        });
        writeln!(out, "{made}")?;
    }
    Ok(())
}

fn message(value: &Value) -> Option<Message> {
    let mut fields = value.as_object()?.clone();
    let role = Role::from_name(fields.remove("role")?.as_str()?)?;
    let content = fields.remove("content")?;
    let empty_content = if content.is_null() {
        EmptyContent::Absent
    } else {
        EmptyContent::Text
    };
    let content = content.as_str().map_or_else(String::new, str::to_owned);
    // The names that rows have for it.
    let names = ["reasoning_content", "thinking", "reasoning"];
    let reasoning_content = names.iter().find_map(|name| {
        let text = fields.get(*name)?.as_str()?.to_owned();
        fields.remove(*name);
        Some(text)
    });
    fields.remove("reasoning_content");
    Some(Message {
        role,
        content,
        empty_content,
        reasoning_content,
        other: fields,
    })
}

/// An error and its causes.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
