//! The folder of an evaluation: what it keeps, whom it belongs to, and what is refused.

use leadspan_diagnosis::Diagnosis as _;
use serde_json::json;

use super::*;
use crate::{AnswerEnd, GraderIdentity};

const IDS: [&str; 3] = ["p0", "p1", "p2"];

fn answer(index: u64) -> Answered {
    Answered {
        index,
        id: format!("p{index}"),
        correct: index.is_multiple_of(2),
        ungraded: None,
        expected: "1".into(),
        found: Some("1".into()),
        end: AnswerEnd::Stopped,
        tokens: 3,
        question: "q\nr".into(),
        text: "so 1".into(),
    }
}

#[test]
fn answers_survive_a_kill_in_the_middle_of_a_line() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("evaluation");
    let identity = json!({"model": {"weights": "a"}});
    let dir = EvaluationDir::open(&path, &identity, &mut |_| ()).unwrap();
    assert_eq!(dir.answers_so_far(&IDS).unwrap(), []);
    let mut partial = dir.partial().unwrap();
    partial.add(&answer(1)).unwrap();
    partial.add(&answer(0)).unwrap();
    let whole = fs::read(path.join(PARTIAL)).unwrap();
    for cut in 1..whole.len() {
        fs::write(path.join(PARTIAL), &whole[..cut]).unwrap();
        let found = dir.answers_so_far(&IDS).unwrap();
        let lines = String::from_utf8_lossy(&whole[..cut]).matches('\n').count();
        assert_eq!(found, [answer(1), answer(0)][..lines]);
        // The next answer gets a line of its own.
        dir.partial().unwrap().add(&answer(2)).unwrap();
        assert_eq!(dir.answers_so_far(&IDS).unwrap().len(), lines + 1);
    }
}

#[test]
fn a_folder_belongs_to_one_evaluation_and_one_process() {
    let temporary = tempfile::tempdir().unwrap();
    let identity = json!({"model": {"weights": "a"}, "seed": 1});
    let dir = EvaluationDir::open(temporary.path(), &identity, &mut |_| ()).unwrap();
    assert!(matches!(
        EvaluationDir::open(temporary.path(), &identity, &mut |_| ()),
        Err(EvaluateError::Busy { .. })
    ));
    drop(dir);
    let Err(EvaluateError::OtherEvaluation { key, stored, asked, .. }) = EvaluationDir::open(
        temporary.path(),
        &json!({"model": {"weights": "b"}, "seed": 1}),
        &mut |_| (),
    ) else {
        panic!("another model is another evaluation")
    };
    assert_eq!(
        (key.as_str(), stored.as_str(), asked.as_str()),
        ("model.weights", "\"a\"", "\"b\"")
    );
    assert!(EvaluationDir::open(temporary.path(), &identity, &mut |_| ()).is_ok());
}

#[test]
fn an_evaluation_of_a_stranger_leads_nowhere() {
    let temporary = tempfile::tempdir().unwrap();
    let outside = temporary.path().join("outside");
    fs::write(&outside, "untouched").unwrap();
    for name in [".lock", IDENTITY, PARTIAL, SUMMARY] {
        let path = temporary.path().join("evaluation");
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::symlink(&outside, path.join(name)).unwrap();
        let opened = EvaluationDir::open(&path, &json!({}), &mut |_| ());
        let used = opened.and_then(|dir| {
            dir.finished()?;
            dir.partial()?.add(&answer(1))
        });
        assert!(used.unwrap_err().to_string().contains(name));
        fs::remove_dir_all(&path).unwrap();
    }
    assert_eq!(fs::read_to_string(outside).unwrap(), "untouched");
}

#[test]
fn files_of_others_are_not_replaced() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path();
    for name in [ANSWERS, FAILURES, PARTIAL, SUMMARY, "pipeline.toml", "notes"] {
        fs::write(path.join(name), "mine").unwrap();
        let error = EvaluationDir::open(path, &json!({}), &mut |_| ()).err().unwrap();
        assert!(
            matches!(&error, EvaluateError::NotAnEvaluation { found, .. } if *found == Path::new(name)),
            "{error}"
        );
        assert!(!error.is_unexpected() && error.hint().is_some());
        assert_eq!(fs::read_to_string(path.join(name)).unwrap(), "mine");
        assert_eq!(fs::read_dir(path).unwrap().count(), 1, "nothing is written");
        fs::remove_file(path.join(name)).unwrap();
    }
    // What a killed evaluation leaves is no file of others.
    fs::write(path.join(".lock"), "").unwrap();
    fs::write(path.join(".evaluation.json.kill00.tmp"), "{").unwrap();
    drop(EvaluationDir::open(path, &json!({}), &mut |_| ()).unwrap());
    fs::write(path.join("notes"), "mine").unwrap();
    assert!(EvaluationDir::open(path, &json!({}), &mut |_| ()).is_ok());
}

