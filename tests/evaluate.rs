//! `leadspan evaluate` with the real program: results, what is graded as right, interruptions, refusals.

use std::fs;

use serde_json::Value;

use crate::program::Workplace;

const EVALUATE: [&str; 6] = ["evaluate", "-c", "pipeline.toml", "--model", "teacher", "--json"];

/// A workplace whose pipeline asks `rows` problems.
fn workplace(rows: usize) -> Workplace {
    let place = Workplace::with_rows(rows, 10);
    fs::rename(place.path("text.jsonl"), place.path("test.jsonl")).unwrap();
    fs::copy(
        crate::program::fixtures().join("tiny-teacher-text.jsonl"),
        place.path("text.jsonl"),
    )
    .unwrap();
    place.replace(
        "pipeline.toml",
        "[train]",
        "[evaluate]\nfiles = [\"test.jsonl\"]\nformat = \"columns\"\nmax_new_tokens = 24\n\n[train]",
    );
    place
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn lines(place: &Workplace, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(name)).unwrap_or_default();
    // The last line may be under way.
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(json)
        .collect()
}

#[test]
fn answers_are_graded_and_held_out_losses_measured() {
    let place = workplace(12);
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place.succeed(&["train", "-c", "pipeline.toml"]);
    let result = json(&place.succeed(&["evaluate", "-c", "pipeline.toml", "--json"]));
    assert_eq!(
        (&result["outcome"], &result["summary"]["problems"]),
        (&"done".into(), &12.into())
    );
    assert!(result["model"].as_str().unwrap().ends_with("run/model"), "{result}");
    let trained = json(&fs::read_to_string(place.path("run/summary.json")).unwrap());
    // The same samples, model and losses as at the end of training, in passes of the same size.
    assert_eq!(result["summary"]["held_out"], trained["held_out_after"]);
    let answers = lines(&place, "run/evaluation/answers.jsonl");
    let ids: Vec<&str> = answers.iter().map(|answer| answer["id"].as_str().unwrap()).collect();
    assert_eq!(ids, (0..12).map(|row| format!("row-{row}")).collect::<Vec<_>>());
    let tokens: u64 = answers.iter().map(|answer| answer["tokens"].as_u64().unwrap()).sum();
    assert_eq!(result["summary"]["tokens"], tokens);
    assert!(!place.path("run/evaluation/answers.partial.jsonl").exists());

    // Every third problem gets the right answer: the one that the model gives.
    let problems: Vec<String> = answers
        .iter()
        .enumerate()
        .map(|(index, answer)| {
            let right = index % 3 == 0 && answer["found"].is_string();
            let gold = if right {
                answer["found"].as_str().unwrap()
            } else {
                "no number"
            };
            serde_json::json!({ "id": answer["id"], "question": answer["question"], "gold": gold }).to_string() + "\n"
        })
        .collect();
    place.write("test.jsonl", &problems.concat());
    let expected = answers
        .iter()
        .step_by(3)
        .filter(|answer| answer["found"].is_string())
        .count();
    let graded = ["evaluate", "-c", "pipeline.toml", "--set", "evaluate.answer=gold"];
    let other = [&graded[..], &["--set", "evaluate.dir=graded", "--json"]].concat();
    let result = json(&place.succeed(&other));
    assert_eq!(result["summary"]["correct"], expected);
    assert_eq!(result["summary"]["accuracy"], expected as f64 / 12.0);
    let page = fs::read_to_string(place.path("graded/failures.md")).unwrap();
    assert!(
        page.starts_with(&format!("# {} of 12 answers are wrong\n", 12 - expected)),
        "{page}"
    );
    let again = json(&place.succeed(&other));
    assert_eq!(
        (&again["outcome"], &again["summary"]),
        (&"already_done".into(), &result["summary"])
    );

    // The first folder belongs to the first problems.
    let refused = place.run(&graded);
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("holds an evaluation with another `problems.content`"),
        "{stderr}"
    );
    assert!(
        stderr.contains("hint: give this evaluation a folder of its own"),
        "{stderr}"
    );
}

#[test]
fn an_evaluation_that_is_stopped_or_killed_ends_as_one_that_was_not() {
    let more = [
        "--set",
        "evaluate.max_new_tokens=200",
        "--set",
        "evaluate.batch_samples=3",
    ];
    let drawn = ["--set", "evaluate.temperature=1.2", "--set", "evaluate.top_p=0.9"];
    let command = [&EVALUATE[..], &more, &drawn].concat();
    let whole = workplace(60);
    whole.succeed(&[&command[..], &["--set", "evaluate.batch_samples=16"]].concat());
    let place = workplace(60);
    for (signal, code) in [("TERM", Some(75)), ("KILL", None)] {
        let before = lines(&place, "run/evaluation/answers.partial.jsonl").len();
        let held = place.start_held(&command, "problems", 4);
        if signal == "TERM" {
            assert_eq!(held.terminate(), code);
        } else {
            assert!(held.kill());
        }
        assert!(lines(&place, "run/evaluation/answers.partial.jsonl").len() > before);
        assert!(!place.path("run/evaluation/summary.json").exists());
    }
    let result = json(&place.succeed(&command));
    assert_eq!(result["outcome"], "done");
    for name in ["answers.jsonl", "failures.md"] {
        let of = |place: &Workplace| fs::read(place.path("run/evaluation").join(name)).unwrap();
        assert!(of(&place) == of(&whole), "{name}");
    }
}

