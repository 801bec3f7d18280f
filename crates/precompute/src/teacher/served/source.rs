//! What is known of a served teacher from its files and settings, before the server is reached.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use leadspan_cache::{ServerIdentity, TeacherIdentity};
use leadspan_files::read_regular;
use leadspan_model::{ModelError, ModelSource, StoredDtype, TokenizerBundle, stated_numbers};

use super::{
    fingerprint::{self, require_same_answers, require_steady},
    http::Client,
    patience::{Patience, ServerWait},
    server::{Asking, Server},
};
use crate::{
    CacheSettings, Pipeline, PrecomputeError, TeacherSettings, server_address::Address, server_engine::ServerEngine,
    server_error::ServerError,
};

/// The most bytes of a `config.json`.
const MOST_CONFIG: u64 = 64 << 20;

/// The most seconds that count: clocks end some time.
const LONGEST_REQUEST: u64 = 30 * 24 * 60 * 60;

/// A served teacher: its tokenizer's directory and its settings.
pub(crate) struct ServedSource {
    path: PathBuf,
    /// The model, if its files are of a model that leadspan could run.
    model: Option<ModelSource>,
    config_blake3: String,
    vocabulary: usize,
    /// The context that the configuration states. The server may have another.
    pub(crate) context: Option<usize>,
    engine: ServerEngine,
    server: Mutex<Option<Arc<Server>>>,
}

