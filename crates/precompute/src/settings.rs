//! What a user can ask of stage one: the `[teacher]` and `[cache]` tables of a pipeline file.

use std::path::PathBuf;

use candle_core::Device;
use leadspan_distribution::{EntrySettings, codec::Precision};
use leadspan_model::{KernelForm, StoredDtype};
use leadspan_sequence::{LeadSpanProportion, SectionSet};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{
    PrecomputeError,
    memory_size::{MEMORY_PATTERN, MemorySize},
    server_address::{ADDRESS_PATTERN, Address},
    server_engine::ServerEngine,
};

/// Which model is run, and how: the `[teacher]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TeacherSettings {
    /// A directory in the Hugging Face layout, a `.gguf` file, or the id of a downloaded Hub model.
    ///
    /// A path is relative to the pipeline file. The program looks up an id in the Hub's cache on this machine.
    pub model: PathBuf,
    /// The branch, tag or commit of a Hub model; `main` if it is not set.
    ///
    /// Of a served teacher, what you state here belongs to the cache's identity, and `model` may be a path. The files of an id are those
    /// of this revision if they were downloaded, or else those of `main`.
    #[serde(default)]
    pub revision: Option<String>,
    /// The folder, or the id of a downloaded Hub model, of a LoRA adapter of PEFT, which is merged into the weights.
    ///
    /// The tokenizer and the chat template stay those of `model`. A path is relative to the pipeline file.
    #[serde(default)]
    pub adapter: Option<PathBuf>,
    /// The address of an inference server that runs the teacher, such as `http://127.0.0.1:8000`.
    ///
    /// Tokenizer, chat template and `config.json` still come from `model`, which needs no weights.
    #[serde(default, deserialize_with = "address")]
    #[schemars(regex(pattern = ADDRESS_PATTERN))]
    pub server: Option<String>,
    /// What the server is; required with `server`.
    #[serde(default)]
    pub engine: Option<ServerEngine>,
    /// The name by which the server knows the model; if it is not set, the server must have only one.
    #[serde(default)]
    pub served_model: Option<String>,
    /// The quantisation that the server runs, as you state it; it belongs to the cache's identity.
    #[serde(default)]
    pub quantisation: Option<String>,
    /// The most requests that the server gets at a time.
    #[serde(default = "default_requests")]
    #[schemars(range(min = 1, max = MOST_REQUESTS))]
    pub requests: usize,
    /// How many seconds the server may take for one answer.
    #[serde(default = "default_seconds")]
    #[schemars(range(min = 1))]
    pub request_seconds: u64,
    /// How many seconds a server that does not answer is waited for.
    #[serde(default = "default_seconds")]
    pub patience_seconds: u64,
    /// The number format in which weights are held.
    #[serde(default)]
    pub dtype: StoredDtype,
    /// `cpu` or `cuda:N`.
    #[serde(default = "default_device")]
    #[schemars(regex(pattern = leadspan_model::DEVICE_PATTERN))]
    pub device: String,
    /// What the weights may take in memory, such as `8 GiB`; if they do not fit, they are read layer by layer in every pass.
    ///
    /// Hidden states count among them. Without it, a teacher on the CPU may take nine tenths of the memory that the machine has available.
    /// It changes no bit of the cache. It needs `device = "cpu"`.
    #[serde(default)]
    #[schemars(with = "Option<String>", regex(pattern = MEMORY_PATTERN))]
    pub memory: Option<MemorySize>,
    /// The form of the operations on a GPU.
    ///
    /// Fused kernels are compared with stock operations when the teacher is loaded, and not used where they differ.
    #[serde(default)]
    pub kernels: KernelForm,
}

/// The most requests at a time.
pub(crate) const MOST_REQUESTS: usize = 1024;

fn default_requests() -> usize {
    8
}

fn default_seconds() -> u64 {
    600
}

/// An address that may be stored and shown: one with a password is refused before any command writes it anywhere.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let server = Option::<String>::deserialize(deserializer)?;
    if let Some(server) = &server {
        Address::parse(server).map_err(|wrong| D::Error::custom(wrong.why))?;
    }
    Ok(server)
}

