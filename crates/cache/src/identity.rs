//! The identity of a cache: the values on which the meaning of its distributions depends.

use leadspan_distribution::{EntrySettings, codec::Precision};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the coding of positions, which is part of the identity.
pub const CODEC_VERSION: u32 = 2;

/// The values that must be equal for stored distributions to mean the same.
///
/// Paths, devices, numbers of workers and proportions are not among them. The corpus is compared by the hashes of its
/// rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The teacher; `None` if the cache is only a prepared corpus, for training without a teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherIdentity>,
    /// The fingerprint of the tokenizer.
    pub tokenizer: String,
    /// blake3 of the chat template's text.
    pub chat_template: String,
    /// The rule for finding sections, as the corpus crate states it.
    pub sections: Value,
    /// The entries that are stored of a position.
    pub entries: EntrySettings,
    /// The precision of the stored values.
    pub precision: Precision,
    /// The version of the coding: [`CODEC_VERSION`].
    pub codec: u32,
}

/// The teacher's part of the identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherIdentity {
    /// blake3 of the model's configuration.
    pub config_blake3: String,
    /// blake3 of the weights as stored; empty for a teacher that a server runs.
    pub weights_blake3: String,
    /// The digest of the LoRA adapter that is merged into the weights, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_blake3: Option<String>,
    /// The dtype of the weights during computation; `served` for a teacher that a server runs.
    pub dtype: String,
    /// The server that runs the teacher, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerIdentity>,
    /// Set if the distributions were imported, so that nothing else is known of the teacher. Then the hashes are empty and the
    /// dtype is `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedIdentity>,
}

/// What was imported, and what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedIdentity {
    /// The layout that was read: `distillkit` or `leadspan export`.
    pub layout: String,
    /// A hash of everything that was imported.
    pub blake3: String,
    /// What is known of the probability outside the entries, in words.
    pub tail: String,
    /// What is known of the probability of targets, in words.
    pub targets: String,
    /// What the files state of the teacher, which nobody can check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated_teacher: Option<Value>,
}

/// The server that runs the teacher, as it and the user describe it, and what it answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerIdentity {
    /// Its program, such as `vllm`.
    pub engine: String,
    /// The version of its program.
    pub version: String,
    /// The name by which it knows the model.
    pub model: String,
    /// The model's revision, as the user states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The model's quantisation, as the user states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<String>,
    /// Its answers to fixed questions.
    pub answers: ServerAnswers,
}

/// The answers of a server to questions that never change. Answers of the same model differ by rounding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerAnswers {
    /// The tokens that were sent.
    pub tokens: Vec<u32>,
    /// The log-probability of the most probable token at each position but the last.
    pub best: Vec<f32>,
    /// The log-probability of the token that follows at each of these positions.
    pub targets: Vec<f32>,
    /// The mean difference, in nats, of answers to the same question.
    pub spread: f32,
}

/// Stands for a value that an identity does not have.
pub(crate) const ABSENT: &str = "(absent)";

/// One field in which two identities differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field, such as `teacher.dtype`.
    pub field: String,
    /// Its value in the cache.
    pub stored: String,
    /// The value that is asked for.
    pub asked: String,
}

impl Identity {
    /// The first field in which `asked` differs from this stored identity.
    pub fn first_difference(&self, asked: &Self) -> Option<Difference> {
        let (stored, asked) = (self.leaves(), asked.leaves());
        let value_of = |leaves: &[(String, String)], field: &str| {
            leaves
                .iter()
                .find(|(name, _)| name == field)
                .map_or(ABSENT.to_owned(), |(_, value)| value.clone())
        };
        stored.iter().chain(&asked).find_map(|(field, _)| {
            let (stored, asked) = (value_of(&stored, field), value_of(&asked, field));
            (stored != asked).then(|| Difference {
                field: field.clone(),
                stored,
                asked,
            })
        })
    }

