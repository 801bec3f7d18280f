//! The errors of a teacher that a server runs.

use std::path::PathBuf;

use leadspan_diagnosis::Diagnosis;

use crate::{server_address::WrongAddress, server_key::ServerKey};

/// What is wrong with an answer about a position.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WrongAnswer {
    /// A log-probability is not a number.
    #[error("the log-probability of token {token} is {logprob}")]
    NotANumber {
        /// The token.
        token: u32,
        /// Its value.
        logprob: f32,
    },
    /// A probability exceeds one.
    #[error("token {token} has the log-probability {logprob}, which is no logarithm of a probability")]
    AboveOne {
        /// The token.
        token: u32,
        /// Its value.
        logprob: f32,
    },
    /// The probabilities sum to more than one.
    #[error("the probabilities sum to {sum:.4}")]
    Sum {
        /// The sum.
        sum: f64,
    },
    /// The probabilities sum to less than the tokens that are not listed can complete.
    #[error("the probabilities sum to {sum:.4}, and the tokens that are not listed have at most {others:.4} together")]
    Missing {
        /// The sum.
        sum: f64,
        /// What the other tokens have if each is as probable as the least of the list.
        others: f64,
    },
    /// A token is listed twice.
    #[error("token {token} is listed twice")]
    Repeated {
        /// The token.
        token: u32,
    },
    /// A token is outside of the vocabulary.
    #[error("token {token} is not in the vocabulary of {vocabulary}")]
    BeyondVocabulary {
        /// The token.
        token: u32,
        /// The size of the vocabulary.
        vocabulary: usize,
    },
    /// The number of tokens is not what was asked for.
    #[error("{found} tokens are listed, where the {expected} most probable were asked for")]
    Count {
        /// The number that was asked for.
        expected: usize,
        /// The number in the answer.
        found: usize,
    },
    /// The token that follows is not among the most probable ones, but more probable than one of them.
    #[error(
        "token {token}, which follows, is not among the most probable, but has the log-probability {logprob}, above that of the least \
         of them, {least}"
    )]
    AboveLeast {
        /// The token.
        token: u32,
        /// Its value.
        logprob: f32,
        /// The least of the list.
        least: f32,
    },
    /// The token that follows has two log-probabilities.
    #[error("token {token}, which follows, has the log-probability {listed} in the list, and {apart} apart from it")]
    Twofold {
        /// The token.
        token: u32,
        /// Its value in the list.
        listed: f32,
        /// Its other value.
        apart: f32,
    },
    /// The token that follows has no log-probability.
    #[error("token {token}, which follows, has no log-probability")]
    NoTarget {
        /// The token.
        token: u32,
    },
}