#[test]
fn a_finished_evaluation_has_its_answers_or_says_what_is_missing() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    let dir = EvaluationDir::open(temporary.path(), &json!({}), &mut |_| ()).unwrap();
    let answers = [answer(0), answer(1), answer(2)];
    let summary = EvaluationSummary::new(&answers, GraderIdentity::built_in(), (1.0, 9), None);
    dir.finish(&answers, &summary).unwrap();
    assert_eq!(dir.finished().unwrap().unwrap().correct, 2);
    let page = fs::read(at(FAILURES)).unwrap();
    fs::remove_file(at(FAILURES)).unwrap();
    dir.finished().unwrap();
    assert_eq!(fs::read(at(FAILURES)).unwrap(), page);
    let whole = fs::read_to_string(at(ANSWERS)).unwrap();
    fs::write(at(ANSWERS), &whole[..whole.len() - 1]).unwrap();
    let error = dir.finished().unwrap_err();
    assert!(error.to_string().contains("`answers.jsonl` has 2 answers"), "{error}");
    assert!(!error.is_unexpected() && error.hint().unwrap().contains("summary.json"));
    fs::remove_file(at(ANSWERS)).unwrap();
    let error = dir.finished().unwrap_err();
    assert!(error.to_string().ends_with("`answers.jsonl` is missing"), "{error}");
    // As the hint says, all problems are asked again then.
    fs::remove_file(at(SUMMARY)).unwrap();
    assert!(dir.finished().unwrap().is_none() && dir.answers_so_far(&IDS).unwrap().is_empty());
}

#[test]
fn answers_so_far_that_a_kill_behind_the_summary_left_go_when_the_evaluation_is_found_finished() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = EvaluationDir::open(temporary.path(), &json!({}), &mut |_| ()).unwrap();
    let answers = [answer(0), answer(1), answer(2)];
    let summary = EvaluationSummary::new(&answers, GraderIdentity::built_in(), (1.0, 9), None);
    dir.finish(&answers, &summary).unwrap();
    dir.partial().unwrap().add(&answer(0)).unwrap();
    assert_eq!(dir.finished().unwrap(), Some(summary));
    assert!(!temporary.path().join(PARTIAL).exists());
}

#[test]
fn a_summary_that_says_something_else_than_the_answers_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let identity = json!({"problems": {"count": 3}});
    let dir = EvaluationDir::open(temporary.path(), &identity, &mut |_| ()).unwrap();
    let refused = |answers: &[Answered], summary: &EvaluationSummary, problem: &str| {
        dir.finish(answers, summary).unwrap();
        let error = dir.finished().unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
        assert!(!error.is_unexpected() && error.hint().unwrap().contains("summary.json"));
    };
    let answers = [answer(0), answer(1), answer(2)];
    let summary = EvaluationSummary::new(&answers, GraderIdentity::built_in(), (1.0, 9), None);
    let forged = EvaluationSummary {
        accuracy: 1.0,
        ..summary.clone()
    };
    refused(&answers, &forged, "`answers.jsonl` gives `accuracy` 0.666");
    let two = EvaluationSummary::new(&answers[..2], GraderIdentity::built_in(), (1.0, 9), None);
    refused(&answers[..2], &two, "has 2 answers, and 3 problems were asked");
    dir.finish(&answers, &summary).unwrap();
    assert_eq!(dir.finished().unwrap(), Some(summary));
}

#[test]
fn an_evaluation_needs_no_locks_of_the_file_system() {
    let temporary = tempfile::tempdir().unwrap();
    let open = || EvaluationDir::open(temporary.path(), &json!({}), &mut |_| panic!("nobody else is there"));
    leadspan_files::faults::without_locks(37, || open().unwrap().partial().unwrap().add(&answer(1)).unwrap());
    assert!(!temporary.path().join(".claims").exists());
}

#[test]
fn another_grader_takes_an_unfinished_evaluation_and_no_finished_one() {
    let temporary = tempfile::tempdir().unwrap();
    let plain = json!({"seed": 1});
    let graded = |name: &str| json!({"seed": 1, "grader": {"name": name}});
    for identity in [&plain, &graded("a"), &graded("b")] {
        let dir = EvaluationDir::open(temporary.path(), identity, &mut |_| ()).unwrap();
        assert_eq!(dir.read::<Value>(IDENTITY).unwrap().as_ref(), Some(identity));
    }
    fs::write(temporary.path().join(SUMMARY), "{}").unwrap();
    assert!(EvaluationDir::open(temporary.path(), &graded("b"), &mut |_| ()).is_ok());
    for identity in [&plain, &graded("a")] {
        let Err(EvaluateError::OtherEvaluation { key, .. }) =
            EvaluationDir::open(temporary.path(), identity, &mut |_| ())
        else {
            panic!("verdicts of another grader")
        };
        assert!(key.starts_with("grader"), "{key}");
    }
}

