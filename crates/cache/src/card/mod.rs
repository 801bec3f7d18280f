//! A data set card: the page that describes a cache, or an export of it, to those who find it on a model hub.
//!
//! Its head is YAML that `datasets` and the Hub read. Everything in it is what the cache states. What a cache does not store,
//! the result of an audit and a licence, is there only if the user gives it.

mod fidelity;
mod reading;
mod words;
mod yaml;

use std::fmt::{self, Write as _};

use leadspan_sequence::Split;
use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use serde_json::{Map, Value, json};

pub use self::fidelity::Fidelity;
use self::{
    words::{entries, teacher},
    yaml::yaml,
};
use crate::{Cache, CacheError, Inspection, export_list::ExportList};

/// The card of a cache, or of an export. [`Display`](fmt::Display) gives its text.
#[derive(Clone, Debug)]
pub struct Card {
    inspection: Inspection,
    license: Option<String>,
    fidelity: Option<Fidelity>,
    export: Option<ExportList>,
}

impl Card {
    /// The card of a cache.
    ///
    /// # Errors
    ///
    /// Those of [`Cache::inspect`].
    pub fn of(cache: &Cache) -> Result<Self, CacheError> {
        Ok(Self {
            inspection: cache.inspect()?,
            license: None,
            fidelity: None,
            export: None,
        })
    }

    /// The card with the licence that the user states.
    #[must_use]
    pub fn licensed(mut self, license: Option<&str>) -> Self {
        self.license = license.map(str::to_owned);
        self
    }

    /// The card with the figures of an audit of this cache.
    #[must_use]
    pub fn audited(mut self, fidelity: Option<Fidelity>) -> Self {
        self.fidelity = fidelity;
        self
    }

    /// The card of an export of the cache.
    pub(crate) fn exported(&self, list: &ExportList) -> Self {
        Self {
            export: Some(list.clone()),
            ..self.clone()
        }
    }

    /// The number of rows that a program sees: positions or samples of an export, samples of a cache.
    fn rows(&self) -> u64 {
        match &self.export {
            Some(list) if list.layout == ExportList::DATASET => list.rows,
            Some(list) => list.samples,
            None => {
                let corpus = self.inspection.corpus.as_ref();
                corpus.map_or(0, |corpus| corpus.train_samples + corpus.validation_samples)
            }
        }
    }

    fn head(&self) -> Value {
        let mut head = Map::new();
        if let Some(license) = &self.license {
            head.insert("license".to_owned(), json!(license));
        }
        head.insert("task_categories".to_owned(), json!(["text-generation"]));
        head.insert(
            "tags".to_owned(),
            json!(["knowledge-distillation", "teacher-logits", "leadspan"]),
        );
        head.insert("size_categories".to_owned(), json!([size_category(self.rows())]));
        match &self.export {
            // Shards are Parquet, but their columns are coded.
            None => head.insert("viewer".to_owned(), json!(false)),
            Some(list) => head.insert("configs".to_owned(), configs(list)),
        };
        Value::Object(head)
    }
}

/// The tables of an export, as `datasets` loads them: the first by default.
fn configs(list: &ExportList) -> Value {
    let config = |(name, folder): (&str, &str)| {
        let has = |split: &Split| {
            list.files
                .iter()
                .any(|file| file.folder == folder && file.split == *split)
        };
        let splits = [Split::Train, Split::Validation].into_iter().filter(has);
        let files = splits.map(|split| json!({ "split": split.as_str(), "path": format!("{folder}/{split}-*") }));
        let files: Vec<Value> = files.collect();
        (!files.is_empty()).then(|| json!({ "config_name": name, "data_files": files }))
    };
    let tables: &[(&str, &str)] = if list.layout == ExportList::DATASET {
        &[("positions", ExportList::POSITIONS), ("samples", ExportList::SAMPLES)]
    } else {
        &[("default", ExportList::POSITIONS)]
    };
    let mut configs: Vec<Value> = tables.iter().copied().filter_map(config).collect();
    if let Some(Value::Object(first)) = configs.first_mut() {
        first.insert("default".to_owned(), json!(true));
    }
    Value::Array(configs)
}