    /// A hash of the identity. Every shard contains it.
    pub fn fingerprint(&self) -> String {
        let mut leaves = self.leaves();
        leaves.sort();
        let mut hasher = blake3::Hasher::new();
        for (field, value) in leaves {
            for text in [field, value] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Every value of the identity with its dotted name, in the order of the fields.
    fn leaves(&self) -> Vec<(String, String)> {
        let value = serde_json::to_value(self).expect("strings, numbers and JSON values always serialize");
        let mut leaves = Vec::new();
        collect_leaves(&value, String::new(), &mut leaves);
        // Users know these values as keys of the `[cache]` table.
        for (name, _) in &mut leaves {
            if let Some(key) = name.strip_prefix("entries.") {
                *name = key.to_owned();
            }
        }
        leaves
    }
}

fn collect_leaves(value: &Value, name: String, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                collect_leaves(value, name, leaves);
            }
        }
        Value::String(text) => leaves.push((name, text.clone())),
        other => leaves.push((name, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic::identity;
    use serde_json::json;

    #[test]
    fn every_part_of_the_identity_is_compared_and_named() {
        type Change = fn(&mut Identity);
        let changes: [(&str, &str, Change); 15] = [
            ("teacher.config_blake3", "other", |i| {
                "other".clone_into(&mut i.teacher.as_mut().unwrap().config_blake3);
            }),
            ("teacher.weights_blake3", "other", |i| {
                "other".clone_into(&mut i.teacher.as_mut().unwrap().weights_blake3);
            }),
            ("teacher.lora_blake3", "other", |i| {
                i.teacher.as_mut().unwrap().lora_blake3 = Some("other".to_owned());
            }),
            ("teacher.dtype", "bf16", |i| {
                "bf16".clone_into(&mut i.teacher.as_mut().unwrap().dtype);
            }),
            ("teacher.config_blake3", "(absent)", |i| i.teacher = None),
            ("tokenizer", "other", |i| "other".clone_into(&mut i.tokenizer)),
            ("chat_template", "other", |i| "other".clone_into(&mut i.chat_template)),
            ("sections.thinking_start", "<thought>", |i| {
                i.sections["thinking_start"] = json!("<thought>");
            }),
            ("sections.new_rule", "true", |i| {
                i.sections["new_rule"] = json!(true);
            }),
            ("top_k", "128", |i| i.entries.top_k = 128),
            ("top_p", "0.5", |i| i.entries.top_p = Some(0.5)),
            ("tail_samples", "50", |i| i.entries.tail_samples = 50),
            ("temperatures", "[3.0]", |i| i.entries.temperatures = vec![3.0]),
            ("precision", "fine", |i| i.precision = Precision::Fine),
            ("codec", "9", |i| i.codec = 9),
        ];
        let stored = identity();
        assert_eq!(stored.first_difference(&stored.clone()), None);
        for (field, asked_value, change) in changes {
            let mut asked = identity();
            change(&mut asked);
            let difference = stored.first_difference(&asked).unwrap();
            assert_eq!(
                (difference.field.as_str(), difference.asked.as_str()),
                (field, asked_value)
            );
            assert_ne!(difference.stored, difference.asked);
            assert_ne!(stored.fingerprint(), asked.fingerprint(), "{field}");
        }
    }

    #[test]
    fn the_order_of_keys_in_the_section_rule_does_not_matter() {
        let (mut one, mut other) = (identity(), identity());
        one.sections = json!({"a": 1, "b": 2});
        other.sections = json!({"b": 2, "a": 1});
        assert_eq!(one.first_difference(&other), None);
        assert_eq!(one.fingerprint(), other.fingerprint());
    }

    type Change = fn(&mut ServerIdentity);

    #[test]
    fn a_served_teacher_is_compared_value_by_value_and_older_identities_stay_what_they_are() {
        let server = ServerIdentity {
            engine: "vllm".into(),
            version: "0.32.0".into(),
            model: "teacher".into(),
            revision: None,
            quantisation: Some("fp8".into()),
            answers: ServerAnswers {
                tokens: vec![5, 6],
                best: vec![-0.1],
                targets: vec![-7.3],
                spread: 1e-6,
            },
        };
        let without = identity();
        assert!(!serde_json::to_string(&without).unwrap().contains("server"));
        let mut stored = identity();
        stored.teacher.as_mut().unwrap().server = Some(server.clone());
        assert_ne!(stored.fingerprint(), without.fingerprint());
        let read: Identity = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
        assert_eq!((read.fingerprint(), &read), (stored.fingerprint(), &stored));
        let changes: [(&str, &str, Change); 4] = [
            ("teacher.server.version", "0.33.0", |s| s.version = "0.33.0".into()),
            ("teacher.server.revision", "main", |s| s.revision = Some("main".into())),
            ("teacher.server.quantisation", ABSENT, |s| s.quantisation = None),
            ("teacher.server.answers.best", "[-0.5]", |s| s.answers.best = vec![-0.5]),
        ];
        for (field, asked_value, change) in changes {
            let mut asked = stored.clone();
            change(asked.teacher.as_mut().unwrap().server.as_mut().unwrap());
            let difference = stored.first_difference(&asked).unwrap();
            assert_eq!(
                (difference.field.as_str(), difference.asked.as_str()),
                (field, asked_value)
            );
        }
    }

    #[test]
    fn an_identity_survives_its_file_form() {
        let mut stored = identity();
        stored.entries.temperatures = vec![0.7, 2.0, 1.1];
        let read: Identity = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
        assert_eq!(read, stored);
        assert_eq!(read.fingerprint(), stored.fingerprint());
    }
}
