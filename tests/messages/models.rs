//! Models that are missing or damaged, or that do not belong to the cache.

use std::fs;

use super::{PRECOMPUTE, TRAIN, refusal, swap_two_tokens};
use crate::program::Workplace;

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
    assert_message!(refusal(&place, &["precompute", "-c", "pipeline.toml", "--set", "data.max_tokens=4096"]), @r"
    error: could not precompute into `cache`
      caused by: `data.max_tokens` is 4096, but the model `teacher` has a context of 1000 tokens
    note: `data.max_tokens` is set by `--set data.max_tokens=4096`
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
    let beyond = "caused by: the student's vocabulary has 288 tokens, but sample `made-up-";
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
      caused by: weights in `teacher/model.safetensors` cannot be read: incomplete metadata, file not fully covered
    hint: the file may be truncated, or of another format: compare its size with the original's
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
      caused by: weights in `teacher/model.safetensors` cannot be read: incomplete metadata, file not fully covered
    hint: the file may be truncated, or of another format: compare its size with the original's
    "#);
}