/// The Hub's name for data sets of this size.
fn size_category(rows: u64) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        10_000_000..100_000_000 => "10M<n<100M",
        100_000_000..1_000_000_000 => "100M<n<1B",
        _ => "n>1B",
    }
}

impl Serialize for Card {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut card = serializer.serialize_struct("Card", 3)?;
        card.serialize_field("head", &self.head())?;
        card.serialize_field("cache", &self.inspection)?;
        card.serialize_field("text", &self.to_string())?;
        card.end()
    }
}

impl fmt::Display for Card {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = String::new();
        yaml(&self.head(), 0, &mut head);
        let what = match &self.export {
            None => "leadspan cache",
            Some(list) if list.layout == ExportList::DATASET => "table",
            Some(_) => "table in DistillKit's layout",
        };
        write!(
            formatter,
            "---\n{head}---\n\n# Teacher distributions\n\nThis {what} holds the next-token distributions of a teacher model \
             for offline distillation: at each position of a text the most probable tokens with their log-probabilities \
             (natural logarithms).\n\n"
        )?;
        formatter.write_str(&self.facts())?;
        formatter.write_str(&self.fidelity())?;
        formatter.write_str(self.reading())
    }
}

impl Card {
    fn facts(&self) -> String {
        let Inspection {
            identity,
            corpus,
            serves,
            layers,
            inventory_blake3,
            ..
        } = &self.inspection;
        let mut rows = vec![("teacher", teacher(identity))];
        rows.push(("tokenizer", format!("fingerprint `{}`", identity.tokenizer)));
        rows.push(("chat template", format!("blake3 `{}`", identity.chat_template)));
        rows.push(("entries", entries(identity)));
        rows.push(("precision", identity.precision.as_str().to_owned()));
        if let Some(corpus) = corpus {
            let (train, validation, tokens) = (corpus.train_samples, corpus.validation_samples, corpus.tokens);
            rows.push((
                "samples",
                format!("{train} for training, {validation} held out; {tokens} tokens"),
            ));
        }
        if let Some(list) = &self.export {
            let rest = if list.complete {
                ""
            } else {
                "; the cache was incomplete"
            };
            rows.push(("positions", format!("{} ({}){rest}", list.rows, list.coverage)));
            let bytes: u64 = list.files.iter().map(|file| file.bytes).sum();
            rows.push(("size", format!("{bytes} bytes in {} files", list.files.len())));
        } else {
            let sections: Vec<String> = serves
                .iter()
                .map(|(name, proportion)| format!("{name} up to {proportion}"))
                .collect();
            let none = "nothing complete yet".to_owned();
            let served = if sections.is_empty() { none } else { sections.join(", ") };
            rows.push((
                "lead spans",
                format!("{served} of a training sample; held-out samples are whole"),
            ));
            let positions: u64 = layers.iter().map(|layer| layer.positions).sum();
            let bytes: u64 = layers.iter().map(|layer| layer.shard_bytes).sum();
            rows.push(("positions", positions.to_string()));
            let each = if positions > 0 {
                bytes as f64 / positions as f64
            } else {
                0.0
            };
            rows.push(("size", format!("{bytes} bytes of shards, {each:.1} a position")));
        }
        let (mass, positions) = layers.iter().fold((0.0, 0), |(mass, positions), layer| {
            let of_layer = layer.mean_retained_mass.unwrap_or(0.0) * layer.positions as f64;
            (mass + of_layer, positions + layer.positions)
        });
        if positions > 0 {
            let percent = 100.0 * mass / positions as f64;
            rows.push(("probability in the entries", format!("{percent:.2} % on average")));
        }
        rows.push(("identity", format!("`{}`", identity.fingerprint())));
        if let Some(blake3) = inventory_blake3 {
            rows.push(("inventory", format!("blake3 `{blake3}`")));
        }
        let mut text = "| | |\n|---|---|\n".to_owned();
        for (name, value) in rows {
            let _ = writeln!(text, "| {name} | {value} |");
        }
        text
    }

