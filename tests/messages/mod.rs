//! The messages about wrong input: the whole message, exit code 1, and nothing left behind.

/// Digests differ with the fixtures.
macro_rules! assert_message {
    ($message:expr, @$expected:literal) => {
        insta::with_settings!({ filters => vec![
            ("[0-9a-f]{64}", "[digest]"),
            ("`/[^`]*/hub/", "`[hub]/"),
        ] }, {
            insta::assert_snapshot!($message, @$expected);
        });
    };
}

mod configuration;
mod data;
mod folders;
mod models;
mod replay;
mod runs;

use crate::program::Workplace;

/// Runs a command that must refuse its input without touching anything, and returns its message.
#[track_caller]
fn refusal(place: &Workplace, arguments: &[&str]) -> String {
    let before = place.contents();
    let output = place.run(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(output.stdout.is_empty(), "a failure has no result");
    let (before, after): (Vec<_>, Vec<_>) = (before.keys().collect(), place.contents().into_keys().collect());
    assert_eq!(
        before,
        after.iter().collect::<Vec<_>>(),
        "something was left behind:\n{message}"
    );
    // Log lines carry the time; the message itself does not. The last line is for scripts.
    message
        .lines()
        .skip_while(|line| !line.starts_with("error: "))
        .take_while(|line| !line.starts_with('{'))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Makes the teacher's tokenizer another one: as large, but two tokens have each other's number.
fn swap_two_tokens(place: &Workplace) {
    place.replace("teacher/tokenizer.json", "\"$\":6,\"%\":7", "\"$\":7,\"%\":6");
}

const PRECOMPUTE: [&str; 3] = ["precompute", "-c", "pipeline.toml"];
const TRAIN: [&str; 3] = ["train", "-c", "pipeline.toml"];
