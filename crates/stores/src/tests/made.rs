//! Small caches with the right hashes. Nothing in them can be decoded: stores look at names, sizes and hashes alone.

use std::{collections::BTreeMap, fs, path::Path, sync::atomic::AtomicBool};

use serde_json::{Value, json};

use crate::{Event, Opened, Outcome, StoreError, Summary, records::hash, store::Store};

pub(super) const LAYER: &str = "layers/0-0.5-prompt+chain_of_thought+answer";

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn write_json(dir: &Path, name: &str, value: &Value) {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap();
    bytes.push(b'\n');
    write(dir, name, &bytes);
}

fn region(bytes: &[u8]) -> Value {
    json!({ "bytes": bytes.len(), "blake3": hash(bytes) })
}

/// Bytes that differ from place to place.
pub(super) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

/// Writes the identity, the tokenizer and a corpus.
pub(super) fn prepared(dir: &Path, teacher: &str, corpus: u64) {
    write(dir, "tokenizer/tokenizer.json", b"{}");
    let identity = json!({
        "format": 2, "identity": { "teacher": teacher }, "tokenizer_files": { "tokenizer.json": hash(b"{}") },
    });
    write_json(dir, "identity.json", &identity);
    let (table, tokens) = (noise(corpus, 300), noise(corpus + 1, 5000));
    write(dir, "corpus/samples.arrow", &table);
    write(dir, "corpus/tokens.u32", &tokens);
    let description = json!({
        "format": 3, "table": region(&table), "tokens": region(&tokens), "samples": 3, "samples_per_shard": 1, "facts": {},
    });
    write_json(dir, "corpus/prepared.json", &description);
}

/// Writes a work unit of [`LAYER`].
pub(super) fn unit(dir: &Path, number: u64, bytes: usize) {
    captured(dir, number, &noise(100 + number, bytes), "cpu");
}

/// Writes a work unit with these bytes, captured on a device.
pub(super) fn captured(dir: &Path, number: u64, shard: &[u8], device: &str) {
    write_json(
        dir,
        &format!("{LAYER}/layer.json"),
        &json!({ "format": 2, "bands": [] }),
    );
    write(dir, &format!("{LAYER}/train-{number:06}.parquet"), shard);
    let receipt = json!({ "format": 2, "shard": region(shard), "positions": 1, "device_class": device });
    write_json(dir, &format!("{LAYER}/train-{number:06}.json"), &receipt);
}

/// Writes a layer of answers between two proportions, of which the first may be 0, with one work unit.
pub(super) fn layer(dir: &Path, above: &str, up_to: &str) {
    let folder = format!("layers/{above}-{up_to}-answer");
    let above = (above != "0").then_some(above);
    let bands = json!([{ "section": "answer", "above": above, "up_to": up_to }]);
    write_json(
        dir,
        &format!("{folder}/layer.json"),
        &json!({ "format": 2, "bands": bands }),
    );
    let shard = noise(7, 400);
    write(dir, &format!("{folder}/train-000000.parquet"), &shard);
    let receipt = json!({ "format": 2, "shard": region(&shard), "positions": 1, "device_class": "cpu" });
    write_json(dir, &format!("{folder}/train-000000.json"), &receipt);
}

/// Writes the manifest and the inventory of what is there.
pub(super) fn completed(dir: &Path) {
    let mut units = BTreeMap::new();
    for entry in fs::read_dir(dir.join(LAYER)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(unit) = name.strip_suffix(".parquet") {
            units.insert(unit.to_owned(), region(&fs::read(dir.join(LAYER).join(&name)).unwrap()));
        }
    }
    write_json(
        dir,
        &format!("{LAYER}/manifest.json"),
        &json!({ "format": 2, "units": units.len() }),
    );
    let of = |name: &str| hash(&fs::read(dir.join(name)).unwrap());
    let layer = LAYER.strip_prefix("layers/").unwrap();
    let mut inventory = json!({
        "format": 1, "identity": of("identity.json"), "corpus": [of("corpus/prepared.json")],
    });
    if dir.join("replay").exists() {
        let listed = json!({ "identity": of("replay/identity.json"), "corpus": [of("replay/corpus/prepared.json")] });
        inventory["replay"] = listed;
    }
    inventory["layers"] = json!({ layer: units });
    write_json(dir, "inventory.json", &inventory);
}

/// A complete cache of three work units.
pub(super) fn cache(dir: &Path) {
    prepared(dir, "teacher", 1);
    prepared(&dir.join("replay"), "", 50);
    (0..3).for_each(|number| unit(dir, number, 2000 + 10 * number as usize));
    completed(dir);
}

/// The names and the contents of all files in a folder, without hidden ones.
pub(super) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    crate::listing::walk(dir, &mut |name, _| {
        found.insert(name.clone(), fs::read(dir.join(&name)).unwrap());
    })
    .unwrap();
    found
}

pub(super) fn opened(store: impl Store + Send + 'static, parallel: usize) -> Opened {
    Opened {
        store: Box::new(store),
        parallel,
    }
}

fn done(outcome: Outcome) -> Summary {
    match outcome {
        Outcome::Done(summary) => summary,
        Outcome::Stopped => panic!("nobody stopped it"),
    }
}

pub(super) fn push(opened: &Opened, dir: &Path) -> Result<Summary, StoreError> {
    crate::push(opened, dir, &AtomicBool::new(false), &mut |_: Event| {}).map(done)
}

pub(super) fn pull(opened: &Opened, dir: &Path) -> Result<Summary, StoreError> {
    crate::pull(opened, dir, &AtomicBool::new(false), &mut |_: Event| {}).map(done)
}

/// Checks that what is visible is a cache, complete or not: every receipt has its shard, every description its data, and an
/// inventory has everything.
pub(super) fn require_sound(files: &BTreeMap<String, Vec<u8>>) {
    let json = |name: &str| -> Value { serde_json::from_slice(&files[name]).unwrap() };
    let check = |name: &str, stated: &Value| {
        let bytes = files.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(stated["blake3"], hash(bytes), "{name}");
    };
    for name in files.keys() {
        if let Some(unit) = name.strip_suffix(".json").filter(|name| name.contains("/train-")) {
            check(&format!("{unit}.parquet"), &json(name)["shard"]);
        }
    }
    if files.contains_key("corpus/prepared.json") {
        check("corpus/samples.arrow", &json("corpus/prepared.json")["table"]);
        check("corpus/tokens.u32", &json("corpus/prepared.json")["tokens"]);
        assert!(files.contains_key("identity.json"));
    }
    if files.contains_key("identity.json") {
        assert!(files.contains_key("tokenizer/tokenizer.json"));
    }
    if files.contains_key("inventory.json") {
        for (layer, units) in json("inventory.json")["layers"].as_object().unwrap() {
            for (unit, stated) in units.as_object().unwrap() {
                check(&format!("layers/{layer}/{unit}.parquet"), stated);
                assert!(files.contains_key(&format!("layers/{layer}/{unit}.json")));
            }
            assert!(files.contains_key(&format!("layers/{layer}/manifest.json")));
        }
    }
}
