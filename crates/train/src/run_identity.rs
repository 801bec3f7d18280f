//! The identity of a run: everything that its weights depend on, so that no run resumes as another.

use std::path::PathBuf;

use leadspan_cache::{Cache, Reader};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{LeadSpan, TrainSettings, replay::Replay, settings::PASS_TOKENS};

/// Settings of `[train]` that change no weight but by rounding: where and how often files are written, the device, its kernels,
/// the memory.
const WITHOUT_EFFECT: [&str; 7] = [
    "dir",
    "device",
    "kernels",
    "activation_checkpointing",
    "recompute_gates",
    "checkpoint_steps",
    "keep_checkpoints",
];

/// Settings that earlier versions did not have, with the values that say what those did. With these they are not stored.
const NEW: [(&str, &str); 4] = [
    ("lead_span", "constant"),
    ("positions", "all"),
    ("position_weights", "flat"),
    ("schedule", "cosine"),
];

/// Everything that the trained weights depend on. Its key in files is `ingredients`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RunIdentity(Value);

impl RunIdentity {
    /// The identity of a run whose first weights depend on `student`.
    pub(crate) fn of(
        cache: &Cache,
        reader: &Reader,
        student: &Value,
        settings: &TrainSettings,
        replay: Option<&Replay>,
    ) -> Self {
        let train = of_settings(settings);
        let missing: Vec<String> = reader.missing_units().map(ToString::to_string).collect();
        Self(json!({
            "student": student,
            "train": train,
            "cache": { "identity": cache.identity(), "rows": corpus_digest(reader), "missing": missing },
            "replay": replay.map(of_replay),
        }))
    }

    /// An identity from a file.
    pub(crate) fn stored(value: Value) -> Self {
        Self(value)
    }

    /// The first difference from `asked`: the key with dots, the stored value, and the value asked for.
    pub(crate) fn difference(&self, asked: &Self) -> Option<(String, String, String)> {
        first_difference(&with_sorted_targets(&self.0), &with_sorted_targets(&asked.0))
    }
}

/// An identity with the names of the projections that get adapters as a set: sorted, each once. They are stored as they were
/// written, and earlier versions took a name twice.
fn with_sorted_targets(identity: &Value) -> Value {
    let mut identity = identity.clone();
    if let Some(Value::Array(names)) = identity.pointer_mut("/student/lora/settings/targets") {
        names.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
        names.dedup();
    }
    identity
}

/// What the weights depend on of the settings.
fn of_settings(settings: &TrainSettings) -> Value {
    // The folder has no effect, and its path may not be Unicode, as text in JSON must be. The tokens of a pass that suit the
    // device change weights by rounding alone, like the device: as ever, one number is stored for all devices.
    let settings = TrainSettings {
        dir: PathBuf::new(),
        micro_batch_tokens: Some(settings.micro_batch_tokens.unwrap_or(PASS_TOKENS)),
        ..settings.clone()
    };
    let mut train = serde_json::to_value(&settings).expect("settings serialize");
    if let Some(table) = train.as_object_mut() {
        let is_new = |key: &str, value: &Value| {
            let has_default = |(new, default): &(&str, &str)| key == *new && value == default;
            NEW.iter().any(has_default) || ["patience", "steps"].contains(&key) && value.is_null()
        };
        let is_ignored = |key: &str| match key {
            "lead_span_proportion" => settings.lead_span != LeadSpan::Constant,
            "epochs" => settings.steps.is_some(),
            _ => false,
        };
        table.retain(|key, value| !(WITHOUT_EFFECT.contains(&key.as_str()) || is_new(key, value) || is_ignored(key)));
    }
    train
}

/// What the weights depend on of what is replayed.
fn of_replay(replay: &Replay) -> Value {
    let mut table = json!({ "share": replay.share, "rows": corpus_digest(&replay.reader) });
    // Runs of earlier versions replayed the copies, and did not count them.
    if replay.copies_left_out > 0 {
        table["copies_left_out"] = replay.copies_left_out.into();
    }
    table
}

/// A digest of the rows of a corpus, in their order.
fn corpus_digest(reader: &Reader) -> String {
    let mut digest = blake3::Hasher::new();
    let corpus = reader.corpus();
    for index in 0..corpus.len() {
        digest.update(corpus.row_hash(index));
    }
    digest.finalize().to_hex().to_string()
}