#[test]
fn a_link_in_a_run_is_no_folder_of_an_evaluation_but_one_that_the_user_names_is() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    for name in ["outside", "run"] {
        fs::create_dir(at(name)).unwrap();
    }
    std::os::unix::fs::symlink("../outside", at("run/evaluation")).unwrap();
    fs::write(at("run/run.json"), "{}").unwrap();
    for path in ["run/evaluation", "run/evaluation/"] {
        let error = EvaluationDir::open(&at(path), &json!({}), &mut |_| ()).err().unwrap();
        assert!(
            matches!(&error, EvaluateError::Io { path, .. } if path.ends_with("run/evaluation")),
            "{error}"
        );
        assert!(
            !error.is_unexpected() && error.hint().unwrap().contains("link"),
            "{error}"
        );
    }
    assert_eq!(
        fs::read_dir(at("outside")).unwrap().count(),
        0,
        "nothing is written outside"
    );
    fs::remove_file(at("run/evaluation")).unwrap();
    for (target, link) in [("run", "link"), ("outside", "mine")] {
        std::os::unix::fs::symlink(target, at(link)).unwrap();
    }
    for path in ["link/evaluation", "mine"] {
        EvaluationDir::open(&at(path), &json!({}), &mut |_| ()).unwrap();
    }
    assert!(at("run/evaluation/evaluation.json").is_file());
}

#[test]
fn what_would_steer_a_terminal_is_escaped_in_the_answers_and_stays_the_same_value() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = EvaluationDir::open(temporary.path(), &json!({}), &mut |_| ()).unwrap();
    let steering = Answered {
        id: "\u{1b}[2J\u{9b}31m".into(),
        question: "\u{202e}q\u{2066}".into(),
        text: "t\u{85}\u{7f}\tü".into(),
        ..answer(0)
    };
    dir.partial().unwrap().add(&steering).unwrap();
    assert_eq!(
        dir.answers_so_far(&[&steering.id]).unwrap(),
        std::slice::from_ref(&steering)
    );
    let answers = [steering];
    let summary = EvaluationSummary::new(&answers, GraderIdentity::built_in(), (1.0, 9), None);
    dir.finish(&answers, &summary).unwrap();
    let text = fs::read_to_string(temporary.path().join(ANSWERS)).unwrap();
    assert!(
        !text.chars().any(leadspan_files::steers) && text.contains("\\u202eq"),
        "{text}"
    );
    assert_eq!(results::answers(text.as_bytes()).unwrap(), answers);
    dir.finished().unwrap().unwrap();
}

#[test]
fn a_finished_evaluation_is_found_where_nothing_can_be_written_and_an_unfinished_one_says_so() {
    use leadspan_files::faults::read_only;

    let temporary = tempfile::tempdir().unwrap();
    let open = || EvaluationDir::open(temporary.path(), &json!({}), &mut |_| ());
    let dir = open().unwrap();
    let answers = [answer(0)];
    let error = read_only(open).err().unwrap();
    assert!(error.to_string().contains(".lock") && error.hint().is_some(), "{error}");
    let summary = EvaluationSummary::new(&answers, GraderIdentity::built_in(), (1.0, 9), None);
    dir.finish(&answers, &summary).unwrap();
    drop(dir);
    let found = read_only(|| open().unwrap().finished().unwrap());
    assert_eq!(found, Some(summary));
}

#[test]
fn a_line_of_the_answers_so_far_that_is_no_answer_is_refused_with_the_way_out() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = EvaluationDir::open(temporary.path(), &json!({}), &mut |_| ()).unwrap();
    dir.partial().unwrap().add(&answer(7)).unwrap();
    let before = fs::read(temporary.path().join(PARTIAL)).unwrap();
    let error = dir.answers_so_far(&IDS).unwrap_err();
    assert!(error.to_string().starts_with("line 1 of `"), "{error}");
    assert!(!error.is_unexpected() && error.hint().unwrap().contains("asked anew"));
    assert_eq!(
        fs::read(temporary.path().join(PARTIAL)).unwrap(),
        before,
        "nothing is dropped"
    );
}