/// A grader: even problems are right, and on the third there is no verdict.
const GRADER: &str = r#"
while read -r line; do
    index=${line#*:}
    index=${index%%,*}
    case $index in
        3) echo "{\"index\": $index, \"ungraded\": \"a matrix\"}" ;;
        *[02468]) echo "{\"index\": $index, \"correct\": true, \"found\": \"F\"}" ;;
        *) echo "{\"index\": $index, \"correct\": false}" ;;
    esac
done
"#;

#[test]
fn a_grader_outside_the_program_gives_the_verdicts_and_its_failure_loses_no_answer() {
    let place = workplace(6);
    let command = [&EVALUATE[..], &["--set", r#"evaluate.grader=["sh", "grade.sh"]"#]].concat();
    place.write("grade.sh", GRADER);
    let result = json(&place.succeed(&[&command[..], &["--set", "evaluate.dir=whole"]].concat()));
    let summary = &result["summary"];
    assert_eq!((&summary["correct"], &summary["ungraded"]), (&3.into(), &1.into()));
    assert_eq!(summary["grader"]["name"], "grade.sh");
    assert_eq!(summary["grader"]["command"], serde_json::json!(["sh", "grade.sh"]));
    let answers = lines(&place, "whole/answers.jsonl");
    assert_eq!(
        (&answers[2]["correct"], &answers[2]["found"]),
        (&true.into(), &"F".into())
    );
    assert_eq!(
        (&answers[3]["correct"], &answers[3]["ungraded"]),
        (&false.into(), &"a matrix".into())
    );
    let page = fs::read_to_string(place.path("whole/failures.md")).unwrap();
    assert!(page.starts_with("# 2 of 6 answers are wrong, 1 ungraded\n"), "{page}");

    place.write("grade.sh", "read -r line; echo 'ValueError: no' >&2; exit 3");
    let failed = place.run(&command);
    let stderr = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{stderr}");
    for part in [
        "the grader gave no verdict on the answer to problem `row-",
        "it ended (exit status: 3): ValueError: no",
        "hint: the answers so far are kept",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert_eq!(lines(&place, "run/evaluation/answers.partial.jsonl").len(), 1);
    place.write("grade.sh", GRADER);
    place.succeed(&command);
    for name in ["answers.jsonl", "failures.md"] {
        let of = |dir: &str| fs::read(place.path(dir).join(name)).unwrap();
        assert!(of("run/evaluation") == of("whole"), "{name}");
    }
    // The verdicts of a finished evaluation are this grader's.
    place.write("grade.sh", "exit 0");
    let refused = place.run(&command);
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        stderr.contains("holds an evaluation with another `grader.files`"),
        "{stderr}"
    );
}

#[test]
fn what_cannot_be_evaluated_says_what_is_missing() {
    let place = workplace(3);
    let message = |more: &[&str]| {
        let output = place.run(&[&["evaluate", "-c", "pipeline.toml"], more].concat());
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    for (more, expected) in [
        (&[][..], "no model at `run/model`"),
        (&["--model", "nowhere"], "no model at `nowhere`"),
        (
            &["--model", "teacher", "--set", "evaluate.files=[]"],
            "`evaluate.files` cannot be used: the list is empty",
        ),
        (
            &["--model", "teacher", "--set", "evaluate.answer_pattern=("],
            "`evaluate.answer_pattern` is not a valid regular expression",
        ),
        (
            &[
                "--model",
                "teacher",
                "--set",
                "evaluate.grader=['./no-grader']",
                "--set",
                "evaluate.dir=ungraded",
            ],
            "could not start the grader `./no-grader`",
        ),
        (
            &["--model", "teacher", "--set", "evaluate.grader_seconds=0"],
            "`evaluate.grader_seconds` cannot be used",
        ),
        (
            &["--model", "teacher", "--set", "evaluate.answer=gold"],
            "the field `gold` is missing",
        ),
        (
            &["--model", "teacher", "--set", "evaluate.max_new_tokens=0"],
            "`max_new_tokens` cannot be used",
        ),
        (
            &["--model", "teacher", "--set", "evaluate.top=3"],
            "`evaluate.top` is not a key of the pipeline file",
        ),
        (
            &["--model", "teacher", "--set", "evaluate.where={ id = 'x' }"],
            "contain no problem",
        ),
    ] {
        let message = message(more);
        assert!(message.contains(expected), "{more:?}: {message}");
    }
    // A template that writes no token after a turn.
    let bare = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    place.write("teacher/chat_template.jinja", bare);
    for (stop, is_warned_of) in [("[]", true), ("['user:']", false)] {
        let stop = format!("evaluate.stop={stop}");
        let dir = format!("evaluate.dir=warned-{is_warned_of}");
        let more = ["--set", &stop, "--set", &dir, "--set", "evaluate.max_new_tokens=2"];
        let output = place.run(&[&EVALUATE[..], &more].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        assert_eq!(
            stderr.contains("Set `evaluate.stop` to what ends a turn"),
            is_warned_of,
            "{stderr}"
        );
    }
    fs::remove_file(place.path("teacher/chat_template.jinja")).unwrap();
    let tokenizer = "teacher/tokenizer_config.json";
    let text = fs::read_to_string(place.path(tokenizer))
        .unwrap()
        .replace("chat_template", "other");
    place.write(tokenizer, &text);
    assert!(message(&["--model", "teacher"]).contains("has no chat template"));
}
