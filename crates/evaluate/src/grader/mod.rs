//! A program outside this one that grades answers: `evaluate.grader`.
//!
//! It is started once and reads a JSON object a line from its standard input. For each line it writes one JSON object as a line to
//! its standard output, and it ends when its input ends.
//!
//! ```text
//! to the grader     {"index": 0, "id": "p-7", "question": "…", "reference": "…", "expected": "…", "text": "…", "found": "…" or null}
//! from the grader   {"index": 0, "correct": true}     with "found": "…", it also says which answer it found
//!                   {"index": 0, "ungraded": "why there is no verdict"}
//! ```
//!
//! Whatever else it does (another line, an end, no line in time) is an error that names the problem: no answer gets a verdict that
//! the grader did not give. The limit of time is therefore no verdict either: it would depend on the machine.

mod fault;
mod process;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use fault::GraderFault;
use leadspan_files::{Refusal, hash_contents};
use process::{Line, Process};
use serde::{Deserialize, Serialize};

use crate::{EvaluateError, EvaluationContext};

/// How a grader is started.
#[derive(Clone, Debug)]
pub(crate) struct GraderCommand {
    /// The program and its arguments; not empty.
    pub(crate) command: Vec<String>,
    /// The folder in which it runs.
    pub(crate) base: PathBuf,
    /// How long it may take for one answer.
    pub(crate) limit: Duration,
}

/// What gave the verdicts of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraderIdentity {
    /// `built-in`, or the name of the first file in the command, or that of the program.
    pub name: String,
    /// The command of a grader outside the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The arguments that are files, and the BLAKE3 hashes of their contents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<(String, String)>,
}

impl GraderIdentity {
    /// The rules of this crate.
    pub(crate) fn built_in() -> Self {
        Self {
            name: "built-in".into(),
            command: Vec::new(),
            files: Vec::new(),
        }
    }
}

/// A question to the grader.
#[derive(Debug, Serialize)]
pub(crate) struct Request<'a> {
    pub(crate) index: u64,
    pub(crate) id: &'a str,
    /// The last turn of the prompt.
    pub(crate) question: &'a str,
    /// The text that contains the right answer.
    pub(crate) reference: &'a str,
    /// The right answer that was found in the reference.
    pub(crate) expected: &'a str,
    /// The text that the model generated.
    pub(crate) text: &'a str,
    /// The answer that was found in the text.
    pub(crate) found: Option<&'a str>,
}

/// What the grader says about one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is right or wrong. The grader may say which answer it found.
    Graded { correct: bool, found: Option<String> },
    /// The grader gives no verdict, for this reason.
    Ungraded(String),
}

/// A line from the grader.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    index: u64,
    correct: Option<bool>,
    found: Option<String>,
    ungraded: Option<String>,
}

impl GraderCommand {
    /// What the verdicts depend on.
    ///
    /// # Errors
    ///
    /// If a file in the command cannot be read.
    pub(crate) fn identity(&self) -> Result<GraderIdentity, EvaluateError> {
        let mut files = Vec::new();
        for argument in &self.command {
            let path = self.base.join(argument);
            if !path.is_file() {
                continue;
            }
            let mut hasher = blake3::Hasher::new();
            match hash_contents(&mut hasher, &path) {
                Ok(()) => files.push((argument.clone(), hasher.finalize().to_hex().to_string())),
                Err(error) if Refusal::of(&error).is_some() => {}
                Err(source) => {
                    return Err(EvaluateError::Io {
                        action: "read",
                        path,
                        source,
                    });
                }
            }
        }
        let first = files.first().map_or(&self.command[0], |(name, _)| name);
        let name = Path::new(first)
            .file_name()
            .map_or_else(|| first.clone(), |name| name.to_string_lossy().into_owned());
        Ok(GraderIdentity {
            name,
            command: self.command.clone(),
            files,
        })
    }

    /// Starts the grader.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::GraderStart`] if the program cannot be started.
    pub(crate) fn start(&self) -> Result<Grader, EvaluateError> {
        let program = &self.command[0];
        let place = if program.contains('/') {
            self.base.join(program)
        } else {
            program.into()
        };
        let process = Process::start(&place, &self.command[1..], &self.base);
        Ok(Grader {
            process: process.map_err(|source| EvaluateError::GraderStart {
                program: program.clone(),
                source,
            })?,
            limit: self.limit,
        })
    }
}

/// A running grader. It is killed when this is dropped.
pub(crate) struct Grader {
    process: Process,
    limit: Duration,
}

impl Grader {
    /// The verdict on an answer; `None` if the evaluation was stopped meanwhile.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::Grader`] if the grader does not give one in time and in the right form.
    pub(crate) fn ask(
        &mut self,
        request: &Request<'_>,
        context: &EvaluationContext<'_>,
    ) -> Result<Option<Verdict>, EvaluateError> {
        let fault = |fault| EvaluateError::Grader {
            problem: request.id.to_owned(),
            fault,
        };
        let mut line = serde_json::to_vec(request).expect("texts and numbers serialize");
        line.push(b'\n');
        self.process.send(line);
        let began = (context.clock)();
        let in_time = || (context.clock)().saturating_sub(began) <= self.limit;
        let line = match self.process.next_line(context.stop, &in_time) {
            Line::Text(line) => line,
            Line::Stopped => return Ok(None),
            Line::Late => return Err(fault(self.process.late(self.limit.as_secs()))),
            Line::TooLong => return Err(fault(GraderFault::TooLong)),
            Line::Ended => return Err(fault(self.process.ended())),
        };
        verdict(&line, request.index).map(Some).map_err(|because| {
            fault(GraderFault::NoVerdict {
                line: fault::shown(&line),
                because,
            })
        })
    }

    /// Closes the grader's input and waits for its end, at most as long as for an answer. Returns `false` if the evaluation was
    /// stopped meanwhile.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::GraderEnd`] if it does not end in time, writes another line or reports a failure.
    pub(crate) fn finish(mut self, context: &EvaluationContext<'_>) -> Result<bool, EvaluateError> {
        let fault = |fault| Err(EvaluateError::GraderEnd { fault });
        self.process.close_input();
        let began = (context.clock)();
        let in_time = || (context.clock)().saturating_sub(began) <= self.limit;
        match self.process.next_line(context.stop, &in_time) {
            Line::Stopped => Ok(false),
            Line::Ended if self.process.succeeded() => Ok(true),
            Line::Ended => fault(self.process.ended()),
            Line::Late => fault(self.process.late(self.limit.as_secs())),
            Line::TooLong => fault(GraderFault::TooLong),
            Line::Text(line) => fault(GraderFault::NoVerdict {
                line: fault::shown(&line),
                because: "nothing was asked any more".into(),
            }),
        }
    }
}

/// The verdict in a line, or what is wrong with it.
fn verdict(line: &[u8], index: u64) -> Result<Verdict, String> {
    let reply: Reply = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if reply.index != index {
        return Err(format!("`index` is {}, but {index} was asked", reply.index));
    }
    match (reply.correct, reply.ungraded) {
        (Some(correct), None) => Ok(Verdict::Graded {
            correct,
            found: reply.found,
        }),
        (None, Some(because)) if reply.found.is_none() => Ok(Verdict::Ungraded(because)),
        _ => Err("it must have either `correct` or `ungraded`".into()),
    }
}

#[cfg(test)]
mod tests;
