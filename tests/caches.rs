//! The commands that look after a cache, with the real program: extending, inspecting, verifying, repairing, auditing.

use std::{fs, io::Read as _, process::Stdio};

use serde_json::Value;

use crate::program::{Held, Workplace};

fn json(place: &Workplace, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    serde_json::from_str(&place.succeed(&arguments)).unwrap()
}

/// Runs a command that must fail with exit code 1, and returns what it printed as its result and as its error.
fn fail(place: &Workplace, arguments: &[&str]) -> (String, String) {
    let output = place.run(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

const PRECOMPUTE: [&str; 3] = ["precompute", "-c", "pipeline.toml"];
const AUDIT: [&str; 4] = ["cache", "audit", "-c", "pipeline.toml"];
const HALF: [&str; 5] = ["precompute", "-c", "pipeline.toml", "--proportion", "0.5"];
const LAYERS: [&str; 2] = [
    "0-0.5-prompt+chain_of_thought+answer",
    "0.5-1.0-prompt+chain_of_thought+answer",
];

#[test]
fn a_cache_is_extended_layer_by_layer_and_serves_what_its_layers_serve_together() {
    let place = Workplace::new();
    place.succeed(&HALF);
    let half = json(&place, &["cache", "inspect", "cache"]);
    assert_eq!(half["serves"]["answer"], "0.5");
    let more = json(&place, &PRECOMPUTE);
    let whole = json(&place, &["cache", "inspect", "cache"]);
    assert_eq!(whole["serves"]["prompt"], "1.0");
    let names: Vec<&str> = whole["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, LAYERS);
    // Only what was missing went into the second layer, and nothing of the validation samples.
    let positions = |layer: usize| whole["layers"][layer]["positions"].as_u64().unwrap();
    assert_eq!(more["positions"], positions(1));
    assert_eq!(positions(0), half["layers"][0]["positions"]);
    let tokens = whole["corpus"]["tokens"].as_u64().unwrap();
    assert_eq!(
        positions(0) + positions(1),
        tokens - 40,
        "every token of 40 samples but the first is a target"
    );
    let retained = whole["layers"][0]["mean_retained_mass"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&retained));
    assert!(place.succeed(&PRECOMPUTE).contains("nothing was left to do"));
    place.succeed(&["cache", "verify", "cache"]);
    place.succeed(&[
        "train",
        "-c",
        "pipeline.toml",
        "--set",
        "train.lead_span_proportion=0.9",
    ]);
}

#[test]
fn sections_that_were_not_captured_are_refused_and_then_added() {
    let place = Workplace::new();
    let cot_only = "cache.supervised_sections=[\"chain_of_thought\"]";
    let train_cot = "train.supervised_sections=[\"chain_of_thought\"]";
    place.succeed(&[&PRECOMPUTE[..], &["--set", cot_only, "--set", train_cot]].concat());
    let (_, error) = fail(&place, &["train", "-c", "pipeline.toml"]);
    assert!(
        error.contains("holds the sections `chain_of_thought`, but `prompt+chain_of_thought+answer` is asked for"),
        "{error}"
    );
    assert!(error.contains("hint: set `cache.supervised_sections"), "{error}");
    place.succeed(&PRECOMPUTE);
    let layers = json(&place, &["cache", "inspect", "cache"])["layers"].clone();
    assert_eq!(layers[1]["name"], "0-1.0-prompt+answer");
    place.succeed(&["train", "-c", "pipeline.toml"]);
}

#[test]
fn a_damaged_shard_is_listed_dropped_and_done_again_with_the_same_bytes() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let shard = place.path("cache/layers/0-1.0-prompt+chain_of_thought+answer/train-000001.parquet");
    let sound = fs::read(&shard).unwrap();
    let mut damaged = sound.clone();
    damaged[sound.len() / 2] ^= 1;
    fs::write(&shard, damaged).unwrap();
    let (listed, error) = fail(&place, &["cache", "verify", "cache"]);
    assert!(
        listed.contains("train-000001.parquet") && listed.contains("1 problem"),
        "{listed}"
    );
    assert!(error.contains("verify --repair"), "{error}");
    let repaired = place.succeed(&["cache", "verify", "cache", "--repair"]);
    assert!(repaired.contains("dropped: `") && !shard.exists(), "{repaired}");
    // What is left can be trained on when that is asked for, and only then.
    let (_, error) = fail(&place, &["train", "-c", "pipeline.toml"]);
    assert!(
        error.contains("1 of 5 work units are missing, the first is `train-000001`"),
        "{error}"
    );
    let output = place.run(&["train", "-c", "pipeline.toml", "--allow-incomplete"]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(
        log.contains("it lacks 1 work unit (train-000001), whose samples"),
        "{log}"
    );
    assert_eq!(json(&place, &PRECOMPUTE)["units_written"], 1);
    assert_eq!(fs::read(&shard).unwrap(), sound);
    place.succeed(&["cache", "verify", "cache"]);
}

#[test]
fn an_audit_finds_a_cache_to_be_what_its_precision_promises() {
    // Exact values are rounded to single precision, and the audit's passes add up in another order than the capture's.
    for (precision, bound) in [("exact", 1e-8), ("fine", 4e-5), ("standard", 2e-4)] {
        let place = Workplace::new();
        let set = format!("cache.precision=\"{precision}\"");
        place.succeed(&[&PRECOMPUTE[..], &["--set", &set]].concat());
        let audit = json(&place, &[&AUDIT[..], &["--set", &set, "--positions", "300"]].concat())["audit"].clone();
        let figure = |name: &str| audit[name].as_f64().unwrap();
        assert_eq!(audit["positions"], 300);
        assert!(
            figure("mean_kl") < bound && figure("mean_kl") > -1e-8,
            "{precision}: {audit}"
        );
        // Where two tokens come to lie on one level, the lower id is first.
        let agreement = figure("top_1_agreement");
        assert!(
            agreement > 0.99 && (precision != "exact" || agreement == 1.0),
            "{precision}: {audit}"
        );
        assert!(figure("retained_mass") > 0.0 && figure("retained_mass") < 1.0);
    }
    // A cache of another precision is not what the file describes.
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let fine = ["--set", "cache.precision=\"fine\""];
    let (_, error) = fail(&place, &[&AUDIT[..], &fine].concat());
    assert!(
        error.contains("was made with precision `standard`, but `fine` is asked for"),
        "{error}"
    );
}

#[test]
fn an_audit_of_a_cache_that_other_weights_filled_fails() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    // The signs of every fifth number.
    let weights = place.path("teacher/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for number in bytes[header..].chunks_exact_mut(4).step_by(5) {
        number[3] ^= 0x80;
    }
    fs::write(&weights, bytes).unwrap();
    // The cache takes their hash for that of its teacher.
    place.succeed(&["prepare", "-c", "pipeline.toml", "--set", "cache.dir=\"other\""]);
    let record = |cache: &str| -> Value {
        serde_json::from_slice(&fs::read(place.path(cache).join(".weights.json")).unwrap()).unwrap()
    };
    let mut forged = record("other");
    forged["blake3"] = record("cache")["blake3"].clone();
    fs::write(place.path("cache/.weights.json"), forged.to_string()).unwrap();
    let (shown, error) = fail(&place, &AUDIT);
    assert!(shown.contains("top-1 agreement"), "{shown}");
    assert!(
        error.contains("disagrees with its teacher: at sample `") && error.contains("of work unit `"),
        "{error}"
    );
}

#[test]
fn a_sample_is_shown_as_text_with_the_most_probable_tokens_of_each_position() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let row: Value = serde_json::from_str(
        fs::read_to_string(place.path("text.jsonl"))
            .unwrap()
            .lines()
            .next()
            .unwrap(),
    )
    .unwrap();
    let id = row["id"].as_str().unwrap();
    let shown = place.succeed(&["cache", "inspect", "cache", "--sample", id, "--top", "3"]);
    assert!(
        shown.starts_with(id) && shown.contains("chain_of_thought") && shown.contains("… tail"),
        "{shown}"
    );
    let shown = json(&place, &["cache", "inspect", "cache", "--sample", id, "--top", "3"]);
    let positions = shown["positions"].as_array().unwrap();
    assert_eq!(positions.len() as u64, shown["tokens"].as_u64().unwrap() - 1);
    assert!(
        positions
            .iter()
            .all(|position| position["entries"].as_array().unwrap().len() == 3)
    );
    let (_, error) = fail(&place, &["cache", "inspect", "cache", "--sample", "nobody"]);
    assert!(
        error.contains("has no sample `nobody`") && error.contains("hint: ids look like `"),
        "{error}"
    );
}

