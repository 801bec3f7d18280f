//! The folder of an evaluation: its lock, its identity, the answers so far, and whether the results are there.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use leadspan_files::{commit_bytes, open_own, read_unlinked, require_own_folder, visible_json};
use leadspan_train::first_difference;
use leadspan_workers::{FolderLock, Holder, LockedFolder};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Answered, EvaluateError, EvaluationSummary, failures, results};

const IDENTITY: &str = "evaluation.json";
const PARTIAL: &str = "answers.partial.jsonl";
const ANSWERS: &str = "answers.jsonl";
const FAILURES: &str = "failures.md";
const SUMMARY: &str = "summary.json";

/// The most bytes of an identity or a summary.
const MOST_BYTES: u64 = 16 << 20;
/// The most bytes of the answers so far.
const MOST_ANSWERS: u64 = 1 << 30;

/// The folder, locked by this process.
pub(crate) struct EvaluationDir {
    path: PathBuf,
    /// The lock, held until the evaluation ends; `None` if it is finished, and this process may not write there.
    lock: Option<FolderLock>,
}

impl EvaluationDir {
    /// Creates and locks the folder of an evaluation of `identity`. Calls `waiting` with another process that may be working in
    /// it, if the file system has no locks to tell.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::OtherEvaluation`] if it has the results of another evaluation, [`EvaluateError::Busy`] if another
    /// process has locked it, [`EvaluateError::NotAnEvaluation`] if it has other files, [`EvaluateError::Io`] if it is a link in
    /// the folder of a run.
    pub(crate) fn open(path: &Path, identity: &Value, waiting: &mut dyn FnMut(&Holder)) -> Result<Self, EvaluateError> {
        // A folder that the user names may be a link, but not one inside a run.
        if path
            .parent()
            .is_some_and(|run| run.join("run.json").symlink_metadata().is_ok())
        {
            require_own_folder(path).map_err(io_error("use", path))?;
        }
        require_evaluation_or_nothing(path)?;
        let lock = match FolderLock::take(path, SUMMARY, waiting)? {
            LockedFolder::Locked(lock) => Some(lock),
            LockedFolder::Finished => None,
            LockedFolder::Held(holder) => {
                let dir = path.to_owned();
                return Err(EvaluateError::Busy { dir, holder });
            }
        };
        let dir = Self {
            path: path.to_owned(),
            lock,
        };
        match dir.read::<Value>(IDENTITY)? {
            None => dir.write(IDENTITY, &pretty(identity))?,
            // An unfinished evaluation has texts and no verdicts yet: another grader may take them.
            Some(stored)
                if dir.read::<Value>(SUMMARY)?.is_none() && without_grader(&stored) == without_grader(identity) =>
            {
                dir.write(IDENTITY, &pretty(identity))?;
            }
            Some(stored) => {
                if let Some((key, stored, asked)) = first_difference(&stored, identity) {
                    return Err(EvaluateError::OtherEvaluation {
                        dir: path.to_owned(),
                        key,
                        stored,
                        asked,
                    });
                }
            }
        }
        Ok(dir)
    }

    /// The summary, if the evaluation is finished. Writes the page of wrong answers anew if it is missing, and removes the answers
    /// so far if a kill left them.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::AnswersGone`] if the answers are not those that were summed up, or the summary has other values.
    pub(crate) fn finished(&self) -> Result<Option<EvaluationSummary>, EvaluateError> {
        let Some(summary) = self.read::<EvaluationSummary>(SUMMARY)? else {
            return Ok(None);
        };
        let gone = |problem| EvaluateError::AnswersGone {
            dir: self.path.clone(),
            problem,
        };
        let text = self.bytes(ANSWERS, MOST_ANSWERS)?;
        let text = text.ok_or_else(|| gone(format!("`{ANSWERS}` is missing")))?;
        if let Some(problem) = results::mismatch(&text, &summary) {
            return Err(gone(format!("`{ANSWERS}` {problem}")));
        }
        let identity: Option<Value> = self.read(IDENTITY)?;
        let asked = identity.and_then(|identity| identity["problems"]["count"].as_u64());
        if let Some(asked) = asked.filter(|&asked| asked != summary.problems) {
            let problems = summary.problems;
            return Err(gone(format!(
                "`{ANSWERS}` has {problems} answers, and {asked} problems were asked"
            )));
        }
        if self.lock.is_none() {
            return Ok(Some(summary));
        }
        if self.path.join(FAILURES).symlink_metadata().is_err() {
            let answers = results::answers(&text).ok_or_else(|| gone(format!("`{FAILURES}` is missing")))?;
            self.write(FAILURES, failures::page(&answers).as_bytes())?;
        }
        // A kill behind the summary leaves them.
        self.remove_partial()?;
        Ok(Some(summary))
    }

