//! Prints the text and tokens that a model's chat template and tokenizer give for conversations, to compare with other
//! implementations.
//!
//!     cargo run --release -p leadspan-corpus --example render -- MODEL CONVERSATIONS
//!
//! MODEL is a directory with `tokenizer.json` and `tokenizer_config.json`, CONVERSATIONS a file of JSON lines with
//! `messages` and an `id`. Prints a line of JSON for each: its id, the text, the text with a generation prompt, and the
//! tokens of the sample that [`leadspan_corpus::prepare`] makes of the row.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, Write as _},
    path::Path,
};

use leadspan_corpus::{ChatTemplate, DataSettings, Message, Role, SectionSettings, WithoutMarkers, prepare};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, conversations] = arguments.as_slice() else {
        return Err("usage: render MODEL CONVERSATIONS".into());
    };
    let model = Path::new(model);
    let settings: Value = serde_json::from_slice(&fs::read(model.join("tokenizer_config.json"))?)?;
    let template = settings["chat_template"].as_str().ok_or("no chat template")?;
    let template = ChatTemplate::new(template, settings["bos_token"].as_str(), settings["eos_token"].as_str())?;
    let tokenizer = Tokenizer::from_file(model.join("tokenizer.json")).map_err(|error| error.to_string())?;

    let data: DataSettings = serde_json::from_value(json!({"files": [conversations], "max_tokens": 1_000_000}))?;
    let sections = SectionSettings {
        without_markers: WithoutMarkers::Answer,
        ..SectionSettings::default()
    };
    let prepared = prepare(Path::new(""), &data, &sections, &template, &tokenizer, &|_| ())?;
    let samples: BTreeMap<&str, &[u32]> = prepared
        .samples
        .iter()
        .map(|sample| (sample.id.as_str(), sample.tokens.as_slice()))
        .collect();

    let mut out = io::stdout().lock();
    for line in fs::read_to_string(conversations)?.lines() {
        let row: Value = serde_json::from_str(line)?;
        let messages = row["messages"].as_array().ok_or("no messages")?;
        let messages: Vec<Message> = messages
            .iter()
            .map(message)
            .collect::<Option<_>>()
            .ok_or("not a message")?;
        let id = row["id"].as_str().ok_or("no id")?;
        let (text, opened) = (template.render(&messages, false)?, template.render(&messages, true)?);
        let made = json!({"id": id, "text": text, "opened": opened, "tokens": samples.get(id)});
        writeln!(out, "{made}")?;
    }
    Ok(())
}

fn message(value: &Value) -> Option<Message> {
    let mut fields = value.as_object()?.clone();
    let role = Role::from_name(fields.remove("role")?.as_str()?)?;
    let content = fields.remove("content")?.as_str()?.to_owned();
    let reasoning_content = fields
        .remove("reasoning_content")
        .and_then(|text| Some(text.as_str()?.to_owned()));
    Some(Message {
        role,
        content,
        reasoning_content,
        other: fields,
    })
}
