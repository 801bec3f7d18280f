//! Data that cannot be read, or that changed since the corpus was prepared.

use std::fs;

use super::{PRECOMPUTE, refusal};
use crate::program::Workplace;

#[test]
fn a_missing_data_file_is_named() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "text.jsonl", "texts.jsonl");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: there is no file `texts.jsonl`
    hint: paths in `data.files` are relative to the pipeline file
    ");
    place.replace("pipeline.toml", "texts.jsonl", "more/*.jsonl");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: no file matches `more/*.jsonl` in `.`
    hint: paths in `data.files` are relative to the pipeline file
    ");
}

#[test]
fn a_folder_that_does_not_have_the_split_is_refused_with_those_it_has() {
    let place = Workplace::new();
    fs::create_dir(place.path("set")).unwrap();
    fs::rename(place.path("text.jsonl"), place.path("set/train.jsonl")).unwrap();
    place.replace(
        "pipeline.toml",
        "files = [\"text.jsonl\"]",
        "path = \"set\"\nsplit = \"test\"",
    );
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: `set` has no split `test`: it has `train`
    hint: choose one with `data.split`, or name files with `data.files`
    ");
    place.replace("pipeline.toml", "\"set\"", "\"sets\"");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: there is no folder `sets`
    hint: `data.path` is relative to the pipeline file
    ");
}

#[test]
fn a_damaged_table_is_shown_with_the_message_of_the_decoder() {
    let place = Workplace::new();
    fs::rename(place.path("text.jsonl"), place.path("text.parquet")).unwrap();
    place.replace("pipeline.toml", "text.jsonl", "text.parquet");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: could not read `text.parquet` after row 0
      caused by: Parquet argument error: Parquet error: Invalid Parquet file. Corrupt footer
    hint: copy or download the file again
    ");
}

#[test]
fn invalid_conditions_on_rows_are_shown_where_they_are_written() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &["prepare", "-c", "pipeline.toml", "--set", "data.where.id=[[1]]"]), @r"
    error: `--set data.where.id=[[1]]`: `data.where` cannot be used: `id` must be compared with text, a number, `true` or `false`, or with a list of these
    hint: `leadspan config` lists every key with its default and what it takes
    ");
    assert_message!(refusal(&place, &["prepare", "-c", "pipeline.toml", "--set", "data.where.kind=math"]), @r"
    error: could not prepare the cache `cache`
      caused by: no training sample is left: of 40 rows, 40 dropped as filtered_out
    hint: compare the fields and values of `data.where` with those of the rows
    ");
}

#[test]
fn a_change_that_keeps_size_time_and_inode_is_found_by_every_command() {
    use std::io::Write as _;
    let place = Workplace::new();
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    // The size, the modification time and the inode stay.
    let path = place.path("text.jsonl");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let rows = fs::read_to_string(&path).unwrap().replacen("10 apples", "11 apples", 1);
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all(rows.as_bytes()).unwrap();
    file.set_modified(modified).unwrap();
    for command in [
        &["prepare", "-c", "pipeline.toml"][..],
        &["prepare", "-c", "pipeline.toml", "--verify-data"],
        &PRECOMPUTE,
    ] {
        let output = place.run(command);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {message}");
        assert!(message.contains("sample `made-up-0` has changed"), "{message}");
    }
}

#[test]
fn a_bad_row_is_shown_with_its_file_and_line() {
    let place = Workplace::new();
    place.replace("text.jsonl", "{\"id\": \"made-up-1\",", "{\"id\": \"made-up-1\"");
    assert_message!(refusal(&place, &PRECOMPUTE), @r#"
    error: could not precompute into `cache`
      caused by: bad row at `text.jsonl:2`
      caused by: the line is not valid JSON: expected `,` or `}` at column 20
    hint: correct the row, or leave such rows out with `data.on_bad_row = "skip"`
    "#);
}

#[test]
fn a_row_without_a_column_is_shown_with_its_file_and_line() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "seed = 7", "columns.question = \"problem\"");
    assert_message!(refusal(&place, &PRECOMPUTE), @r#"
    error: could not precompute into `cache`
      caused by: bad row at `text.jsonl:1`
      caused by: the field `problem` is missing
    hint: the row has `id`, `question`, `chain_of_thought` and `answer`; name the layout of the rows with `data.format`, or their fields with `data.columns`; or correct the row, or leave such rows out with `data.on_bad_row = "skip"`
    "#);
}

#[test]
fn a_duplicate_id_is_shown_at_both_places() {
    let place = Workplace::new();
    place.replace("text.jsonl", "made-up-2", "made-up-0");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: the id `made-up-0` is at `text.jsonl:1` and again at `text.jsonl:3`
    hint: give every row its own `id`, or leave the field out
    ");
}

#[test]
fn settings_and_rows_that_changed_since_preparing_are_refused() {
    let place = Workplace::new();
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml", "--set", "data.seed=8"]), @r"
    error: could not precompute into `cache`
      caused by: the cache `cache` was prepared with `data.seed` `7`, but `8` is asked for
    note: `data.seed` is set by `--set data.seed=8`
    hint: set `data.seed = 7` to use this cache, or point `cache.dir` at a new folder
    ");
    place.replace("text.jsonl", "10 apples", "11 apples");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: sample `made-up-0` has changed in the data since the corpus was prepared
    hint: restore the row and add new rows only at the end of a file or in a file of their own (a row without `id` is known by its file and line), or point `cache.dir` at a new folder
    ");
    place.write(
        "text.jsonl",
        &fs::read_to_string(place.path("text.jsonl"))
            .unwrap()
            .replace("made-up-", "new-"),
    );
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: sample `made-up-8` (and 29 more) is gone from the data since the corpus was prepared
    hint: restore the row and add new rows only at the end of a file or in a file of their own (a row without `id` is known by its file and line), or point `cache.dir` at a new folder
    ");
}