    /// The answers so far to the problems of these ids, one of each. What a kill cut short at the end is dropped.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::BadAnswer`] with a line that is no answer to one of the problems.
    pub(crate) fn answers_so_far(&self, ids: &[&str]) -> Result<Vec<Answered>, EvaluateError> {
        let text = self.bytes(PARTIAL, MOST_ANSWERS)?.unwrap_or_default();
        let (answers, whole) = results::so_far(&text, ids).map_err(|(line, problem)| EvaluateError::BadAnswer {
            path: self.path.join(PARTIAL),
            line,
            problem,
        })?;
        if whole < text.len() {
            self.write(PARTIAL, &text[..whole])?;
        }
        Ok(answers)
    }

    /// The file for further answers.
    pub(crate) fn partial(&self) -> Result<PartialAnswers, EvaluateError> {
        let path = self.path.join(PARTIAL);
        let file = open_own(&path, File::options().create(true).append(true));
        let file = file.map_err(io_error("open", &path))?;
        Ok(PartialAnswers { path, file })
    }

    /// Writes the results in the order of the problems, and the summary last.
    pub(crate) fn finish(&self, answers: &[Answered], summary: &EvaluationSummary) -> Result<(), EvaluateError> {
        let lines: Vec<u8> = answers.iter().flat_map(line).collect();
        self.write(ANSWERS, &lines)?;
        self.write(FAILURES, failures::page(answers).as_bytes())?;
        self.write(SUMMARY, &pretty(summary))?;
        self.remove_partial()
    }

    /// Removes the answers so far, which a finished evaluation needs no more.
    fn remove_partial(&self) -> Result<(), EvaluateError> {
        let partial = self.path.join(PARTIAL);
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &partial)(error)),
            _ => Ok(()),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), EvaluateError> {
        Ok(commit_bytes(&self.path.join(name), bytes)?)
    }

    /// The bytes of a file; `None` if there is none.
    fn bytes(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, EvaluateError> {
        let path = self.path.join(name);
        match read_unlinked(&path, most) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error("read", &path)(source)),
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, EvaluateError> {
        let Some(bytes) = self.bytes(name, MOST_BYTES)? else {
            return Ok(None);
        };
        let path = self.path.join(name);
        let damaged = |error| io_error("understand", &path)(io::Error::new(io::ErrorKind::InvalidData, error));
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }
}

/// Refuses a folder that has files, but no evaluation: they would be replaced, or taken for results. Names that begin with a dot
/// are those of locks and temporary files.
fn require_evaluation_or_nothing(path: &Path) -> Result<(), EvaluateError> {
    if path.join(IDENTITY).symlink_metadata().is_ok() {
        return Ok(());
    }
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io_error("list", path))?,
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
    names.sort();
    match names.into_iter().next() {
        None => Ok(()),
        Some(found) => Err(EvaluateError::NotAnEvaluation {
            dir: path.to_owned(),
            found: found.into(),
        }),
    }
}

/// An identity without its grader.
fn without_grader(identity: &Value) -> Value {
    let mut identity = identity.clone();
    if let Value::Object(entries) = &mut identity {
        entries.shift_remove("grader");
    }
    identity
}

/// The file to which finished answers are appended.
pub(crate) struct PartialAnswers {
    path: PathBuf,
    file: File,
}

impl PartialAnswers {
    /// Appends one answer as a whole line.
    pub(crate) fn add(&mut self, answer: &Answered) -> Result<(), EvaluateError> {
        self.file
            .write_all(&line(answer))
            .map_err(io_error("write", &self.path))
    }
}

/// A line of JSON. What would steer a terminal is escaped in it: people look at the file.
fn line(answer: &Answered) -> Vec<u8> {
    let line = serde_json::to_string(answer).expect("texts and numbers serialize");
    format!("{}\n", visible_json(&line)).into_bytes()
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).expect("texts and numbers serialize");
    format!("{}\n", visible_json(&text)).into_bytes()
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EvaluateError {
    let path = path.to_owned();
    move |source| EvaluateError::Io { action, path, source }
}