impl TeacherSettings {
    pub(crate) fn check(&self) -> Result<(), PrecomputeError> {
        let zero = |key| Err(PrecomputeError::ZeroSetting { key });
        match self {
            Self { requests: 0, .. } => zero("teacher.requests"),
            Self { request_seconds: 0, .. } => zero("teacher.request_seconds"),
            Self { requests, .. } if *requests > MOST_REQUESTS => Err(PrecomputeError::TooManyRequests {
                given: *requests,
                most: MOST_REQUESTS,
            }),
            Self {
                memory: Some(_),
                device,
                server: None,
                ..
            } if device != "cpu" => Err(PrecomputeError::StreamingDevice { device: device.clone() }),
            _ => Ok(()),
        }
    }
}

/// What is stored, and where: the `[cache]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// The folder of the cache, relative to the pipeline file.
    pub dir: PathBuf,
    /// The leading share of every training sample to capture, above 0 and at most 1.
    ///
    /// Validation samples are captured whole.
    #[serde(default = "default_proportion")]
    pub lead_span_proportion: LeadSpanProportion,
    /// The sections whose tokens are captured as targets.
    #[serde(default = "default_sections")]
    pub supervised_sections: SectionSet,
    /// The most entries that are stored for a position.
    #[serde(default = "default_top_k")]
    #[schemars(range(min = 1, max = EntrySettings::MAX_TOP_K))]
    pub top_k: u32,
    /// Store only the most probable entries that together reach this probability, at most `top_k`; `top_k` alone if it is
    /// not set.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub top_p: Option<f32>,
    /// Tokens drawn from the tail of each position, which keep the target unbiased.
    ///
    /// They are drawn with replacement, each in proportion to its probability.
    #[serde(default)]
    #[schemars(range(max = EntrySettings::MAX_TAIL_SAMPLES))]
    pub tail_samples: u32,
    /// Temperatures other than 1 at which students may be trained.
    ///
    /// Each takes one more number for each position.
    #[serde(default)]
    #[schemars(length(max = EntrySettings::MAX_TEMPERATURES))]
    #[schemars(extend(
        "uniqueItems" = true,
        "items" = { "type": "number", "exclusiveMinimum": 0, "not": { "const": 1 } },
    ))]
    pub temperatures: Vec<f32>,
    /// How exactly log-probabilities are stored; `fine` suits reverse KL.
    #[serde(default)]
    pub precision: Precision,
    /// Samples in one shard, which is also the work unit of a worker.
    #[serde(default = "default_samples_per_shard")]
    #[schemars(range(min = 1, max = u32::MAX))]
    pub samples_per_shard: u32,
    /// Tokens that go through the teacher at a time: 2048 if it is not set, 16384 on a GPU.
    ///
    /// A longer sample goes alone.
    #[schemars(range(min = 1))]
    pub batch_tokens: Option<usize>,
    /// Memory of one chunk of logits in MiB: 64 if it is not set, 512 on a GPU.
    #[schemars(range(min = 1))]
    pub head_chunk_mib: Option<usize>,
}

fn default_device() -> String {
    "cpu".to_owned()
}

fn default_proportion() -> LeadSpanProportion {
    LeadSpanProportion::WHOLE
}

fn default_sections() -> SectionSet {
    SectionSet::ALL
}

fn default_top_k() -> u32 {
    64
}

fn default_samples_per_shard() -> u32 {
    1024
}

impl CacheSettings {
    pub(crate) fn check(&self) -> Result<(), PrecomputeError> {
        let counts = [
            ("cache.top_k", Some(self.top_k as usize)),
            ("cache.samples_per_shard", Some(self.samples_per_shard as usize)),
            ("cache.batch_tokens", self.batch_tokens),
            ("cache.head_chunk_mib", self.head_chunk_mib),
        ];
        if let Some((key, _)) = counts.into_iter().find(|&(_, count)| count == Some(0)) {
            return Err(PrecomputeError::ZeroSetting { key });
        }
        Ok(self.entries().check()?)
    }

