//! What the program says when something is wrong with what it was given: the whole message, exit code 1, and nothing
//! left behind.

use std::fs;

use crate::program::{Workplace, terminate};

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

/// Makes the teacher's tokenizer another one: as large, but two tokens have each other's number.
fn swap_two_tokens(place: &Workplace) {
    place.replace("teacher/tokenizer.json", "\"$\":6,\"%\":7", "\"$\":7,\"%\":6");
}

const PRECOMPUTE: [&str; 3] = ["precompute", "-c", "pipeline.toml"];
const TRAIN: [&str; 3] = ["train", "-c", "pipeline.toml"];

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
fn a_table_that_is_none_is_shown_with_what_the_decoder_says() {
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
fn conditions_on_rows_that_mean_nothing_are_shown_where_they_are_written() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &["prepare", "-c", "pipeline.toml", "--set", "data.where.id=[[1]]"]), @r"
    error: `--set data.where.id=[[1]]`: `data.where` cannot be used: `id` must be compared with text, a number, `true` or `false`, or with a list of these
    hint: `--help` of the command lists every key with its default and what it takes
    ");
    assert_message!(refusal(&place, &["prepare", "-c", "pipeline.toml", "--set", "data.where.kind=math"]), @r"
    error: could not prepare the cache `cache`
      caused by: no training sample is left: of 40 rows, 40 dropped as filtered_out
    hint: compare the fields and values of `data.where` with those of the rows
    ");
}

#[test]
fn a_report_of_what_is_no_run_is_refused() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &["report", "runs"]), @r"
    error: could not write the report `report`
      caused by: there is no folder `runs`
    hint: name folders that `leadspan train` wrote (`train.dir`), or a folder of such folders
    ");
    assert_message!(refusal(&place, &["report", "teacher"]), @r"
    error: could not write the report `report`
      caused by: `teacher` is neither a run, because it has no `run.json`, nor a folder of runs
    hint: name folders that `leadspan train` wrote (`train.dir`), or a folder of such folders
    ");
    fs::create_dir(place.path("run")).unwrap();
    place.write("run/run.json", "{\"config\": {}}");
    place.write("run/summary.json", "{\"steps\": -1}");
    assert_message!(refusal(&place, &["report", "run"]), @r"
    error: could not write the report `report`
      caused by: `run/summary.json` cannot be parsed
      caused by: invalid value: integer `-1`, expected u64 at line 1 column 12
    hint: leave this run out, or train it again
    ");
}

#[test]
fn a_missing_teacher_is_named() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "model = \"teacher\"", "model = \"professor\"");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: no model at `professor`
    hint: give a directory in the Hugging Face layout (with `config.json`), a `.gguf` file, or the id of a downloaded Hub model
    ");
}

#[test]
fn a_hub_model_that_was_not_downloaded_says_where_it_was_looked_for_and_how_to_get_it() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "model = \"teacher\"", "model = \"Qwen/Qwen3-8B\"");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: no model at `Qwen/Qwen3-8B`, and `Qwen/Qwen3-8B` is not in the Hub cache, at `[hub]/models--Qwen--Qwen3-8B`
    hint: give a directory in the Hugging Face layout or a `.gguf` file, download the model with `hf download Qwen/Qwen3-8B`
    ");
    let student = [
        "train",
        "-c",
        "pipeline.toml",
        "--set",
        "student.model=Qwen/Qwen3-0.6B",
        "--set",
        "student.revision=v1",
    ];
    assert_message!(refusal(&place, &student), @r"
    error: no model at `Qwen/Qwen3-0.6B`, and `Qwen/Qwen3-0.6B` of revision `v1` is not in the Hub cache, at `[hub]/models--Qwen--Qwen3-0.6B`
    hint: give a directory in the Hugging Face layout or a `.gguf` file, download the model with `hf download Qwen/Qwen3-0.6B --revision v1`
    ");
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml", "--set", "teacher.model=teacher", "--set", "teacher.revision=v1"]), @r"
    error: `teacher` is not a model of the Hub, so it has no revision `v1`
    hint: leave `revision` out, or give the id of a Hub model
    ");
}

#[test]
fn samples_that_may_be_longer_than_the_teachers_context_are_refused() {
    let place = Workplace::new();
    place.replace(
        "teacher/config.json",
        "\"max_position_embeddings\": 4096",
        "\"max_position_embeddings\": 1000",
    );
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: `data.max_tokens` is 4096, but the model `teacher` has a context of 1000 tokens
    hint: set `data.max_tokens = 1000` or less
    ");
}

