//! Students that learn LoRA adapters, with the real program.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;

use crate::program::Workplace;

const TRAIN: [&str; 3] = ["train", "-c", "pipeline.toml"];
const EVALUATE: [&str; 4] = ["evaluate", "-c", "pipeline.toml", "--json"];

/// A captured cache, and a student that learns adapters.
fn captured() -> Workplace {
    let place = Workplace::with_rows(40, 40);
    place.replace(
        "pipeline.toml",
        "layers = [0]",
        "lora = { rank = 2, alpha = 4, targets = [\"q_proj\", \"v_proj\"] }\n\n[evaluate]\nfiles = [\"text.jsonl\"]\n\
         format = \"columns\"\nproblems = 3\nmax_new_tokens = 6",
    );
    place.replace(
        "pipeline.toml",
        "learning_rate = 1e-3",
        "learning_rate = 1e-2\ncheckpoint_steps = 2",
    );
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place
}

fn with<'a>(command: &[&'a str], settings: &[&'a str]) -> Vec<&'a str> {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    command.iter().copied().chain(settings).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The held-out cross-entropy in a summary.
fn held_out(summary: &Value, key: &str) -> f64 {
    summary[key]["cross_entropy"].as_f64().unwrap()
}

fn summary(place: &Workplace, dir: &str) -> Value {
    json(&fs::read_to_string(place.path(dir).join("summary.json")).unwrap())
}

fn names(model: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<&str> {
    model.keys().filter_map(|path| path.to_str()).collect()
}

#[test]
fn a_student_of_adapters_is_trained_resumed_exported_and_evaluated() {
    let place = captured();
    place.succeed(&TRAIN);
    let trained = summary(&place, "run");
    // A and B of queries (32 to 32) and values (32 to 16), in two layers.
    assert_eq!(trained["parameters"], 2 * 2 * (64 + 48));
    assert!(
        held_out(&trained, "held_out_after") < held_out(&trained, "held_out_before"),
        "{trained}"
    );
    let model = place.visible("run/model");
    for name in ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"] {
        assert!(
            names(&model).iter().any(|found| found.ends_with(name)),
            "{name}: {:?}",
            names(&model)
        );
    }
    assert!(!place.path("run/model/config.json").exists());

    // The run, the adapter beside its base, and a whole student all are the same model.
    let of_run = json(&place.succeed(&EVALUATE))["summary"].clone();
    let beside = [
        "evaluate.model=teacher",
        "evaluate.adapter=run/model",
        "evaluate.dir=beside",
    ];
    assert_eq!(
        json(&place.succeed(&with(&EVALUATE, &beside)))["summary"]["held_out"],
        of_run["held_out"]
    );
    // On other weights than those that it was learnt on, it is refused, as it is as a teacher's.
    fs::create_dir(place.path("other")).unwrap();
    for file in fs::read_dir(place.path("teacher")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), place.path("other").join(file.file_name())).unwrap();
    }
    let weights = place.path("other/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let evaluated = [
        "evaluate.model=other",
        "evaluate.adapter=run/model",
        "evaluate.dir=refused",
    ];
    let captured = ["teacher.model=other", "teacher.adapter=run/model", "cache.dir=refused"];
    for command in [
        with(&EVALUATE, &evaluated),
        with(&["precompute", "-c", "pipeline.toml"], &captured),
    ] {
        let output = place.run(&command);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && stderr.contains("learnt on other weights"),
            "{stderr}"
        );
    }
    place.succeed(&with(&TRAIN, &["train.dir=whole", "student.lora.merged=true"]));
    assert!(place.path("whole/model/config.json").is_file() && !place.path("whole/model/adapter_config.json").exists());
    let of_whole = json(&place.succeed(&with(&EVALUATE, &["train.dir=whole"])))["summary"].clone();
    for other in [held_out(&of_whole, "held_out"), held_out(&trained, "held_out_after")] {
        let off = (other - held_out(&of_run, "held_out")).abs();
        assert!(off < 1e-5, "{off}");
    }

    // Killed after a checkpoint, and continued.
    let killed = with(&TRAIN, &["train.dir=killed"]);
    assert!(place.start_held(&killed, "steps", 3).kill());
    assert!(place.path("killed/checkpoints").exists());
    place.succeed(&killed);
    assert!(place.visible("killed/model") == model);
    assert_eq!(summary(&place, "killed")["training_flops"], trained["training_flops"]);

    // A finished run is left as it is, unless what it exported is not whole, or something else is asked for.
    place.succeed(&TRAIN);
    for (settings, said) in [
        (&["student.lora.rank=3"][..], "`student.lora.settings.rank`"),
        (&["student.seed=1"], "`student.lora.seed`"),
    ] {
        let output = place.run(&with(&TRAIN, settings));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && stderr.contains(said), "{stderr}");
    }
    place.write("run/model/adapter_config.json", "{}");
    let output = place.run(&TRAIN);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && stderr.contains("adapter_config.json` is not the file"),
        "{stderr}"
    );
}

#[test]
fn a_sweep_varies_the_rank_and_evaluates_each_adapter() {
    let place = captured();
    let ranks = ["sweep.dir=runs", "sweep.student.lora.rank=[1, 4]"];
    place.succeed(&with(&["sweep", "-c", "pipeline.toml"], &ranks));
    for (rank, parameters) in [(1, 224), (4, 896)] {
        let run = format!("runs/student-lora-rank-{rank}");
        assert_eq!(summary(&place, &run)["parameters"], parameters);
        assert_eq!(summary(&place, &format!("{run}/evaluation"))["problems"], 3);
    }
}

#[test]
fn adapters_that_make_no_sense_are_refused_by_key() {
    let place = captured();
    for (settings, expected) in [
        (
            &["student.lora.rank=0"][..],
            "`student.lora.rank` is `0`, but it must be from 1 to the student's hidden width, 32",
        ),
        (&["student.lora.rank=33"], "`student.lora.rank` is `33`"),
        (
            &["student.lora.alpha=inf"],
            "`student.lora.alpha` is `inf`, but it must be a positive number",
        ),
        (&["student.lora.alpha=nan"], "`student.lora.alpha` is `NaN`"),
        (
            &["student.lora.targets=[\"q_proj\", \"c_attn\"]"],
            "`student.lora.targets` is `c_attn`, but it must name a projection of the student: `q_proj`",
        ),
        (
            &["student.lora.targets=[\"lm_head\"]"],
            "`student.lora.targets` is `lm_head`",
        ),
        (&["student.lora.targets=[]"], "`student.lora.targets` is `[]`"),
        (
            &["student.lora.targets=q_proj"],
            "`student.lora.targets` cannot be used: a list of names such as",
        ),
        (
            &["student.lora.dropout=0.1"],
            "`student.lora.dropout` is not a key of the pipeline file",
        ),
        (&["student.lora={ rank = 2 }"], "missing field `alpha`"),
        (
            &["student.layers=[0]"],
            "`student.lora` and `student.layers` are both set, but an adapter of some layers would not fit the whole model",
        ),
    ] {
        let output = place.run(&with(&TRAIN, settings));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{settings:?}: {stderr}");
        assert!(stderr.contains(expected), "{settings:?}: {stderr}");
        assert!(!place.path("run").exists());
    }
    place.replace(
        "pipeline.toml",
        "model = \"teacher\"\nlora",
        "config = \"teacher/config.json\"\nlora",
    );
    let output = place.run(&TRAIN);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && stderr.contains("`student.lora` and `student.config` are both set"),
        "{stderr}"
    );
}
