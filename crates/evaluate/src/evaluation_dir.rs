//! The folder of an evaluation: its lock, its identity, the answers so far, and whether the results are there.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use leadspan_files::{commit_bytes, open_own, read_unlinked};
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
    /// The lock, held until the evaluation ends.
    _lock: FolderLock,
}

impl EvaluationDir {
    /// Creates and locks the folder of an evaluation of `identity`. Calls `waiting` with another process that may be working in
    /// it, if the file system has no locks to tell.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::OtherEvaluation`] if it has the results of another evaluation, [`EvaluateError::Busy`] if another
    /// process has locked it, [`EvaluateError::NotAnEvaluation`] if it has other files.
    pub(crate) fn open(path: &Path, identity: &Value, waiting: &mut dyn FnMut(&Holder)) -> Result<Self, EvaluateError> {
        require_evaluation_or_nothing(path)?;
        fs::create_dir_all(path).map_err(io_error("create", path))?;
        let lock = match FolderLock::take(path, waiting)? {
            LockedFolder::Locked(lock) => lock,
            LockedFolder::Held(holder) => {
                let dir = path.to_owned();
                return Err(EvaluateError::Busy { dir, holder });
            }
        };
        let dir = Self {
            path: path.to_owned(),
            _lock: lock,
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

    /// The summary, if the evaluation is finished. Writes the page of wrong answers anew if it is missing.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::AnswersGone`] if the answers are not those that were summed up.
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
        if self.path.join(FAILURES).symlink_metadata().is_err() {
            let answers = results::answers(&text).ok_or_else(|| gone(format!("`{FAILURES}` is missing")))?;
            self.write(FAILURES, failures::page(&answers).as_bytes())?;
        }
        Ok(Some(summary))
    }

    /// The answers so far. A line that was cut short by a kill is dropped, with everything after it.
    pub(crate) fn answers_so_far(&self) -> Result<Vec<Answered>, EvaluateError> {
        let text = self.bytes(PARTIAL, MOST_ANSWERS)?.unwrap_or_default();
        let mut answers = Vec::new();
        let mut whole = 0;
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let Some(answer) = line
                .strip_suffix(b"\n")
                .and_then(|line| serde_json::from_slice(line).ok())
            else {
                break;
            };
            answers.push(answer);
            whole += line.len();
        }
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

fn line(answer: &Answered) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).expect("texts and numbers serialize");
    line.push(b'\n');
    line
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("texts and numbers serialize");
    bytes.push(b'\n');
    bytes
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EvaluateError {
    let path = path.to_owned();
    move |source| EvaluateError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;
    use serde_json::json;

    use super::*;
    use crate::{AnswerEnd, GraderIdentity};

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
        assert_eq!(dir.answers_so_far().unwrap(), []);
        let mut partial = dir.partial().unwrap();
        partial.add(&answer(1)).unwrap();
        partial.add(&answer(0)).unwrap();
        let whole = fs::read(path.join(PARTIAL)).unwrap();
        for cut in 1..whole.len() {
            fs::write(path.join(PARTIAL), &whole[..cut]).unwrap();
            let found = dir.answers_so_far().unwrap();
            let lines = String::from_utf8_lossy(&whole[..cut]).matches('\n').count();
            assert_eq!(found, [answer(1), answer(0)][..lines]);
            // The next answer gets a line of its own.
            dir.partial().unwrap().add(&answer(2)).unwrap();
            assert_eq!(dir.answers_so_far().unwrap().len(), lines + 1);
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
        assert!(dir.finished().unwrap().is_none() && dir.answers_so_far().unwrap().is_empty());
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
}
