//! Samples to replay: every message names the keys of `[replay]`.

use std::fs;

use super::{PRECOMPUTE, refusal};
use crate::program::Workplace;

const PREPARE: [&str; 3] = ["prepare", "-c", "pipeline.toml"];

#[test]
fn invalid_replay_is_refused() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let replay = |share: &str| {
        refusal(
            &place,
            &[
                "train",
                "-c",
                "pipeline.toml",
                "--set",
                &format!("replay.share={share}"),
            ],
        )
    };
    assert_message!(replay("0.25"), @r"
    error: could not train `run`
      caused by: `replay.share` is `0.25`, but the cache `cache` holds no samples to replay
    note: `replay.share` is set by `--set replay.share=0.25`
    hint: set `replay.files` and run `leadspan prepare`, or `replay.share = 0`
    ");
    assert_message!(replay("0.95"), @r"
    error: could not train `run`
      caused by: `replay.share` is `0.95`, but it must be a number from 0 to below 1 that leaves at least one of `train.batch_samples = 8` to distil
    note: `replay.share` is set by `--set replay.share=0.95`
    ");
    assert_message!(refusal(&place, &["prepare", "-c", "pipeline.toml", "--set", "replay.files=[\"chats.jsonl\"]"]), @r"
    error: could not prepare the cache `cache/replay`
      caused by: there is no file `chats.jsonl`
    hint: paths in `replay.files` are relative to the pipeline file
    ");
    place.write("chats.jsonl", "{}\n");
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml", "--set", "replay.files=[\"chats.jsonl\"]"]), @r#"
    error: could not prepare the cache `cache/replay`
      caused by: bad row at `chats.jsonl:1`
      caused by: the field `messages` is missing
    hint: name the layout of the rows with `replay.format`, or their fields with `replay.columns`; or correct the row, or leave such rows out with `replay.on_bad_row = "skip"`
    "#);
    assert_message!(refusal(&place, &["prepare", "-c", "pipeline.toml", "--set", "replay.files=[\"chats.jsonl\"]", "--set", "replay.max_tokens=100000"]), @r"
    error: could not prepare the cache `cache/replay`
      caused by: `replay.max_tokens` is 100000, but the model `teacher` has a context of 4096 tokens
    note: `replay.max_tokens` is set by `--set replay.max_tokens=100000`
    hint: set `replay.max_tokens = 4096` or less
    ");
}

#[test]
fn replayed_samples_that_changed_are_refused_and_the_hint_helps() {
    let place = Workplace::new();
    let text = fs::read_to_string(place.path("text.jsonl")).unwrap();
    place.write("chats.jsonl", &text);
    let pipeline = fs::read_to_string(place.path("pipeline.toml")).unwrap();
    let replay = "[replay]\nfiles = [\"chats.jsonl\"]\nformat = \"columns\"\n";
    place.write("pipeline.toml", &format!("{pipeline}{replay}"));
    place.succeed(&PREPARE);
    let set = |setting: &str| refusal(&place, &[&PREPARE[..], &["--set", setting]].concat());
    assert_message!(set("replay.max_tokens=100"), @r"
    error: could not prepare the cache `cache/replay`
      caused by: the cache `cache/replay` was prepared with `replay.max_tokens` `4096`, but `100` is asked for
    note: `replay.max_tokens` is set by `--set replay.max_tokens=100`
    hint: set `replay.max_tokens = 4096` to use this cache, or remove `cache/replay` to prepare these samples again
    ");
    let message = set("replay.where.id=nobody");
    assert!(message.contains("was prepared with `replay.where"), "{message}");
    assert!(message.contains("or remove `cache/replay`"), "{message}");
    place.replace("chats.jsonl", "10 apples", "11 apples");
    assert_message!(refusal(&place, &PREPARE), @r"
    error: could not prepare the cache `cache/replay`
      caused by: sample `made-up-0` has changed in the data since the corpus was prepared
    hint: restore the row and add new rows only at the end of a file or in a file of their own (a row without `id` is known by its file and line), or remove `cache/replay` to prepare these samples again
    ");
    fs::remove_dir_all(place.path("cache/replay")).unwrap();
    place.succeed(&PREPARE);
    for (settings, expected) in [
        (&["replay.max_tokens=5"][..], "hint: raise `replay.max_tokens`"),
        (
            &["replay.where.id=nobody"],
            "hint: compare the fields and values of `replay.where`",
        ),
        (
            &["replay.files=[]", "replay.path=teacher"],
            "name the files to read with `replay.files` instead of `replay.path`",
        ),
        (
            &["replay.files=[]", "replay.path=text.jsonl"],
            "hint: name files with `replay.files`",
        ),
        (
            &["replay.files=[]", "replay.path=none"],
            "hint: `replay.path` is relative to the pipeline file",
        ),
        (
            &["replay.files=[\"cache\"]"],
            "or give a data set's folder as `replay.path`",
        ),
        (&["replay.columns.answer=question"], "`replay.columns` cannot be used"),
    ] {
        fs::remove_dir_all(place.path("cache/replay")).unwrap_or_default();
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let message = refusal(&place, &[&PREPARE[..], &settings].concat());
        assert!(
            message.contains(expected) && !message.contains("`data."),
            "{settings:?}: {message}"
        );
    }
}