/// Why a server cannot be the teacher.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is not one of a server.
    #[error(transparent)]
    Address(#[from] WrongAddress),
    /// A key of the settings goes only with a server, or not with one.
    #[error("`{key}` {why}")]
    Setting {
        /// The key, with its table.
        key: &'static str,
        /// Why it cannot be.
        why: &'static str,
    },
    /// The key has characters that do not fit into a header.
    #[error("`{}` has a character that keys do not have", ServerKey::VARIABLE)]
    Key,
    /// The size of the vocabulary is not known.
    #[error("`{}` does not say the size of the vocabulary (`vocab_size`)", config.display())]
    NoVocabulary {
        /// The configuration.
        config: PathBuf,
    },
    /// The server was not reached for too long, or failed too often.
    #[error("the server `{server}` did not answer: {why} (tries: {tries})")]
    GaveUp {
        /// Its address.
        server: String,
        /// The last failure.
        why: String,
        /// How often the request was sent.
        tries: u32,
    },
    /// The connection cannot be made whatever is tried.
    #[error("could not connect to the server `{server}`: {why}")]
    Connection {
        /// Its address.
        server: String,
        /// The failure.
        why: String,
    },
    /// The certificate authorities to trust cannot be read.
    #[error("could not read the certificate authorities in `{}` (`{variable}`): {why}", path.display())]
    Authorities {
        /// The environment variable that names it.
        variable: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The server refuses a request.
    #[error("the server refused `{path}` with status {status}: {said}")]
    Refused {
        /// The path of the request.
        path: &'static str,
        /// The status of the answer.
        status: u16,
        /// The beginning of what it said.
        said: String,
        /// The number of log-probabilities that were asked for, if it seems to be about that.
        asked: Option<usize>,
    },
    /// The server redirects.
    #[error("the server redirects `{path}` to `{to}`")]
    Redirected {
        /// The path of the request.
        path: &'static str,
        /// Where to.
        to: String,
    },
    /// An answer is larger than any right one.
    #[error("the server's answer to `{path}` has more than {most} bytes")]
    TooLarge {
        /// The path of the request.
        path: &'static str,
        /// The most bytes of a right answer.
        most: u64,
    },
    /// An answer is not in the engine's form.
    #[error("the server's answer to `{path}` is not what {engine} answers: {why}")]
    Form {
        /// The path of the request.
        path: &'static str,
        /// The engine.
        engine: &'static str,
        /// What was found.
        why: String,
    },
    /// The server does not serve the model.
    #[error("the server serves {}, not `{asked}`", listed(served))]
    OtherModel {
        /// `teacher.served_model`.
        asked: String,
        /// What it serves.
        served: Vec<String>,
    },
    /// The server serves several models.
    #[error(
        "the server serves {}, and `teacher.served_model` does not say which is the teacher",
        listed(served)
    )]
    WhichModel {
        /// What it serves.
        served: Vec<String>,
    },
    /// The server's tokenizer differs.
    #[error("the server's tokenizer is another than that of `{}`: it makes {theirs} of a text of which ours makes {ours}", model.display())]
    OtherTokenizer {
        /// `teacher.model`.
        model: PathBuf,
        /// The first tokens that differ, the server's.
        theirs: String,
        /// The first tokens that differ, ours.
        ours: String,
    },
    /// A sample does not fit into the server's context.
    #[error("sample `{sample}` takes {tokens} tokens, but the server has a context of {context} tokens")]
    BeyondContext {
        /// Its id.
        sample: String,
        /// The tokens that are sent, and the one that the server generates.
        tokens: usize,
        /// The server's.
        context: usize,
    },
    /// The answer about a sample is wrong.
    #[error("the server's answer about position {position} of {about} is wrong: {wrong}")]
    Answer {
        /// The sample.
        about: String,
        /// The position.
        position: usize,
        /// What is wrong.
        wrong: WrongAnswer,
    },
    /// The answer about a sample has another length.
    #[error("the server answered {about}, of {expected} tokens, for {found}")]
    Length {
        /// The sample.
        about: String,
        /// The tokens that were sent.
        expected: usize,
        /// The tokens that were answered for.
        found: usize,
    },
    /// An answer is of another model.
    #[error("the server answered {about} with the model `{found}`, where `{asked}` was asked")]
    AnsweredBy {
        /// The sample.
        about: String,
        /// The model that was asked.
        asked: String,
        /// The model that the answer names.
        found: String,
    },
    /// Answers to the same questions differ by more than any one model's.
    #[error(
        "the server answers the same question in different ways: its log-probabilities at {positions} fixed positions differ by \
         {spread:.2} nats on average, where rounding explains {most} at most"
    )]
    Unsteady {
        /// The number of positions.
        positions: usize,
        /// The mean difference.
        spread: f64,
        /// The largest that counts as rounding.
        most: f64,
    },
    /// The server became another one, and no request failed.
    #[error("{changed}; the work unit `{unit}`, captured meanwhile, was not stored")]
    Exchanged {
        /// The work unit.
        unit: String,
        /// How it differs.
        changed: Box<ServerError>,
    },
    /// The server's answers to the fixed positions are other than before.
    #[error(
        "the server does not answer as before: its log-probabilities at {positions} fixed positions differ by {difference:.1e} nats on \
         average, where {allowed:.1e} are expected at most"
    )]
    OtherAnswers {
        /// The number of positions.
        positions: usize,
        /// The mean difference.
        difference: f64,
        /// The largest that repeated questions explain.
        allowed: f64,
    },
    /// The server runs something else than when the command began.
    #[error("the server came back with another {what}: `{found}` instead of `{expected}`")]
    Changed {
        /// What changed.
        what: &'static str,
        /// What it was.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The command was told to stop.
    #[error("stopped")]
    Stopped,
}