    /// How many tokens go through the model at a time on this device: on the CPU as many as its caches like, elsewhere as many
    /// as keep it busy.
    pub fn batch_tokens_on(&self, device: &Device) -> usize {
        self.batch_tokens.unwrap_or(if device.is_cpu() { 2048 } else { 16_384 })
    }

    /// How many MiB one chunk of logits may take on this device.
    pub fn head_chunk_mib_on(&self, device: &Device) -> usize {
        self.head_chunk_mib.unwrap_or(if device.is_cpu() { 64 } else { 512 })
    }

    /// What is stored of a position.
    pub(crate) fn entries(&self) -> EntrySettings {
        EntrySettings {
            top_k: self.top_k,
            top_p: self.top_p,
            tail_samples: self.tail_samples,
            temperatures: self.temperatures.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    #[test]
    fn tables_with_only_paths_take_the_documented_defaults() {
        let teacher: TeacherSettings = serde_json::from_str(r#"{"model": "teacher"}"#).unwrap();
        assert_eq!((teacher.dtype, teacher.device.as_str()), (StoredDtype::F32, "cpu"));
        assert_eq!((teacher.server, teacher.engine, teacher.requests), (None, None, 8));
        assert_eq!((teacher.request_seconds, teacher.patience_seconds), (600, 600));
        let cache: CacheSettings = serde_json::from_str(r#"{"dir": "cache"}"#).unwrap();
        assert_eq!(cache.lead_span_proportion, LeadSpanProportion::WHOLE);
        assert_eq!(cache.supervised_sections, SectionSet::ALL);
        assert_eq!(cache.entries(), EntrySettings::top_k(64));
        assert_eq!((cache.precision, cache.samples_per_shard), (Precision::Standard, 1024));
        let cpu = Device::Cpu;
        assert_eq!((cache.batch_tokens_on(&cpu), cache.head_chunk_mib_on(&cpu)), (2048, 64));
        cache.check().unwrap();
    }

    #[test]
    fn settings_survive_being_written_and_read_back() {
        let given = r#"{"dir": "c", "lead_span_proportion": 0.29, "supervised_sections": ["answer"], "top_k": 8}"#;
        let cache: CacheSettings = serde_json::from_str(given).unwrap();
        assert_eq!(cache.lead_span_proportion.to_string(), "0.29");
        let again: CacheSettings = serde_json::from_str(&serde_json::to_string(&cache).unwrap()).unwrap();
        assert_eq!(again, cache);
    }

    #[test]
    fn an_address_with_a_password_never_becomes_a_setting() {
        let of = |server: &str| {
            serde_json::from_str::<TeacherSettings>(&format!(r#"{{"model": "m", "server": "{server}"}}"#))
        };
        let error = of("http://me:sesame@host").unwrap_err().to_string();
        assert!(
            error.contains("it has a user name or a password") && !error.contains("sesame"),
            "{error}"
        );
        let settings = of("http://host:8000").unwrap();
        let again = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<TeacherSettings>(&again).unwrap(), settings);
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_refused() {
        let of = |json: &str| serde_json::from_str::<CacheSettings>(json);
        assert!(
            of(r#"{"dir": "c", "topk": 8}"#)
                .unwrap_err()
                .to_string()
                .contains("topk")
        );
        let error = of(r#"{"dir": "c", "top_p": 1.5}"#).unwrap().check().unwrap_err();
        assert!(
            error.to_string().contains("`cache.top_p` is 1.5") && !error.is_unexpected(),
            "{error}"
        );
        assert!(of(r#"{"dir": "c", "lead_span_proportion": 0}"#).is_err());
        assert!(of(r#"{"dir": "c", "lead_span_proportion": 1.5}"#).is_err());
        for key in ["top_k", "samples_per_shard", "batch_tokens", "head_chunk_mib"] {
            let settings = of(&format!(r#"{{"dir": "c", "{key}": 0}}"#)).unwrap();
            let error = settings.check().unwrap_err();
            assert!(
                error.to_string().contains(&format!("`cache.{key}`")) && !error.is_unexpected(),
                "{error}"
            );
        }
    }
}