    fn fidelity(&self) -> String {
        let imported = self
            .inspection
            .identity
            .teacher
            .as_ref()
            .and_then(|teacher| teacher.imported.as_ref());
        let text = match (&self.fidelity, imported) {
            (Some(fidelity), _) => fidelity.to_string(),
            (None, None) => "The cache does not store how faithful it is. `leadspan cache audit -c pipeline.toml` runs the teacher again \
                             at random positions and prints the divergence."
                .to_owned(),
            (None, Some(_)) => {
                "The values were imported. Without the teacher, nothing says how faithful they are.".to_owned()
            }
        };
        format!("\n## Fidelity\n\n{text}\n")
    }

    fn reading(&self) -> &'static str {
        match &self.export {
            None => reading::CACHE,
            Some(list) if list.layout == ExportList::DATASET => reading::DATASET,
            Some(_) => reading::DISTILLKIT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use leadspan_sequence::SectionSet;

    #[test]
    fn the_card_states_what_the_cache_says_and_no_licence_of_its_own() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let card = Card::of(&captured.cache).unwrap();
        let text = card.to_string();
        let head = "---\ntask_categories:\n- text-generation\ntags:\n- knowledge-distillation\n- teacher-logits\n- leadspan\n\
                    size_categories:\n- \"n<1K\"\nviewer: false\n---\n";
        assert!(text.starts_with(head), "{text}");
        for said in [
            "| teacher | weights `weights`, configuration `config`, f32 |",
            "| entries | up to 512 a position; 5 draws from the tail; tails at temperatures [2.0] |",
            "| samples | 11 for training, 3 held out; ",
            "answer up to 0.5, chain_of_thought up to 0.5, prompt up to 0.5 of a training sample",
            "| precision | exact |",
            "does not store how faithful it is",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        let identity = captured.cache.identity().fingerprint();
        assert!(text.contains(&format!("| identity | `{identity}` |")), "{text}");
        let licensed = card.licensed(Some("cc-by-4.0")).to_string();
        assert!(
            licensed.starts_with("---\nlicense: cc-by-4.0\ntask_categories:"),
            "{licensed}"
        );
        let fidelity = Fidelity {
            samples: 3,
            positions: 120,
            mean_kl: 1.25e-5,
            p99_kl: 2e-4,
            top_1_agreement: 0.9975,
            retained_mass: 0.9,
            p95_logprob_error: 0.0125,
            largest_target_error: 0.5,
            device_class: "cpu".to_owned(),
        };
        let audited = Card::of(&captured.cache)
            .unwrap()
            .audited(Some(fidelity.clone()))
            .to_string();
        for said in [
            "at 120 random positions of 3 samples",
            "| KL(teacher ‖ cache), mean | 1.25e-5 nats |",
            "| same most probable token | 99.75 % |",
        ] {
            assert!(audited.contains(said), "{said}: {audited}");
        }
        assert!(!audited.contains("does not store"), "{audited}");
        assert_eq!(fidelity.impossible(), None);
        let wrong = Fidelity {
            top_1_agreement: 1.5,
            ..fidelity
        };
        assert_eq!(wrong.impossible(), Some("top_1_agreement"));
        // Whatever else somebody states stays one value.
        let odd = Card::of(&captured.cache)
            .unwrap()
            .licensed(Some("a: b\n- c"))
            .to_string();
        assert!(odd.starts_with("---\nlicense: \"a: b\\n- c\"\n"), "{odd}");
    }

    #[test]
    fn sizes_have_the_hubs_names() {
        let names = [999, 1000, 99_999, 5_000_000, 1 << 40].map(size_category);
        assert_eq!(names, ["n<1K", "1K<n<10K", "10K<n<100K", "1M<n<10M", "n>1B"]);
    }
}