fn listed(models: &[String]) -> String {
    let named: Vec<String> = models.iter().take(8).map(|model| format!("`{model}`")).collect();
    if named.is_empty() {
        return "no model".to_owned();
    }
    named.join(", ")
}

impl Diagnosis for ServerError {
    fn is_unexpected(&self) -> bool {
        false
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Address(WrongAddress { why, .. }) if why.contains("/v1") => "leave out `/v1`",
            Self::Address(_) => {
                "write an address such as `http://127.0.0.1:8000`; a key is read from the environment variable \
                 `LEADSPAN_SERVER_KEY`"
            }
            Self::Setting { why, .. } if why.starts_with("is set") => "remove the key, or set `teacher.server`",
            Self::Setting { key, .. } => match *key {
                "cache.temperatures" | "cache.tail_samples" => {
                    "remove the key, or capture with a teacher that leadspan runs itself"
                }
                "teacher.engine" => {
                    "set `teacher.engine` to `vllm` or `sglang`, and `teacher.server` to the server's address"
                }
                "teacher.dtype" => "remove the key; state what the server runs with `teacher.quantisation`",
                _ => "remove the key",
            },
            Self::Key => "set the variable to the key alone, or unset it",
            Self::NoVocabulary { .. } => "`teacher.model` needs the served model's `config.json` beside its tokenizer",
            Self::GaveUp { .. } => {
                "start the server again, or wait longer with `teacher.patience_seconds`; the same command continues"
            }
            Self::Connection { .. } => {
                "check `teacher.server`, and the server's certificate; `SSL_CERT_FILE` names a file, and `SSL_CERT_DIR` folders, of \
                 certificate authorities to trust in place of those of browsers"
            }
            Self::Authorities {
                variable: "SSL_CERT_DIR",
                ..
            } => {
                "let `SSL_CERT_DIR` name folders of certificates in the PEM format, on which `openssl rehash` was run, or unset it"
            }
            Self::Authorities { .. } => {
                "let `SSL_CERT_FILE` name a file of certificates in the PEM format, or unset it to trust those of browsers"
            }
            Self::Refused { asked: Some(asked), .. } => {
                return Some(format!(
                    "start vLLM with `--max-logprobs {asked}` or more, or lower `cache.top_k` before the capture begins"
                ));
            }
            Self::Refused { status: 401 | 403, .. } => {
                "put the server's key into the environment variable `LEADSPAN_SERVER_KEY`"
            }
            Self::Refused { status: 404 | 405, .. } | Self::Form { .. } => {
                "check `teacher.server` and `teacher.engine`, and that the server generates text"
            }
            Self::Refused { .. } | Self::TooLarge { .. } => "see the server's log",
            Self::Redirected { .. } => "name the address at which the server answers itself",
            Self::OtherModel { .. } | Self::WhichModel { .. } => "set `teacher.served_model` to one of them",
            Self::OtherTokenizer { .. } => "let `teacher.model` be the directory of the model that is served",
            Self::BeyondContext { context, .. } => {
                return Some(format!(
                    "start the server with a longer context (`--max-model-len`, `--context-length`), or make a cache with \
                     `data.max_tokens = {}` or less",
                    context.saturating_sub(1)
                ));
            }
            Self::Answer { .. } | Self::Length { .. } => {
                "no shard was written with it; check that the server returns raw log-probabilities of this model"
            }
            Self::AnsweredBy { .. } => {
                "set `teacher.served_model` to the name by which the server's answers call the teacher, or mend what answers at \
                 `teacher.server`"
            }
            Self::Unsteady { .. } => {
                "let `teacher.server` be the address of one server: several models may answer behind it in turn"
            }
            Self::Exchanged { .. } => {
                "start the server with the model, precision and settings of before: the same command continues; every stored work \
                 unit was captured before the server had last answered as before"
            }
            Self::OtherAnswers { .. } | Self::Changed { .. } => {
                "start the server with the model, precision and settings of before, or capture into a new cache"
            }
            Self::Stopped => return None,
        };
        Some(hint.to_owned())
    }
}