impl ServedSource {
    /// Opens the files of the teacher, and checks what can be had from a server. `address` is `teacher.server`.
    ///
    /// # Errors
    ///
    /// Files that are missing or damaged; settings that do not go with a server; an address that is not one.
    pub(crate) fn open(pipeline: &Pipeline, address: &str) -> Result<Self, PrecomputeError> {
        Address::parse(address).map_err(ServerError::from)?;
        let engine = check(&pipeline.teacher, &pipeline.cache)?;
        let path = pipeline.model_path();
        if !path.is_dir() {
            // A GGUF file has everything in itself.
            let model = ModelSource::open(&path)?;
            return Ok(Self {
                config_blake3: model.config_fingerprint(),
                vocabulary: model.config().vocab_size,
                context: Some(model.config().context()),
                model: Some(model),
                path,
                engine,
                server: Mutex::default(),
            });
        }
        let config = path.join("config.json");
        let bytes = read_regular(&config, MOST_CONFIG).map_err(|source| ModelError::Io {
            action: "read",
            path: config.clone(),
            source,
        })?;
        let [vocabulary, context] = stated_numbers(&config, ["vocab_size", "max_position_embeddings"])?;
        Ok(Self {
            config_blake3: blake3::hash(&bytes).to_hex().to_string(),
            vocabulary: vocabulary.ok_or(ServerError::NoVocabulary { config })?,
            context,
            // The server may run families and layouts that leadspan does not know.
            model: ModelSource::open(&path).ok(),
            path,
            engine,
            server: Mutex::default(),
        })
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(crate) fn model(&self) -> Option<&ModelSource> {
        self.model.as_ref()
    }

    pub(crate) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    pub(crate) fn tokenizer(&self) -> Result<TokenizerBundle, ModelError> {
        TokenizerBundle::open(&self.path)
    }

    /// Reaches the server, unless it was reached before.
    ///
    /// # Errors
    ///
    /// Those of [`Server::reach`].
    pub(crate) fn reach(
        &self,
        pipeline: &Pipeline,
        stop: &AtomicBool,
        waiting: &mut dyn FnMut(ServerWait),
    ) -> Result<Arc<Server>, PrecomputeError> {
        let mut reached = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = &*reached {
            return Ok(Arc::clone(server));
        }
        let (teacher, cache) = (&pipeline.teacher, &pipeline.cache);
        let address = Address::parse(teacher.server.as_deref().unwrap_or_default()).map_err(ServerError::from)?;
        let limit = Duration::from_secs(teacher.request_seconds.min(LONGEST_REQUEST));
        let client = Client::new(
            address,
            pipeline.server_key.as_ref(),
            &pipeline.server_authorities,
            teacher.requests,
            limit,
        )?;
        let asking = Asking {
            client,
            engine: self.engine,
            patience: Patience::of_seconds(teacher.patience_seconds),
            entries: cache.entries(),
            vocabulary: self.vocabulary,
            requests: teacher.requests,
            model: teacher.served_model.clone(),
        };
        let ours = self.tokens()?;
        let server = Arc::new(Server::reach(asking, &ours, &self.path, stop, waiting)?);
        *reached = Some(Arc::clone(&server));
        Ok(server)
    }

    /// The tokens of the text with the fixed positions.
    fn tokens(&self) -> Result<Vec<u32>, PrecomputeError> {
        let tokenizer = self.tokenizer()?.tokenizer;
        let encoding = tokenizer
            .encode(fingerprint::TEXT, false)
            .map_err(|error| ServerError::Form {
                path: "the tokenizer",
                engine: "leadspan",
                why: error.to_string(),
            })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The teacher's part of the identity. The answers of a cache that is there already, `stored`, stay what they are if the
    /// server still gives them. Of a server that was not reached, what only it can say is taken from `stored`.
    ///
    /// # Errors
    ///
    /// [`ServerError::OtherAnswers`] if everything else agrees with `stored`, and [`ServerError::Unsteady`] if the stored answers are not
    /// of one model.
    pub(crate) fn identity(
        &self,
        settings: &TeacherSettings,
        stored: Option<&TeacherIdentity>,
    ) -> Result<TeacherIdentity, PrecomputeError> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let said = match (&server, stored.and_then(|stored| stored.server.as_ref())) {
            (Some(server), _) => Some((&server.facts.version, &server.facts.model, &server.answers)),
            (None, Some(stored)) => {
                let model = settings.served_model.as_ref().unwrap_or(&stored.model);
                Some((&stored.version, model, &stored.answers))
            }
            (None, None) => None,
        };
        let server_identity = said.map(|(version, model, answers)| ServerIdentity {
            engine: self.engine.as_str().to_owned(),
            version: version.clone(),
            model: model.clone(),
            revision: settings.revision.clone(),
            quantisation: settings.quantisation.clone(),
            answers: answers.clone(),
        });
        let mut identity = TeacherIdentity {
            config_blake3: self.config_blake3.clone(),
            weights_blake3: String::new(),
            lora_blake3: None,
            dtype: "served".to_owned(),
            server: server_identity,
            imported: None,
        };
        let known = stored
            .and_then(|stored| stored.server.as_ref())
            .map(|server| &server.answers);
        if let (Some(stored), Some(known), Some(now), Some(server)) = (stored, known, &mut identity.server, &server) {
            let asked_again;
            let mut answers = &server.answers;
            if known.tokens != answers.tokens {
                // Another version of leadspan asked about another text.
                asked_again = server.remember(&known.tokens, &AtomicBool::new(false), &mut |_| ())?;
                answers = &asked_again;
            }
            let agreement = require_steady(known).and_then(|()| require_same_answers(known, answers));
            now.answers = known.clone();
            // What else differs says more.
            if identity == *stored {
                agreement?;
            }
        }
        Ok(identity)
    }
}

/// Checks that the settings go with a server, and ask for nothing that it cannot give. Returns the engine.
fn check(teacher: &TeacherSettings, cache: &CacheSettings) -> Result<ServerEngine, ServerError> {
    let refuse = |key, why| Err(ServerError::Setting { key, why });
    let Some(engine) = teacher.engine else {
        return refuse(
            "teacher.engine",
            "is not set, and servers of different engines are asked differently",
        );
    };
    if teacher.adapter.is_some() {
        return refuse(
            "teacher.adapter",
            "does not go with `teacher.server`: give the server the adapter, and name it by `teacher.served_model`",
        );
    }
    if teacher.dtype != StoredDtype::default() {
        return refuse(
            "teacher.dtype",
            "does not go with `teacher.server`: the server chose its number format when it was started",
        );
    }
    if teacher.memory.is_some() {
        return refuse(
            "teacher.memory",
            "does not go with `teacher.server`: the server holds the weights",
        );
    }
    if !cache.temperatures.is_empty() {
        return refuse(
            "cache.temperatures",
            "cannot be had from a server: it does not give tails at other temperatures",
        );
    }
    if cache.tail_samples > 0 {
        return refuse(
            "cache.tail_samples",
            "cannot be had from a server: it draws no tokens from the tail",
        );
    }
    Ok(engine)
}

/// Refuses keys that are only for a server, where there is none.
///
/// # Errors
///
/// [`ServerError::Setting`].
pub(crate) fn refuse_without_server(teacher: &TeacherSettings) -> Result<(), ServerError> {
    let keys = [
        ("teacher.engine", teacher.engine.is_some()),
        ("teacher.served_model", teacher.served_model.is_some()),
        ("teacher.quantisation", teacher.quantisation.is_some()),
    ];
    match keys.into_iter().find(|(_, is_set)| *is_set) {
        Some((key, _)) => Err(ServerError::Setting {
            key,
            why: "is set, but `teacher.server` is not",
        }),
        None => Ok(()),
    }
}
