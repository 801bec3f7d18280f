//! A server that stands in for vLLM and SGLang: it answers with the true distributions of a model that it runs, in either form,
//! and fails as it is told to.

mod forms;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use leadspan_model::{Decoder, ModelSource, Packed, Stop, StoredDtype, TokenizerBundle};
use serde_json::{Value, json};

use self::forms::{Row, in_sglangs_form, in_vllms_form};

/// The form of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Vllm,
    /// Flat arrays in base64.
    SglangBase64,
    /// Lists of lists, as of versions that do not know the others.
    SglangLists,
}

/// A way to fail at one question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// This status, with this header `Retry-After`.
    Status(u16, Option<u32>),
    /// The connection ends within the answer.
    Cut,
    /// The connection stays open, and nothing comes.
    Silence,
    /// This text instead of an answer.
    Text(&'static str),
    /// An answer that does not end.
    Endless,
    /// Another address.
    Redirect,
    /// An answer for one token fewer.
    Short,
    /// Another number instead of the first log-probability.
    Value(f32),
    /// Another token instead of the first position's most probable one.
    Token(u32),
    /// An answer as of this model.
    Model(&'static str),
    /// All log-probabilities too low by as many nats.
    Lowered(f32),
    /// The lists of the most probable tokens of the next position, beside the right targets.
    Shifted,
}

/// What a stand-in says and does; it can be changed while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) form: Form,
    pub(crate) version: &'static str,
    pub(crate) models: Vec<&'static str>,
    pub(crate) context: usize,
    /// The most log-probabilities of a position.
    pub(crate) most_logprobs: usize,
    /// What the logits are multiplied by: other weights, if it is not 1.
    pub(crate) scale: f32,
    /// What they are multiplied by at questions that are not about the fixed positions, which have 65 tokens.
    pub(crate) others_scale: Option<f32>,
    /// What they are multiplied by at every other question, if another model answers in turn.
    pub(crate) in_turn: Option<f32>,
    /// The key that is asked for.
    pub(crate) key: Option<&'static str>,
    /// Whether texts are tokenized, and what is added to each token.
    pub(crate) tokenizes: Option<u32>,
    /// Faults, by the number of the question: 0 to 4 are those about the fixed positions, if nothing failed before.
    pub(crate) faults: Vec<(usize, Fault)>,
}

impl Manner {
    pub(crate) fn of(form: Form) -> Self {
        Self {
            form,
            version: "0.32.0",
            models: vec!["teacher"],
            context: 4096,
            most_logprobs: 64,
            scale: 1.0,
            others_scale: None,
            in_turn: None,
            key: None,
            tokenizes: Some(0),
            faults: Vec::new(),
        }
    }
}

