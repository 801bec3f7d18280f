//! Mistakes in the pipeline file and on the command line.

use super::{PRECOMPUTE, TRAIN, refusal};
use crate::program::Workplace;

#[test]
fn a_missing_pipeline_file_is_named() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &["precompute", "-c", "pipelin.toml"]), @r"
    error: could not read the pipeline file `pipelin.toml`
      caused by: No such file or directory (os error 2)
    hint: name the pipeline file with `-c FILE`
    ");
}

#[test]
fn an_unknown_key_is_shown_at_its_line_with_the_nearest_name() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "top_k = 8", "topk = 8");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: `pipeline.toml`, line 12: `cache.topk` is not a key of the pipeline file
    hint: did you mean `cache.top_k`?
    ");
    place.replace("pipeline.toml", "topk = 8", "top_k = 8");
    place.replace("pipeline.toml", "[student]", "[students]");
    assert_message!(refusal(&place, &TRAIN), @r"
    error: `pipeline.toml`, line 15: `[students]` is not a table of the pipeline file
    hint: did you mean `[student]`?
    ");
}

#[test]
fn an_unknown_key_of_an_override_is_shown_with_the_nearest_name() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &["train", "-c", "pipeline.toml", "--set", "train.learning_rat=1e-4"]), @r"
    error: `--set train.learning_rat=1e-4`: `train.learning_rat` is not a key of the pipeline file
    hint: did you mean `train.learning_rate`?
    ");
}

#[test]
fn a_value_of_another_kind_is_shown_at_its_line() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "format = \"columns\"", "format = \"column\"");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: `pipeline.toml`, line 6: `data.format` cannot be used: unknown value `column`, expected one of `messages`, `columns`, `open-thoughts`, `bespoke-stratos`, `sky-t1`, `synthetic-1`, `nemotron`, `prompt-completion`
    hint: `leadspan config` lists every key with its default and what it takes
    ");
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml", "--set", "data.format=columns", "--set", "cache.top_k=many"]), @r#"
    error: `--set cache.top_k=many`: `cache.top_k` cannot be used: invalid type: string "many", expected a whole number, 0 or more
    hint: `leadspan config` lists every key with its default and what it takes
    "#);
}

#[test]
fn a_proportion_outside_its_range_is_refused_in_the_file_and_on_the_command_line() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "top_k = 8", "lead_span_proportion = 0");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: `pipeline.toml`, line 12: `cache.lead_span_proportion` cannot be used: `0` is not a lead-span proportion: it must be a decimal above 0 and at most 1, with at most 12 decimals, such as `0.5`
    ");
    place.replace("pipeline.toml", "proportion = 0", "proportion = 1.5");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: `pipeline.toml`, line 12: `cache.lead_span_proportion` cannot be used: `1.5` is not a lead-span proportion: it must be a decimal above 0 and at most 1, with at most 12 decimals, such as `0.5`
    ");
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml", "--proportion", "1.5"]), @r"
    error: invalid value '1.5' for '--proportion <P>': `1.5` is not a lead-span proportion: it must be a decimal above 0 and at most 1, with at most 12 decimals, such as `0.5`

    For more information, try '--help'.
    ");
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml", "--set", "cache.lead_span_proportion=0.0"]), @r"
    error: `--set cache.lead_span_proportion=0.0`: `cache.lead_span_proportion` cannot be used: `0` is not a lead-span proportion: it must be a decimal above 0 and at most 1, with at most 12 decimals, such as `0.5`
    ");
}

#[test]
fn capturing_less_than_the_file_trains_on_is_refused() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "top_k = 8", "lead_span_proportion = 0.25");
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml"]), @r"
    error: `train.lead_span_proportion` is 0.5, but `cache.lead_span_proportion` is only 0.25
    hint: raise `cache.lead_span_proportion` to 0.5 (precomputing again adds what is missing), or lower `train.lead_span_proportion` to 0.25
    ");
}

#[test]
fn a_worker_outside_its_range_is_refused() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml", "--worker", "3/2"]), @r"
    error: invalid value '3/2' for '--worker <I/N>': `3/2` is not one of the workers: I counts from 0, so the last of 2 is `1/2`

    For more information, try '--help'.
    ");
}

#[test]
fn an_invalid_duration_is_refused() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &["plan", "-c", "pipeline.toml", "--wall-time", "2 hours"]), @r"
    error: invalid value '2 hours' for '--wall-time <TIME>': `2 hours` is not a length of time: write whole numbers with their units, the largest first, such as `2h`, `90min`, `1d 12h` or `45s`

    For more information, try '--help'.
    ");
    assert_message!(refusal(&place, &["plan", "-c", "pipeline.toml", "--wall-time", "2h", "--no-calibration"]), @r"
    error: the argument '--wall-time <TIME>' cannot be used with '--no-calibration'

    Usage: leadspan plan --config <FILE> --wall-time <TIME>

    For more information, try '--help'.
    ");
    assert_message!(refusal(&place, &["plan", "-c", "pipeline.toml", "--sample-rows", "0"]), @r"
    error: invalid value '0' for '--sample-rows <N>': number would be zero for non-zero type

    For more information, try '--help'.
    ");
}

#[test]
fn a_plan_is_refused_as_its_run_would_be() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "model = \"teacher\"", "model = \"professor\"");
    assert_message!(refusal(&place, &["plan", "-c", "pipeline.toml"]), @r"
    error: could not plan `cache`
      caused by: no model at `professor`
    hint: give a directory in the Hugging Face layout (with `config.json`), a `.gguf` file, or the id of a downloaded Hub model
    ");
    place.replace("pipeline.toml", "model = \"professor\"", "model = \"teacher\"");
    place.replace("text.jsonl", "{\"id\": \"made-up-1\",", "{\"id\": \"made-up-1\"");
    assert_message!(refusal(&place, &["plan", "-c", "pipeline.toml"]), @r#"
    error: could not plan `cache`
      caused by: bad row at `text.jsonl:2`
      caused by: the line is not valid JSON: expected `,` or `}` at column 20
    hint: correct the row, or leave such rows out with `data.on_bad_row = "skip"`
    "#);
}

#[test]
fn usage_errors_exit_with_1_and_help_with_0() {
    let place = Workplace::new();
    for wrong in [
        &["precompute"][..],
        &["fly"],
        &[],
        &["train", "-c", "pipeline.toml", "--set", "x"],
        &["cache", "inspect"],
    ] {
        assert_eq!(place.run(wrong).status.code(), Some(1), "{wrong:?}");
    }
    for right in [
        &["--help"][..],
        &["--version"],
        &["help", "train"],
        &["train", "--help"],
    ] {
        assert_eq!(place.run(right).status.code(), Some(0), "{right:?}");
    }
}
