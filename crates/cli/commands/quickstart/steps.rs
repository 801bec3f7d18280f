//! The steps of the quickstart. Each is one command, as a user would type it.

use std::{path::Path, thread};

/// One command of the quickstart.
pub(super) struct Step {
    /// Its purpose, in one line.
    pub(super) what: &'static str,
    /// The command's arguments.
    pub(super) arguments: Vec<String>,
}

impl Step {
    /// The command as it is typed.
    pub(super) fn typed(&self) -> String {
        let quoted = self.arguments.iter().map(|argument| {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=,:".contains(letter);
            if !argument.is_empty() && argument.chars().all(plain) {
                argument.clone()
            } else {
                format!("'{}'", argument.replace('\'', r"'\''"))
            }
        });
        format!("leadspan {}", quoted.collect::<Vec<_>>().join(" "))
    }
}

/// The most students at the same time: more would need more memory than a first try should.
const MOST_JOBS: usize = 4;

/// All steps in `folder`, in order.
pub(super) fn steps(folder: &Path) -> Vec<Step> {
    // The students are so small that several of them are faster with few threads each.
    let jobs = thread::available_parallelism()
        .map_or(1, |cores| cores.get().min(MOST_JOBS))
        .to_string();
    let inside = |name: &str| folder.join(name).display().to_string();
    let pipeline = inside("pipeline.toml");
    let step = |what, arguments: &[&str]| Step {
        what,
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
    };
    let answers = "evaluate.dir=teacher-answers";
    vec![
        step(
            "tokenize the worked problems, and find prompt, chain of thought and answer",
            &["prepare", "-c", &pipeline],
        ),
        step(
            "predict the cost of running the teacher over the first part of every problem, or all of it",
            &["plan", "-c", &pipeline, "--calibration", "2s"],
        ),
        step(
            "run the teacher once, and store its distribution of every next token",
            &["precompute", "-c", &pipeline],
        ),
        step(
            "read every byte of that cache again, and compare checksums",
            &["cache", "verify", "-c", &pipeline],
        ),
        step(
            "ask the teacher again at random positions: does the cache say the same?",
            &["cache", "audit", "-c", &pipeline],
        ),
        step(
            "how many of 200 problems it has never seen does the teacher solve?",
            &[
                "evaluate",
                "-c",
                &pipeline,
                "--model",
                &inside("teacher"),
                "--set",
                answers,
            ],
        ),
        step(
            "train students on parts of that one cache, and on all of it for as many operations; put the same problems to them",
            &["sweep", "-c", &pipeline, "--jobs", &jobs],
        ),
        step(
            "put all results on one page",
            &["report", &inside("runs"), "--out", &inside("report")],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted_into_a_shell() {
        let step = |arguments: &[&str]| Step {
            what: "",
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        };
        assert_eq!(
            step(&["plan", "-c", "a/b.toml", "--calibration", "2s"]).typed(),
            "leadspan plan -c a/b.toml --calibration 2s"
        );
        assert_eq!(
            step(&["report", "my runs", "it's", ""]).typed(),
            r"leadspan report 'my runs' 'it'\''s' ''"
        );
    }
}
