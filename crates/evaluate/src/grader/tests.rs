//! Graders of one line of shell, and what becomes of what they do.

use std::{fs, sync::atomic::AtomicBool, time::Instant};

use leadspan_diagnosis::Diagnosis as _;

use super::*;

/// Reads lines and answers each with `reply`, in which `$n` is the number of the line from 0.
fn answering(reply: &str) -> String {
    format!(
        "n=0; while read -r line; do echo \"{}\"; n=$((n + 1)); done",
        reply.replace('"', "\\\"")
    )
}

fn shell(script: &str, seconds: u64) -> GraderCommand {
    GraderCommand {
        command: ["sh", "-c", script].map(String::from).to_vec(),
        base: PathBuf::new(),
        limit: Duration::from_secs(seconds),
    }
}

fn request(index: u64) -> Request<'static> {
    Request {
        index,
        id: "p-7",
        question: "q",
        reference: "#### 5",
        expected: "5",
        text: "so \\boxed{5}\n",
        found: Some("5"),
    }
}

/// Runs `of` with a context of its own.
fn with_context<T>(stop: bool, of: impl FnOnce(&EvaluationContext<'_>) -> T) -> T {
    let (stop, began) = (AtomicBool::new(stop), Instant::now());
    of(&EvaluationContext {
        stop: &stop,
        clock: &|| began.elapsed(),
    })
}

/// What is said about a script as a grader of one answer.
fn said(script: &str, seconds: u64) -> String {
    with_context(false, |context| {
        let mut grader = shell(script, seconds).start().unwrap();
        let verdict = match grader.ask(&request(0), context) {
            Ok(verdict) => format!("{:?}", verdict.unwrap()),
            Err(error) => return format!("{error}: {}", std::error::Error::source(&error).unwrap()),
        };
        match grader.finish(context) {
            Ok(_) => verdict,
            Err(error) => format!("{error}: {}", std::error::Error::source(&error).unwrap()),
        }
    })
}

#[test]
fn a_grader_gives_verdicts_and_anything_else_is_an_error_that_names_the_problem() {
    let no_verdict = |line: &str, because: &str| {
        format!(
            "the grader gave no verdict on the answer to problem `p-7`: its line `{line}` is not a verdict: {because}"
        )
    };
    for (script, expected) in [
        (answering(r#"{"index": $n, "correct": true}"#), "Graded { correct: true, found: None }".to_owned()),
        (
            answering(r#"{"index": $n, "correct": false, "found": "6"}"#),
            "Graded { correct: false, found: Some(\"6\") }".to_owned(),
        ),
        (answering(r#"{"index": $n, "ungraded": "a matrix"}"#), "Ungraded(\"a matrix\")".to_owned()),
        // The request has everything, in one line.
        (
            "read -r line; case $line in '{\"index\":0,\"id\":\"p-7\",\"question\":\"q\",\"reference\":\"#### 5\",\"expected\":\"5\",\
             \"text\":\"so \\\\boxed{5}\\n\",\"found\":\"5\"}') echo '{\"index\": 0, \"correct\": true}';; esac"
                .to_owned(),
            "Graded { correct: true, found: None }".to_owned(),
        ),
        (
            answering(r#"{"index": 7, "correct": true}"#),
            no_verdict(r#"{"index": 7, "correct": true}"#, "`index` is 7, but 0 was asked"),
        ),
        (
            answering(r#"{"index": $n}"#),
            no_verdict(r#"{"index": 0}"#, "it must have either `correct` or `ungraded`"),
        ),
        (
            answering(r#"{"index": $n, "correct": true, "ungraded": "x"}"#),
            no_verdict(
                r#"{"index": 0, "correct": true, "ungraded": "x"}"#,
                "it must have either `correct` or `ungraded`",
            ),
        ),
        (
            answering(r#"{"index": $n, "correct": 1}"#),
            no_verdict(
                r#"{"index": 0, "correct": 1}"#,
                "invalid type: integer `1`, expected a boolean at line 1 column 25",
            ),
        ),
        (
            answering(r#"{"index": $n, "correct": true, "score": 1}"#),
            no_verdict(
                r#"{"index": 0, "correct": true, "score": 1}"#,
                "unknown field `score`, expected one of `index`, `correct`, `found`, `ungraded` at line 1 column 37",
            ),
        ),
        (
            "printf 'hello \\033[2J\\n'; cat >/dev/null".to_owned(),
            no_verdict("hello \\u{1b}[2J", "expected value at line 1 column 1"),
        ),
        (
            "read -r line; echo 'Traceback' >&2; echo 'ValueError: no' >&2; exit 3".to_owned(),
            "the grader gave no verdict on the answer to problem `p-7`: it ended (exit status: 3): ValueError: no".to_owned(),
        ),
        (
            "head -c 2000000 /dev/zero | tr '\\0' x".to_owned(),
            "the grader gave no verdict on the answer to problem `p-7`: it wrote a line of more than 1 MiB".to_owned(),
        ),
        (
            format!("{}; exit 4", answering(r#"{"index": $n, "correct": true}"#)),
            "the grader failed after its last verdict: it ended (exit status: 4)".to_owned(),
        ),
        (
            format!("{}; echo bye", answering(r#"{"index": $n, "correct": true}"#)),
            "the grader failed after its last verdict: its line `bye` is not a verdict: nothing was asked any more".to_owned(),
        ),
    ] {
        assert_eq!(said(&script, 60), expected, "{script}");
    }
}

#[test]
fn a_grader_that_does_not_answer_is_killed_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pids");
    // A limit of no time: the verdict does not depend on the machine's speed, because none ever comes.
    let script = format!(
        "sleep 1000 & echo $! > '{0}.new'; mv '{0}.new' '{0}'; wait",
        path.display()
    );
    with_context(false, |context| {
        let mut grader = shell(&script, 0).start().unwrap();
        while !path.exists() {
            std::thread::yield_now();
        }
        let error = grader.ask(&request(0), context).unwrap_err();
        let EvaluateError::Grader {
            fault: GraderFault::Late { seconds: 0 },
            ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert!(!error.is_unexpected());
        assert!(error.hint().unwrap().contains("the answers so far are kept"));
    });
    has_ended(&path);
}

#[test]
fn a_grader_that_ends_while_a_program_of_its_own_holds_its_output_is_named_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let leaves = format!("sleep 1000 & echo $! > '{0}.new'; mv '{0}.new' '{0}'", path.display());
    let held = "but a program that it started still held its standard output after 0 s (`evaluate.grader_seconds`)";
    for (script, expected) in [
        (
            format!("{leaves}; exit 3"),
            format!("it ended (exit status: 3), {held}"),
        ),
        // The input ends, and so does the grader; its program does not.
        (
            format!("{leaves}; cat >/dev/null"),
            format!("it ended (exit status: 0), {held}"),
        ),
    ] {
        let is_asked = script.contains("exit");
        let fault = with_context(false, |context| {
            let mut grader = shell(&script, 0).start().unwrap();
            while !path.exists() {
                std::thread::yield_now();
            }
            if !is_asked {
                grader.process.close_input();
            }
            // The limit is no time: the fault is the same on a slow machine, because the process has ended before.
            while !grader.process.has_ended() {
                std::thread::yield_now();
            }
            let error = if is_asked {
                grader.ask(&request(0), context).map(drop).unwrap_err()
            } else {
                grader.finish(context).map(drop).unwrap_err()
            };
            assert!(!error.is_unexpected());
            std::error::Error::source(&error).unwrap().to_string()
        });
        assert_eq!(fault, expected, "{script}");
        has_ended(&path);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_a_grader_left_running_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let script = format!(
        "sleep 1000 >/dev/null 2>&1 & echo $! > '{}'; {}",
        path.display(),
        answering(r#"{"index": $n, "correct": true}"#)
    );
    assert_eq!(said(&script, 600), "Graded { correct: true, found: None }");
    has_ended(&path);
}

/// Waits until the process has ended whose number is in a file.
fn has_ended(path: &std::path::Path) {
    let started = fs::read_to_string(path).unwrap();
    // The system may still have to take away what was killed.
    let status = || fs::read_to_string(format!("/proc/{}/stat", started.trim())).unwrap_or_default();
    while !status().is_empty() && !status().contains(") Z ") {
        std::thread::yield_now();
    }
}

#[test]
fn a_stop_ends_the_wait_for_a_verdict() {
    with_context(true, |context| {
        let mut grader = shell("cat >/dev/null", 600).start().unwrap();
        assert_eq!(grader.ask(&request(0), context).unwrap(), None);
    });
}

#[test]
fn a_grader_that_reads_nothing_and_writes_much_blocks_nothing() {
    with_context(false, |context| {
        let text = "x".repeat(1 << 20);
        let mut grader = shell(
            "yes >&2 & while :; do echo '{\"index\": 0, \"correct\": true}'; done",
            600,
        )
        .start()
        .unwrap();
        for _ in 0..3 {
            let long = Request {
                text: &text,
                ..request(0)
            };
            let expected = Verdict::Graded {
                correct: true,
                found: None,
            };
            assert_eq!(grader.ask(&long, context).unwrap(), Some(expected));
        }
    });
}

#[test]
fn what_grades_is_known_by_its_command_and_the_contents_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("grade.py"), "print(1)").unwrap();
    let mut grader = shell("", 1);
    grader.base = folder.path().to_owned();
    assert_eq!(grader.identity().unwrap().name, "sh");
    grader.command = ["python3", "grade.py", "--strict"].map(String::from).to_vec();
    let first = grader.identity().unwrap();
    assert_eq!(
        (&first.name[..], &first.files[0].0[..], first.files.len()),
        ("grade.py", "grade.py", 1)
    );
    fs::write(folder.path().join("grade.py"), "print(2)").unwrap();
    assert_ne!(grader.identity().unwrap(), first);

    grader.command = vec!["./no-such-grader".into()];
    let error = grader.start().err().unwrap();
    assert_eq!(error.to_string(), "could not start the grader `./no-such-grader`");
    assert!(error.hint().unwrap().contains("evaluate.grader"));
}