#[test]
fn a_student_that_cannot_be_fed_a_sample_is_refused_before_the_run() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    place.replace(
        "pipeline.toml",
        "model = \"teacher\"\nlayers = [0]",
        "config = \"student.json\"",
    );
    let config = fs::read_to_string(place.path("teacher/config.json")).unwrap();
    let shorter = config.replace("\"max_position_embeddings\": 4096", "\"max_position_embeddings\": 50");
    place.write("student.json", &shorter);
    assert_message!(refusal(&place, &TRAIN), @r"
    error: could not train `run`
      caused by: sample `made-up-29` has 70 tokens, more than the student's context of 50
    ");
    place.write(
        "student.json",
        &config.replace("\"vocab_size\": 320", "\"vocab_size\": 288"),
    );
    let message = refusal(&place, &TRAIN);
    let beyond = "caused by: the student knows 288 tokens, but sample `made-up-";
    assert!(message.contains(beyond), "{message}");
}

#[test]
fn a_mixture_of_experts_is_refused_as_a_student() {
    let place = Workplace::new();
    place.make_mixture("mixture");
    place.succeed(&PRECOMPUTE);
    place.replace(
        "pipeline.toml",
        "model = \"teacher\"\nlayers = [0]",
        "model = \"mixture\"",
    );
    assert_message!(refusal(&place, &TRAIN), @r"
    error: could not train `run`
      caused by: the student cannot be trained: it is a mixture of experts, which runs as a teacher only
    hint: choose a dense student of the same tokenizer, as a directory in the Hugging Face layout
    ");
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
    hint: correct the row, or leave such rows out with `data.on_bad_row = "skip"`
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
    error: `pipeline.toml`, line 6: `data.format` cannot be used: unknown value `column`, expected one of `messages`, `columns`, `open-thoughts`, `bespoke-stratos`, `sky-t1`, `synthetic-1`, `nemotron`
    hint: `--help` of the command lists every key with its default and what it takes
    ");
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml", "--set", "data.format=columns", "--set", "cache.top_k=many"]), @r#"
    error: `--set cache.top_k=many`: `cache.top_k` cannot be used: invalid type: string "many", expected a whole number, 0 or more
    hint: `--help` of the command lists every key with its default and what it takes
    "#);
}

#[test]
fn a_model_without_a_chat_template_is_refused() {
    let place = Workplace::new();
    fs::remove_file(place.path("teacher/chat_template.jinja")).unwrap();
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: the model `teacher` has no chat template
    hint: put a `chat_template.jinja` into the model's directory, or use a chat model
    ");
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
fn a_length_of_time_that_is_none_is_refused() {
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
fn a_cache_of_another_teacher_is_refused() {
    let place = Workplace::new();
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    let mut weights = fs::read(place.path("teacher/model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(place.path("teacher/model.safetensors"), weights).unwrap();
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: the cache `cache` was made with teacher.weights_blake3 `[digest]`, but `[digest]` is asked for
    hint: use the teacher that made this cache, or point `cache.dir` at a new folder
    ");
}

#[test]
fn a_cache_of_another_tokenizer_is_refused() {
    let place = Workplace::new();
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    swap_two_tokens(&place);
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `cache`
      caused by: the cache `cache` was made with tokenizer `[digest]`, but `[digest]` is asked for
    hint: use the model files that made this cache, or point `cache.dir` at a new folder
    ");
}

#[test]
fn a_student_of_another_tokenizer_is_refused() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    swap_two_tokens(&place);
    assert_message!(refusal(&place, &TRAIN), @r"
    error: could not train `run`
      caused by: the student `teacher` has another tokenizer than the cache: fingerprint [digest], but the cache was made with [digest]
    hint: teacher and student must share a tokenizer: choose a student of the teacher's family
    ");
}

#[test]
fn settings_and_rows_that_changed_since_preparing_are_refused() {
    let place = Workplace::new();
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml", "--set", "data.seed=8"]), @r"
    error: could not precompute into `cache`
      caused by: the cache `cache` was prepared with `data.seed` `7`, but `8` is asked for
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

#[test]
fn a_run_that_was_stopped_goes_on_as_it_was_or_not_at_all() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let mut child = place.start(&["train", "-c", "pipeline.toml", "--set", "train.epochs=2000"]);
    let metrics = place.path("run/metrics.jsonl");
    while !fs::read_to_string(&metrics).is_ok_and(|text| text.contains("step\":2,")) {
        assert_eq!(child.try_wait().unwrap(), None);
    }
    assert_eq!(terminate(&mut child), Some(75));
    assert_message!(refusal(&place, &TRAIN), @r"
    error: could not train `run`
      caused by: `run` holds a run that differs in `train.epochs`: it has `2000`, but now `1` is asked for
    hint: set it back to go on with that run, choose another `train.dir`, or remove this one
    ");
    place.replace("pipeline.toml", "epochs = 1", "epochs = 2000");
    assert_message!(refusal(&place, &["train", "-c", "pipeline.toml", "--set", "student.layers=[1]"]), @r"
    error: could not train `run`
      caused by: `run` holds a run that differs in `student.layers`: it has `[0]`, but now `[1]` is asked for
    hint: set it back to go on with that run, choose another `train.dir`, or remove this one
    ");
    place.succeed(&[
        "precompute",
        "-c",
        "pipeline.toml",
        "--set",
        "cache.dir=other",
        "--set",
        "cache.top_k=4",
    ]);
    assert_message!(refusal(&place, &["train", "-c", "pipeline.toml", "--set", "cache.dir=other"]), @r"
    error: could not train `run`
      caused by: `run` holds a run that differs in `cache.identity.entries.top_k`: it has `8`, but now `4` is asked for
    hint: set it back to go on with that run, choose another `train.dir`, or remove this one
    ");
    // One bit of one weight is another student.
    fs::create_dir(place.path("student")).unwrap();
    for file in fs::read_dir(place.path("teacher")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), place.path("student").join(file.file_name())).unwrap();
    }
    let mut weights = fs::read(place.path("student/model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(place.path("student/model.safetensors"), weights).unwrap();
    assert_message!(refusal(&place, &["train", "-c", "pipeline.toml", "--set", "student.model=student"]), @r#"
    error: could not train `run`
      caused by: `run` holds a run that differs in `student.weights`: it has `"[digest]"`, but now `"[digest]"` is asked for
    hint: set it back to go on with that run, choose another `train.dir`, or remove this one
    "#);
    swap_two_tokens(&place);
    place.succeed(&["precompute", "-c", "pipeline.toml", "--set", "cache.dir=swapped"]);
    assert_message!(refusal(&place, &["train", "-c", "pipeline.toml", "--set", "cache.dir=swapped"]), @r#"
    error: could not train `run`
      caused by: `run` holds a run that differs in `cache.identity.tokenizer`: it has `"[digest]"`, but now `"[digest]"` is asked for
    hint: set it back to go on with that run, choose another `train.dir`, or remove this one
    "#);
    let text = fs::read_to_string(place.path("text.jsonl")).unwrap();
    let row = text.lines().next().unwrap().replace("made-up-0", "appended");
    place.write("text.jsonl", &format!("{text}{row}\n"));
    place.replace("teacher/tokenizer.json", "\"$\":7,\"%\":6", "\"$\":6,\"%\":7");
    place.succeed(&PRECOMPUTE);
    assert_message!(refusal(&place, &TRAIN), @r#"
    error: could not train `run`
      caused by: `run` holds a run that differs in `cache.rows`: it has `"[digest]"`, but now `"[digest]"` is asked for
    hint: set it back to go on with that run, choose another `train.dir`, or remove this one
    "#);
}

#[test]
fn the_best_student_needs_something_to_tell_it_by() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "validation = 4", "validation = 0");
    place.succeed(&PRECOMPUTE);
    assert_message!(refusal(&place, &["train", "-c", "pipeline.toml", "--set", "train.export=best"]), @r#"
    error: could not train `run`
      caused by: `train.export` is `best`, but the cache holds no validation samples to tell the best by
    hint: set `train.export = "last"`, or prepare a cache with `data.validation` above 0
    "#);
}

#[test]
fn replay_that_cannot_be_is_refused() {
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
    hint: set `replay.files` and run `leadspan prepare`, or `replay.share = 0`
    ");
    assert_message!(replay("0.95"), @r"
    error: could not train `run`
      caused by: `replay.share` is `0.95`, but it must be a number from 0 to below 1 that leaves at least one of `train.batch_samples = 8` to distil
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
    hint: correct the row, or leave such rows out with `replay.on_bad_row = "skip"`
    "#);
    assert_message!(refusal(&place, &["prepare", "-c", "pipeline.toml", "--set", "replay.files=[\"chats.jsonl\"]", "--set", "replay.max_tokens=100000"]), @r"
    error: could not prepare the cache `cache/replay`
      caused by: `replay.max_tokens` is 100000, but the model `teacher` has a context of 4096 tokens
    hint: set `replay.max_tokens = 4096` or less
    ");
}

#[test]
fn a_pipeline_without_a_teacher_must_say_whose_tokenizer_it_means() {
    let place = Workplace::new();
    place.replace("pipeline.toml", "[teacher]\nmodel = \"teacher\"\n", "");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: `pipeline.toml` does not set `teacher.model`
    hint: set `teacher.model`: a directory in the Hugging Face layout, a `.gguf` file, or the id of a downloaded Hub model
    ");
    place.replace(
        "pipeline.toml",
        "model = \"teacher\"\nlayers = [0]",
        "config = \"teacher/config.json\"",
    );
    assert_message!(refusal(&place, &["prepare", "-c", "pipeline.toml"]), @r"
    error: `pipeline.toml` does not say whose tokenizer the corpus is prepared with
    hint: set `teacher.model`, or for training without a teacher `student.model`, or `student.tokenizer` beside `student.config`
    ");
    // What was prepared for tokens alone takes no teacher afterwards.
    place.replace(
        "pipeline.toml",
        "config = \"teacher/config.json\"",
        "model = \"teacher\"",
    );
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml", "--set", "teacher.model=teacher"]), @r"
    error: could not precompute into `cache`
      caused by: the cache `cache` was made with teacher.config_blake3 `(absent)`, but `[digest]` is asked for
    hint: it was prepared without a teacher: point `cache.dir` at a new folder
    ");
}

#[test]
fn truncated_weights_are_refused() {
    let place = Workplace::new();
    let weights = fs::read(place.path("teacher/model.safetensors")).unwrap();
    fs::write(place.path("teacher/model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    assert_message!(refusal(&place, &PRECOMPUTE), @r#"
    error: could not precompute into `cache`
      caused by: weights in `teacher/model.safetensors` cannot be read: path: "teacher/model.safetensors" incomplete metadata, file not fully covered
    hint: the file may be truncated: compare its size with the original's
    "#);
}

#[test]
fn truncated_weights_of_a_student_are_refused() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let weights = fs::read(place.path("teacher/model.safetensors")).unwrap();
    fs::write(place.path("teacher/model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    assert_message!(refusal(&place, &TRAIN), @r#"
    error: could not train `run`
      caused by: weights in `teacher/model.safetensors` cannot be read: path: "teacher/model.safetensors" incomplete metadata, file not fully covered
    hint: the file may be truncated: compare its size with the original's
    "#);
}

#[test]
fn a_cache_folder_that_cannot_be_made_is_named() {
    let place = Workplace::new();
    // Permission bits do not bind root, so the folder is put below a file instead.
    place.replace("pipeline.toml", "dir = \"cache\"", "dir = \"text.jsonl/cache\"");
    assert_message!(refusal(&place, &PRECOMPUTE), @r"
    error: could not precompute into `text.jsonl/cache`
      caused by: could not create the folder `text.jsonl`
      caused by: File exists (os error 17)
    ");
}

#[test]
fn a_run_folder_that_cannot_be_made_is_named() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    place.replace("pipeline.toml", "dir = \"run\"", "dir = \"text.jsonl/run\"");
    assert_message!(refusal(&place, &TRAIN), @r"
    error: could not train `text.jsonl/run`
      caused by: could not create `text.jsonl/run`
      caused by: Not a directory (os error 20)
    ");
}

#[test]
fn an_export_that_cannot_be_written_is_named() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    assert_message!(refusal(&place, &["cache", "export", "cache", "--out", "text.jsonl/out.parquet"]), @r"
    error: could not export `cache` to `text.jsonl/out.parquet`
      caused by: could not create `text.jsonl/out.parquet`
      caused by: not a directory
    ");
    assert_message!(refusal(&place, &["cache", "export", "cache", "--out", "teacher"]), @r"
    error: `teacher` is a folder, not a file
    ");
}

#[test]
fn training_before_precomputing_is_refused() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &TRAIN), @r"
    error: could not train `run`
      caused by: `cache` is not a cache: it has no `identity.json`
    hint: make it with `leadspan precompute`
    ");
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    assert_message!(refusal(&place, &TRAIN), @r"
    error: could not train `run`
      caused by: the cache `cache` holds no distributions yet
    hint: make it with `leadspan precompute`
    ");
}

#[test]
fn a_folder_that_is_no_cache_is_refused() {
    let place = Workplace::new();
    assert_message!(refusal(&place, &["cache", "inspect", "teacher"]), @r"
    error: `teacher` is not a cache: it has no `identity.json`
    hint: make it with `leadspan precompute`
    ");
}

#[test]
fn a_damaged_cache_is_told_shard_by_shard_and_exits_with_1() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let (shard, bytes) = place
        .contents()
        .into_iter()
        .find_map(|(path, bytes)| path.ends_with("train-000001.parquet").then(|| (path, bytes.unwrap())))
        .unwrap();
    fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    let output = place.run(&["cache", "verify", "cache", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["problems"].as_array().unwrap().len(), 1);
    assert!(found["problems"][0].as_str().unwrap().contains("train-000001.parquet"));
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