#[test]
fn an_export_replaces_a_file_only_when_asked_and_never_a_part_of_a_cache() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let export = |out: &str, more: &[&str]| {
        let command = ["cache", "export", "-c", "pipeline.toml", "--out", out];
        [&command[..], more]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let refused = |out: &str, more: &[&str]| {
        let command = export(out, more);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        fail(&place, &command).1
    };
    let before = place.contents();
    let shard = "cache/layers/0-1.0-prompt+chain_of_thought+answer/train-000000.parquet";
    for (out, said) in [
        (shard, "is inside the cache"),
        ("cache/corpus/tokens.u32", "is inside the cache"),
        ("cache/export.parquet", "is inside the cache"),
        ("pipeline.toml", "which this command reads"),
        ("/dev/full", "is a device, not a file"),
        ("teacher", "is a folder, not a file"),
    ] {
        let error = refused(out, &["--overwrite"]);
        assert!(error.contains(said) && error.contains("hint: "), "{out}: {error}");
    }
    let error = refused("text.jsonl", &[]);
    assert!(
        error.contains("exists already") && error.contains("--overwrite"),
        "{error}"
    );
    assert_eq!(place.contents(), before);
    // What another program wrote is not replaced, an earlier export is.
    for out in ["text.jsonl", "teacher/config.json", "teacher/model.safetensors"] {
        let error = refused(out, &["--overwrite"]);
        assert!(error.contains("leadspan did not write it"), "{out}: {error}");
    }
    assert_eq!(place.contents(), before);
    for more in [&[][..], &["--overwrite"]] {
        let command = export("out.parquet", more);
        place.succeed(&command.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(fs::read(place.path("out.parquet")).unwrap().starts_with(b"PAR1"));
    }
}

#[test]
fn a_shard_truncated_under_a_trainer_is_named_and_so_is_a_student_that_is_gone() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    place.succeed(&["train", "-c", "pipeline.toml"]);
    for (damage, said) in [
        ("model/model.safetensors", "bytes instead of"),
        ("model/config.json", "is missing or empty"),
    ] {
        let path = place.path("run").join(damage);
        let sound = fs::read(&path).unwrap();
        fs::write(&path, &sound[..sound.len() - sound.len().div_ceil(2)]).unwrap();
        if damage.ends_with("config.json") {
            fs::remove_file(&path).unwrap();
        }
        let (_, error) = fail(&place, &["train", "-c", "pipeline.toml"]);
        assert!(error.contains("is finished, but its student is not there"), "{error}");
        assert!(error.contains(damage) && error.contains(said), "{error}");
        fs::write(&path, sound).unwrap();
    }
    assert!(
        place
            .succeed(&["train", "-c", "pipeline.toml"])
            .contains("had been trained already")
    );

    // Six epochs of five steps read every shard several times.
    let mut command = place.command(&[
        "train",
        "-c",
        "pipeline.toml",
        "--set",
        "train.dir=long",
        "--set",
        "train.epochs=6",
    ]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut held = Held::start(&mut command, "steps", 6);
    assert!(held.comes());
    let layer = place.path("cache/layers/0-1.0-prompt+chain_of_thought+answer");
    for number in 0..4 {
        let shard = fs::File::options()
            .write(true)
            .open(layer.join(format!("train-{number:06}.parquet")));
        shard.unwrap().set_len(0).unwrap();
    }
    held.release();
    let mut error = String::new();
    held.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(held.child.wait().unwrap().code(), Some(1), "{error}");
    assert!(
        error.contains("error: `") && error.contains("/train-00000") && error.contains("became shorter"),
        "{error}"
    );
}
