//! What can go wrong with an evaluation.

use std::{io, path::PathBuf};

use leadspan_cache::CacheError;
use leadspan_corpus::{CorpusError, RowProblem};
use leadspan_diagnosis::Diagnosis;
use leadspan_files::FileError;
use leadspan_model::ModelError;
use leadspan_train::TrainError;
use leadspan_workers::Holder;

use crate::GraderFault;

/// Why an evaluation could not be done.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A key of the configuration holds a value that cannot work.
    #[error("`{key}` cannot be used: {problem}")]
    InvalidSetting {
        /// The key, with its table.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// `evaluate.answer_pattern` is not a valid regular expression.
    #[error("`evaluate.answer_pattern` is not a valid regular expression: `{pattern}`")]
    InvalidPattern {
        /// The pattern as it was written.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: regex::Error,
    },
    /// The model has no chat template.
    #[error("`{}` has no chat template, so it cannot be asked problems", model.display())]
    NoChatTemplate {
        /// The model.
        model: PathBuf,
    },
    /// The files hold no problem.
    #[error("the files of `[evaluate]` contain no problem")]
    NoProblems,
    /// The right answer to a problem is empty.
    #[error("the right answer to problem `{id}` is empty")]
    EmptyAnswer {
        /// The problem.
        id: String,
    },
    /// The chat template cannot render a problem.
    #[error("problem `{id}` cannot be rendered")]
    Prompt {
        /// The problem.
        id: String,
        /// What the template engine reports.
        #[source]
        source: Box<CorpusError>,
    },
    /// The tokenizer fails on a problem.
    #[error("the tokenizer fails on problem `{id}`")]
    Tokenizer {
        /// The problem.
        id: String,
        /// What the tokenizer reports.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process evaluates into the same folder.
    #[error("{} is working in `{}`", holder.as_ref().map_or_else(|| "another process".to_owned(), ToString::to_string), dir.display())]
    Busy {
        /// The folder.
        dir: PathBuf,
        /// The process, which is known on file systems without locks.
        holder: Option<Holder>,
    },
    /// The folder holds the results of another evaluation.
    #[error("`{}` holds an evaluation with another `{key}`: `{stored}`, not `{asked}`", dir.display())]
    OtherEvaluation {
        /// The folder.
        dir: PathBuf,
        /// The setting that differs.
        key: String,
        /// Its value in the folder.
        stored: String,
        /// Its value now.
        asked: String,
    },
    /// The folder has files, but no evaluation.
    #[error("`{}` has `{}`, but is not the folder of an evaluation", dir.display(), found.display())]
    NotAnEvaluation {
        /// The folder.
        dir: PathBuf,
        /// The name of the first file in it.
        found: PathBuf,
    },
    /// The evaluation is finished, but its answers are gone or changed.
    #[error("the evaluation in `{}` is finished, but {problem}", dir.display())]
    AnswersGone {
        /// The folder.
        dir: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// A line of the answers so far is no answer to one of the problems.
    #[error("line {line} of `{}` {problem}", path.display())]
    BadAnswer {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The program that `evaluate.grader` names cannot be started.
    #[error("could not start the grader `{program}`")]
    GraderStart {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The grader gave no verdict on an answer.
    #[error("the grader gave no verdict on the answer to problem `{problem}`")]
    Grader {
        /// The problem.
        problem: String,
        /// What it did instead.
        #[source]
        fault: GraderFault,
    },
    /// The grader failed when nothing was asked any more.
    #[error("the grader failed after its last verdict")]
    GraderEnd {
        /// What it did.
        #[source]
        fault: GraderFault,
    },
    /// A file of results cannot be read or written.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The problems cannot be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The model cannot be read or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A result or the cache cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The held-out losses cannot be measured.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl From<FileError> for EvaluateError {
    fn from(error: FileError) -> Self {
        Self::Cache(error.into())
    }
}

impl Diagnosis for EvaluateError {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Corpus(error) => error.is_unexpected(),
            Self::Prompt { source, .. } => source.is_unexpected(),
            Self::Model(error) => error.is_unexpected(),
            Self::Cache(error) => error.is_unexpected(),
            Self::Train(error) => error.is_unexpected(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoChatTemplate { .. } => {
                Some("put a `chat_template.jinja` into the model's directory, or use a chat model".into())
            }
            Self::NoProblems => Some("check `evaluate.where` and the files".into()),
            Self::EmptyAnswer { .. } => Some(
                "correct `evaluate.answer` or `evaluate.answer_pattern`: what they find there must not be empty".into(),
            ),
            Self::Busy { .. } => Some("wait for it, or give this evaluation another `evaluate.dir`".into()),
            Self::OtherEvaluation { dir, .. } => Some(format!(
                "give this evaluation a folder of its own, `--set evaluate.dir=DIR`, or remove `{}`",
                dir.display()
            )),
            Self::NotAnEvaluation { .. } => {
                Some("give this evaluation a new or an empty folder, `--set evaluate.dir=DIR`".into())
            }
            Self::AnswersGone { dir, .. } => Some(format!(
                "restore it from a copy, or remove `{}` and run the same command again to ask all problems anew",
                dir.join("summary.json").display()
            )),
            Self::BadAnswer { .. } => Some("remove that line and run the same command again: its problem is asked anew".into()),
            Self::GraderStart { .. } => Some(
                "`evaluate.grader` is a program of the `PATH`, or a file relative to the pipeline file such as `./grade`, and its \
                 arguments"
                    .into(),
            ),
            Self::Grader { .. } | Self::GraderEnd { .. } => Some(
                "the answers so far are kept: correct the grader or `evaluate.grader_seconds`, and run the same command again"
                    .into(),
            ),
            Self::Corpus(error) => hint_about_problems(error),
            Self::Prompt { source, .. } => hint_about_problems(source),
            Self::Model(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Train(error) => error.hint(),
            Self::Io { source, path, .. } => leadspan_files::hint(source, path),
            _ => None,
        }
    }
}

/// The hint for problems that cannot be read. The corpus crate names keys of `[data]`, but files of problems are named in
/// `[evaluate]`, which has no `on_bad_row`.
fn hint_about_problems(error: &CorpusError) -> Option<String> {
    match error {
        CorpusError::BadRow {
            problem: RowProblem::TwoReasonings { .. },
            ..
        } => error.hint(),
        CorpusError::BadRow { problem, .. } if problem.precedes_filter() => {
            Some("correct the row, or remove it from the file: `evaluate.where` only sees rows that can be read".into())
        }
        CorpusError::BadRow { problem, .. } => Some(match problem.layout_hint("evaluate") {
            Some(layout) => format!("{layout}; or correct the row, or leave it out with `evaluate.where`"),
            None => "correct the row, or leave it out with `evaluate.where`".into(),
        }),
        CorpusError::NoMatch { .. } => error.hint().map(|hint| hint.replace("`data.files`", "`evaluate.files`")),
        CorpusError::MissingFile { .. } => {
            Some("paths in `evaluate.files` are relative to the pipeline file".into())
        }
        CorpusError::NotAFile { path } => Some(format!(
            "name the files inside it (`{}/*.jsonl`), or give a data set's folder as `evaluate.path`",
            path.display()
        )),
        CorpusError::MissingFolder { .. } => Some("`evaluate.path` is relative to the pipeline file".into()),
        CorpusError::NotAFolder { .. } => Some("name files with `evaluate.files`".into()),
        CorpusError::NoDataInFolder { .. }
        | CorpusError::MixedFolder { .. }
        | CorpusError::UnreadableHead { .. }
        | CorpusError::NoFilesOfConfiguration { .. } => {
            Some("name the files to read with `evaluate.files` instead of `evaluate.path`".into())
        }
        CorpusError::NoSuchSplit { .. } => {
            Some("choose one with `evaluate.split`, or name files with `evaluate.files`".into())
        }
        CorpusError::SeveralConfigurations { .. } | CorpusError::NoSuchConfiguration { .. } => {
            Some("choose one with `evaluate.config`, or name files with `evaluate.files`".into())
        }
        CorpusError::LongRow { .. } => {
            Some(
                "write each problem on a line of its own, or raise `evaluate.max_row_mib` (a value inside a list or object counts \
                 for 16 bytes at least)"
                    .into(),
            )
        }
        CorpusError::LargePage { .. } => Some(
            "rows of one page are read or refused together: raise `evaluate.max_row_mib` to the mebibytes of the page, or write \
             the table with smaller pages or as JSON lines"
                .into(),
        ),
        CorpusError::UnsupportedFile { .. } | CorpusError::MissingPiece { .. } | CorpusError::SameRows { .. } => {
            Some(error.hint()?.replace("`data.files`", "`evaluate.files`"))
        }
        CorpusError::UnreadableFolderState { .. } => {
            Some("save the data set again, or name its files with `evaluate.files`".into())
        }
        other => other.hint(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_about_problems_name_keys_of_the_evaluate_table() {
        let path = PathBuf::from("problems");
        let errors = [
            CorpusError::MissingFile { path: path.clone() },
            CorpusError::NoMatch {
                pattern: "*.jsonl".into(),
                base: PathBuf::new(),
            },
            CorpusError::NotAFile { path: path.clone() },
            CorpusError::MissingFolder { path: path.clone() },
            CorpusError::NotAFolder { path: path.clone() },
            CorpusError::NoDataInFolder { path: path.clone() },
            CorpusError::MixedFolder {
                first: path.clone(),
                second: path.clone(),
            },
            CorpusError::NoSuchSplit {
                path: path.clone(),
                split: "test".into(),
                known: vec!["train".into()],
            },
            CorpusError::SeveralConfigurations {
                path: path.clone(),
                known: vec!["main".into()],
            },
            CorpusError::NoSuchConfiguration {
                path: path.clone(),
                config: "main".into(),
                known: vec!["other".into()],
            },
            CorpusError::UnreadableHead {
                path: path.clone(),
                problem: "line 2".into(),
            },
            CorpusError::NoFilesOfConfiguration {
                path: path.clone(),
                pattern: "*.parquet".into(),
            },
            CorpusError::BadRow {
                file: "a.jsonl".into(),
                line: 1,
                problem: RowProblem::TooLong { most_bytes: 1 },
            },
            CorpusError::BadRow {
                file: "a.jsonl".into(),
                line: 1,
                problem: RowProblem::TwoAnswers {
                    response: "r".into(),
                    answer: "a".into(),
                    marker: "</think>".into(),
                },
            },
            CorpusError::MissingPiece { path: path.clone() },
            CorpusError::UnsupportedFile {
                path: path.clone(),
                what: "a ZIP archive".into(),
            },
            CorpusError::UnreadableFolderState {
                path,
                source: serde_json::from_str::<()>("").unwrap_err(),
            },
        ];
        for error in errors {
            let hint = EvaluateError::from(error).hint().unwrap();
            assert!(hint.contains("evaluate.") || hint.contains("/*.jsonl"), "{hint}");
            assert!(!hint.contains("data."), "{hint}");
        }
        let long = CorpusError::LongRow {
            path: PathBuf::from("a.jsonl"),
            row: 1,
            most_bytes: 1,
        };
        let page = CorpusError::LargePage {
            path: PathBuf::from("a.parquet"),
            first: 1,
            last: 2,
            place: "column 0 of row group 0".into(),
            bytes: 2,
            most_bytes: 1,
        };
        for error in [long, page] {
            let hint = EvaluateError::from(error).hint().unwrap();
            assert!(
                !hint.contains("data.") && hint.contains("`evaluate.max_row_mib`"),
                "{hint}"
            );
        }
        // No condition can leave out a row that is not read.
        let bad = |problem| CorpusError::BadRow {
            file: "a.jsonl".into(),
            line: 1,
            problem,
        };
        let hint = |problem| EvaluateError::from(bad(problem)).hint().unwrap();
        for problem in [
            RowProblem::InvalidUtf8 { byte: 1 },
            RowProblem::InvalidJson {
                reason: "r".into(),
                column: 1,
            },
            RowProblem::NotAnObject { found: "a list" },
            RowProblem::Infinite { field: "f".into() },
        ] {
            assert!(!hint(problem).contains("leave it out"));
        }
        assert!(hint(RowProblem::MissingField { field: "f".into() }).contains("leave it out with `evaluate.where`"));
    }
}
