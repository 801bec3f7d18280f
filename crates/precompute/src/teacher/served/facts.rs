//! What a server says about itself: its version, its models and its tokenizer.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Client, Failure};
use crate::{server_engine::ServerEngine, server_error::ServerError};

/// The most bytes of such an answer: SGLang lists all of its settings.
const MOST: u64 = 4 << 20;

const MODELS: &str = "/v1/models";
const TOKENIZE: &str = "/tokenize";

/// What a server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) version: String,
    /// The name of the model.
    pub(super) model: String,
    /// The most tokens of a request and its answer.
    pub(super) context: Option<usize>,
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    max_model_len: Option<usize>,
}

/// Asks a server what it is. `asked` is the name of the model; without it, the server must serve one model.
pub(super) fn facts(client: &Client, engine: ServerEngine, asked: Option<&str>) -> Result<Facts, Failure> {
    let version = version(client, engine)?;
    let body = client.get(MODELS, MOST)?;
    let Models { data } = serde_json::from_slice(&body).map_err(|error| form(engine, MODELS, &error))?;
    let served = || data.iter().map(|model| model.id.clone()).collect();
    let model = match (asked, &data[..]) {
        (None, [only]) => only,
        (None, _) => return Err(Failure::Final(ServerError::WhichModel { served: served() })),
        (Some(asked), _) => {
            if let Some(model) = data.iter().find(|model| model.id == asked) {
                model
            } else {
                let asked = asked.to_owned();
                return Err(Failure::Final(ServerError::OtherModel {
                    asked,
                    served: served(),
                }));
            }
        }
    };
    Ok(Facts {
        version,
        model: model.id.clone(),
        context: model.max_model_len,
    })
}

fn version(client: &Client, engine: ServerEngine) -> Result<String, Failure> {
    let path = match engine {
        ServerEngine::Vllm => "/version",
        ServerEngine::Sglang => "/server_info",
    };
    let body = match client.get(path, MOST) {
        // Earlier versions call it otherwise.
        Err(Failure::Final(ServerError::Refused { status: 404 | 405, .. })) if engine == ServerEngine::Sglang => {
            client.get("/get_server_info", MOST)
        }
        body => body,
    }?;
    let value: Value = serde_json::from_slice(&body).map_err(|error| form(engine, path, &error))?;
    match value["version"].as_str() {
        Some(version) if !version.is_empty() => Ok(version.to_owned()),
        _ => Err(form(engine, path, &"it has no `version`")),
    }
}

/// The server's tokens of `text`; `None` if it does not say.
pub(super) fn tokens(client: &Client, model: &str, text: &str) -> Result<Option<Vec<u32>>, Failure> {
    #[derive(Deserialize)]
    struct Tokenized {
        tokens: Vec<u32>,
    }
    let body = json!({ "model": model, "prompt": text, "add_special_tokens": false });
    match client.post(TOKENIZE, body.to_string().as_bytes(), MOST) {
        Ok(body) => Ok(serde_json::from_slice(&body).ok().map(|Tokenized { tokens }| tokens)),
        // Servers without a tokenizer, and proxies, do not answer.
        Err(Failure::Final(ServerError::Refused { .. })) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Refuses a server's tokens of a text that are not `ours`. `model` is the path of our tokenizer.
///
/// # Errors
///
/// [`ServerError::OtherTokenizer`].
pub(super) fn require_same_tokens(theirs: &[u32], ours: &[u32], model: &Path) -> Result<(), ServerError> {
    if theirs == ours {
        return Ok(());
    }
    let place = theirs
        .iter()
        .zip(ours)
        .take_while(|(theirs, ours)| theirs == ours)
        .count();
    let shown = |tokens: &[u32]| format!("{:?}", tokens.iter().skip(place).take(4).collect::<Vec<_>>());
    Err(ServerError::OtherTokenizer {
        model: model.to_owned(),
        theirs: shown(theirs),
        ours: shown(ours),
    })
}

fn form(engine: ServerEngine, path: &'static str, why: &dyn std::fmt::Display) -> Failure {
    let (engine, why) = (engine.as_str(), why.to_string());
    Failure::Final(ServerError::Form { path, engine, why })
}