/// A server that runs.
pub(crate) struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    decoder: Decoder,
    tokenizer: TokenizerBundle,
    manner: Mutex<Manner>,
    questions: AtomicUsize,
    ended: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl StandIn {
    /// Starts a server of the model in `dir`.
    pub(crate) fn start(dir: &Path, manner: Manner) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), dir, manner)
    }

    /// Starts a server of the model in `dir` at an address.
    pub(crate) fn start_at(address: SocketAddr, dir: &Path, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let source = ModelSource::open(dir).unwrap();
        let shared = Arc::new(Shared {
            decoder: Decoder::load(&source, StoredDtype::F32, &candle_core::Device::Cpu).unwrap(),
            tokenizer: source.tokenizer().unwrap(),
            manner: Mutex::new(manner),
            questions: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for connection in listener.incoming() {
                    if shared.ended.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(connection) = connection else { continue };
                    shared.connections.lock().unwrap().push(connection.try_clone().unwrap());
                    let shared = Arc::clone(&shared);
                    // A connection that is cut ends its thread.
                    thread::spawn(move || drop(shared.serve(&connection)));
                }
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The number of questions so far.
    pub(crate) fn questions(&self) -> usize {
        self.shared.questions.load(Ordering::SeqCst)
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.shared.manner.lock().unwrap());
    }

    /// Ends at once, with all of its connections.
    pub(crate) fn kill(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts connections.
        drop(TcpStream::connect(self.address));
        thread.join().unwrap();
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The result of a request: nothing if the connection ends.
type Answered = std::io::Result<Option<()>>;

impl Shared {
    fn serve(&self, connection: &TcpStream) -> Answered {
        let mut reader = BufReader::new(connection.try_clone()?);
        loop {
            let (mut line, mut length, mut key) = (String::new(), 0, None);
            reader.read_line(&mut line)?;
            let Some(path) = line.split(' ').nth(1).map(str::to_owned) else {
                return Ok(None);
            };
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                let Some((name, value)) = header.trim().split_once(':') else {
                    break;
                };
                match name.to_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap(),
                    "authorization" => key = Some(value.trim().to_owned()),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            if self.answer(connection, &path, key.as_deref(), &body)?.is_none() {
                let _ = connection.shutdown(Shutdown::Both);
                return Ok(None);
            }
        }
    }

    fn answer(&self, connection: &TcpStream, path: &str, key: Option<&str>, body: &Value) -> Answered {
        let manner = self.manner.lock().unwrap().clone();
        if let Some(wanted) = manner.key
            && key != Some(format!("Bearer {wanted}").as_str())
        {
            let said = json!({"error": {"message": format!("Incorrect key: {}", key.unwrap_or("none"))}});
            return respond(connection, 401, "", &said.to_string());
        }
        match (path, manner.form) {
            ("/version", Form::Vllm)
            | ("/server_info", Form::SglangBase64)
            | ("/get_server_info", Form::SglangLists) => {
                respond(connection, 200, "", &json!({"version": manner.version}).to_string())
            }
            ("/v1/models", _) => {
                let model = |id| json!({"id": id, "root": "/models/teacher", "max_model_len": manner.context});
                let models: Vec<Value> = manner.models.iter().map(model).collect();
                respond(
                    connection,
                    200,
                    "",
                    &json!({"object": "list", "data": models}).to_string(),
                )
            }
            ("/tokenize", _) if let Some(added) = manner.tokenizes => {
                let encoding = self.tokenizer.tokenizer.encode(body["prompt"].as_str().unwrap(), false);
                let tokens: Vec<u32> = encoding.unwrap().get_ids().iter().map(|token| token + added).collect();
                respond(
                    connection,
                    200,
                    "",
                    &json!({"tokens": tokens, "count": tokens.len()}).to_string(),
                )
            }
            ("/v1/completions", Form::Vllm) => self.question(connection, body, "prompt", "prompt_logprobs", &manner),
            ("/generate", Form::SglangBase64 | Form::SglangLists) => {
                self.question(connection, body, "input_ids", "top_logprobs_num", &manner)
            }
            _ => respond(connection, 404, "", r#"{"detail":"Not Found"}"#),
        }
    }

    fn question(&self, connection: &TcpStream, body: &Value, prompt: &str, k: &str, manner: &Manner) -> Answered {
        let number = self.questions.fetch_add(1, Ordering::SeqCst);
        let tokens = body[prompt].as_array().unwrap().iter();
        let tokens: Vec<u32> = tokens.map(|token| token.as_u64().unwrap() as u32).collect();
        let k = body[k].as_u64().unwrap() as usize;
        if k > manner.most_logprobs {
            let most = manner.most_logprobs;
            let said = json!({"error": {"message": format!("Requested prompt logprobs of {k}, which is greater than max allowed: {most}")}});
            return respond(connection, 400, "", &said.to_string());
        }
        let fault = manner
            .faults
            .iter()
            .find(|(at, _)| *at == number)
            .map(|(_, fault)| fault.clone());
        let mut answered = &tokens[..];
        match &fault {
            Some(Fault::Status(status, after)) => {
                let after = after
                    .map(|seconds| format!("Retry-After: {seconds}\r\n"))
                    .unwrap_or_default();
                return respond(connection, *status, &after, r#"{"message":"told to \u001b[31mfail"}"#);
            }
            Some(Fault::Redirect) => {
                return respond(connection, 307, "Location: http://elsewhere.example/v1\r\n", "");
            }
            Some(Fault::Text(text)) => return respond(connection, 200, "", text),
            Some(Fault::Endless) => {
                let mut connection = connection;
                connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                // Until the client has enough.
                let blanks = vec![b' '; 1 << 16];
                while connection.write_all(&blanks).is_ok() {}
                return Ok(None);
            }
            // Until the client or the test has enough.
            Some(Fault::Silence) => {
                let mut connection = connection;
                let _ = connection.read(&mut [0]);
                return Ok(None);
            }
            Some(Fault::Short) => answered = &tokens[..tokens.len() - 1],
            _ => {}
        }
        let others = manner.others_scale.filter(|_| tokens.len() != 65);
        let in_turn = manner.in_turn.filter(|_| number % 2 == 1);
        let scale = others.or(in_turn).unwrap_or(manner.scale);
        let mut rows = self.rows(answered, k, scale);
        let mut model = body["model"].as_str().unwrap_or_default();
        match fault {
            Some(Fault::Value(value)) => rows[0].top[0].1 = value,
            Some(Fault::Token(token)) => rows[0].top[0].0 = token,
            Some(Fault::Model(another)) => model = another,
            Some(Fault::Lowered(nats)) => {
                for row in &mut rows {
                    row.top
                        .iter_mut()
                        .chain([&mut row.target])
                        .for_each(|entry| entry.1 -= nats);
                }
            }
            Some(Fault::Shifted) => {
                for place in 1..rows.len() {
                    let (before, after) = rows.split_at_mut(place);
                    before[place - 1].top.clone_from(&after[0].top);
                }
            }
            _ => {}
        }
        let text = match manner.form {
            Form::Vllm => in_vllms_form(&rows, model),
            Form::SglangBase64 => in_sglangs_form(answered, &rows, true),
            Form::SglangLists => in_sglangs_form(answered, &rows, false),
        };
        if fault == Some(Fault::Cut) {
            let mut connection = connection;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
            connection.write_all(head.as_bytes())?;
            connection.write_all(&text.as_bytes()[..text.len() / 2])?;
            return Ok(None);
        }
        respond(connection, 200, "", &text)
    }

    /// The `k` most probable tokens and the target at each position but the last.
    fn rows(&self, tokens: &[u32], k: usize, scale: f32) -> Vec<Row> {
        let hidden = self.decoder.hidden_states(&Packed::new([tokens]), Stop::NEVER).unwrap();
        let logits = self.decoder.logits(&hidden).unwrap().to_vec2::<f32>().unwrap();
        let row = |(logits, &target): (&Vec<f32>, &u32)| {
            let scaled = || logits.iter().map(|&logit| f64::from(logit * scale));
            let log_sum = scaled().map(f64::exp).sum::<f64>().ln();
            let mut all: Vec<(u32, f32)> = scaled()
                .enumerate()
                .map(|(token, logit)| (token as u32, (logit - log_sum) as f32))
                .collect();
            let target = all[target as usize];
            all.sort_by(|(one, a), (other, b)| b.total_cmp(a).then(one.cmp(other)));
            all.truncate(k);
            Row { top: all, target }
        };
        logits.iter().zip(&tokens[1..]).map(row).collect()
    }
}

fn respond(mut connection: &TcpStream, status: u16, headers: &str, body: &str) -> Answered {
    let text = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    connection.write_all(text.as_bytes())?;
    Ok(Some(()))
}