/// The first leaf in which two JSON values differ: its key with dots, the stored value, the value asked for.
pub fn first_difference(stored: &Value, asked: &Value) -> Option<(String, String, String)> {
    let (Value::Object(stored_map), Value::Object(asked_map)) = (stored, asked) else {
        return (stored != asked).then(|| (String::new(), stored.to_string(), asked.to_string()));
    };
    let keys = asked_map
        .keys()
        .chain(stored_map.keys().filter(|key| !asked_map.contains_key(*key)));
    keys.into_iter().find_map(|key| {
        let (key_difference, stored, asked) = first_difference(
            stored_map.get(key).unwrap_or(&Value::Null),
            asked_map.get(key).unwrap_or(&Value::Null),
        )?;
        let separator = if key_difference.is_empty() { "" } else { "." };
        Some((format!("{key}{separator}{key_difference}"), stored, asked))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PositionWeights, Positions};

    #[test]
    fn the_settings_that_count_are_those_that_earlier_versions_stored() {
        // What version 0.1.0 stored of a run with defaults, on whatever device.
        let stored = json!({
            "lead_span_proportion": "0.5", "supervised_sections": ["prompt", "chain_of_thought", "answer"],
            "loss": "forward_kl", "tail_policy": "bucket", "jensen_shannon_beta": 0.5, "skew": 0.1,
            "distillation_weight": 0.5, "temperature": 1.0, "learning_rate": 4e-6, "weight_decay": 0.05,
            "warmup_share": 0.1, "gradient_clipping": 1.0, "epochs": 2, "max_flops": null, "batch_samples": 8,
            "micro_batch_tokens": 2048, "normalization": "token", "seed": 0, "dtype": "f32", "export": "last"
        });
        for device in ["cpu", "cuda:0"] {
            let settings = TrainSettings {
                device: device.to_owned(),
                dir: "a run".into(),
                activation_checkpointing: true,
                recompute_gates: true,
                ..TrainSettings::default()
            };
            assert_eq!(first_difference(&stored, &of_settings(&settings)), None);
        }
        let settings = TrainSettings {
            micro_batch_tokens: Some(7),
            ..TrainSettings::default()
        };
        let (key, ..) = first_difference(&stored, &of_settings(&settings)).unwrap();
        assert_eq!(key, "micro_batch_tokens");
    }

    #[test]
    fn policies_count_and_the_proportion_beside_a_lead_span_does_not() {
        let with = |change: &dyn Fn(&mut TrainSettings)| {
            let mut settings = TrainSettings::default();
            change(&mut settings);
            of_settings(&settings)
        };
        let plain = with(&|_| {});
        let different = |changed: &Value| first_difference(&plain, changed).unwrap();
        let weights = with(&|s| s.position_weights = PositionWeights::Rising);
        assert_eq!(
            different(&weights),
            ("position_weights".into(), "null".into(), "\"rising\"".into())
        );
        let half = "0.5".parse().unwrap();
        let chosen = with(&|s| s.positions = Positions::StudentEntropy(half));
        assert_eq!(different(&chosen).0, "positions");
        let growing = |proportion: &str| {
            with(&|s| {
                s.lead_span = LeadSpan::Growing(half, half);
                s.lead_span_proportion = proportion.parse().unwrap();
            })
        };
        assert_eq!(growing("0.5"), growing("1.0"));
        assert_eq!(growing("0.5").get("lead_span_proportion"), None);
        assert_eq!(first_difference(&plain, &growing("0.5")).unwrap().0, "lead_span");
    }

    #[test]
    fn steps_count_and_the_epochs_beside_them_do_not() {
        let with = |steps: Option<usize>, epochs: usize| {
            of_settings(&TrainSettings {
                epochs,
                steps,
                ..TrainSettings::default()
            })
        };
        assert_eq!(with(None, 2).get("steps"), None);
        assert_eq!(with(Some(7), 2), with(Some(7), 3));
        assert_eq!(with(Some(7), 2).get("epochs"), None);
        let difference = first_difference(&with(None, 2), &with(Some(7), 2)).unwrap();
        assert_eq!(difference, ("steps".into(), "null".into(), "7".into()));
    }

    #[test]
    fn the_order_of_the_projections_with_adapters_does_not_count() {
        let of = |targets: Value| json!({ "weights": "a", "lora": { "settings": { "rank": 2, "targets": targets }, "seed": 0 } });
        let stored = RunIdentity::stored(json!({ "student": of(json!(["v_proj", "q_proj", "v_proj"])), "train": {} }));
        let asked = |targets: Value| RunIdentity(json!({ "student": of(targets), "train": {} }));
        assert_eq!(stored.difference(&asked(json!(["q_proj", "v_proj"]))), None);
        assert_eq!(stored.difference(&asked(json!(["v_proj", "q_proj"]))), None);
        let (key, ..) = stored.difference(&asked(json!(["q_proj"]))).unwrap();
        assert_eq!(key, "student.lora.settings.targets");
        assert!(stored.difference(&asked(json!("all-linear"))).is_some());
    }

    #[test]
    fn the_first_differing_key_is_named_with_its_table() {
        let stored = json!({ "train": { "seed": 1, "epochs": 2 }, "cache": "a" });
        assert_eq!(first_difference(&stored, &stored), None);
        let asked = json!({ "train": { "seed": 1, "epochs": 3 }, "cache": "b" });
        let difference = first_difference(&stored, &asked).unwrap();
        assert_eq!(difference, ("train.epochs".into(), "2".into(), "3".into()));
        let (key, stored, asked) = first_difference(&stored, &json!({ "cache": "a" })).unwrap();
        assert_eq!((key.as_str(), asked.as_str()), ("train", "null"));
        assert!(stored.contains("epochs"));
    }
}
