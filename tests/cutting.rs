//! Caches made of others with the real program: what is trained from a cut, a cut that is killed, and a merge.

use std::fs;

use serde_json::Value;

use crate::program::Workplace;

const PRECOMPUTE: [&str; 3] = ["precompute", "-c", "pipeline.toml"];
const CUT: [&str; 7] = ["cache", "cut", "cache", "--out", "half", "--proportion", "0.5"];

#[test]
fn a_cut_that_is_killed_ends_as_one_that_is_not_and_gives_the_student_of_the_larger_cache() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let train = |cache: &str, run: &str| {
        let sets = [format!("cache.dir=\"{cache}\""), format!("train.dir=\"{run}\"")];
        let mut command = vec![
            "train",
            "-c",
            "pipeline.toml",
            "--set",
            "train.lead_span_proportion=0.5",
        ];
        for set in &sets {
            command.extend(["--set", set]);
        }
        place.succeed(&command);
        fs::read(place.path(run).join("model/model.safetensors")).unwrap()
    };
    let expected = train("cache", "larger");
    let shown = place.succeed(&CUT);
    assert!(shown.contains("`half` has 40 samples"), "{shown}");
    place.succeed(&["cache", "verify", "half"]);
    let whole = place.visible("half");
    let other = [&CUT[..4], &["killed", "--proportion", "0.5"]].concat();
    for number in [3, 25, 50, 60, 75, 90] {
        place.start_held(&other, "writes", number).kill();
    }
    place.succeed(&other);
    assert!(place.visible("killed") == whole);
    // All names are the same, hidden ones as well.
    let names = |folder: &str| {
        let all = place.contents().into_keys();
        let below = all.filter_map(|path| Some(path.strip_prefix(place.path(folder)).ok()?.to_owned()));
        below.collect::<Vec<_>>()
    };
    assert_eq!(names("killed"), names("half"));
    fs::rename(place.path("cache"), place.path("away")).unwrap();
    assert!(train("half", "smaller") == expected);
    // It is what the pipeline file describes at that proportion, and can be extended again.
    let with = ["--set", "cache.dir=\"half\"", "--proportion"];
    let precompute = |proportion: &str| place.succeed(&[&PRECOMPUTE[..], &with, &[proportion]].concat());
    assert!(precompute("0.5").contains("nothing was left to do"));
    precompute("0.75");
    place.succeed(&["cache", "verify", "half"]);
    let inspected: Value = serde_json::from_str(&place.succeed(&["cache", "inspect", "half", "--json"])).unwrap();
    assert_eq!(inspected["origin"]["cut"]["proportion"], "0.5");
    assert_eq!(inspected["serves"]["answer"], "0.75");
}

#[test]
fn cuts_of_samples_merge_to_a_whole_and_what_cannot_be_cut_is_refused_by_name() {
    // Every row has an id.
    let place = Workplace::with_rows(40, 10);
    place.succeed(&PRECOMPUTE);
    let rows = fs::read_to_string(place.path("text.jsonl")).unwrap();
    let ids: Vec<String> = rows
        .lines()
        .map(|row| {
            serde_json::from_str::<Value>(row).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let (some, others) = ids.split_at(ids.len() / 3);
    for (name, ids) in [("some", some), ("others", others)] {
        place.write("ids.txt", &ids.join("\n"));
        place.succeed(&["cache", "cut", "cache", "--out", name, "--samples", "ids.txt"]);
        place.succeed(&["cache", "verify", name]);
    }
    let shown = place.succeed(&["cache", "merge", "some", "others", "--out", "merged"]);
    assert!(shown.contains("`merged` has 40 samples"), "{shown}");
    place.succeed(&["cache", "verify", "merged"]);
    let set = ["--set", "cache.dir=\"merged\""];
    assert!(
        place
            .succeed(&[&PRECOMPUTE[..], &set].concat())
            .contains("nothing was left to do")
    );
    place.succeed(&[&["train", "-c", "pipeline.toml"][..], &set].concat());
    for (arguments, said) in [
        (
            &["cut", "cache", "--out", "merged"][..],
            "is not the cache that this command makes",
        ),
        (&["cut", "cache", "--out", "cache/half"], "is inside the cache"),
        (
            &["cut", "cache", "--out", "x", "--top-k", "1000"],
            "entries of a position, but 1000 are to be kept",
        ),
        (
            &["cut", "cache", "--out", "x", "--samples", "text.jsonl"],
            "has no sample `{",
        ),
        (
            &["cut", "some", "--out", "others"],
            "not the cache that this command makes",
        ),
        (&["merge", "some", "cache", "--out", "x"], "both have the sample `"),
    ] {
        let output = place.run(&[&["cache"][..], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(
            error.contains(said) && error.contains("hint: "),
            "{arguments:?}: {error}"
        );
        assert!(!place.path("x").exists());
    }
}
