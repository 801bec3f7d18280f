//! Which errors were expected, and how to mend them.

use std::io;

use arrow::error::ArrowError;
use leadspan_diagnosis::Diagnosis;
use leadspan_files::Refusal;

use super::CorpusError;
use crate::{DropReason, RowProblem};

/// How malformed rows are left out.
const SKIP: &str = "such rows out with `data.on_bad_row = \"skip\"`";

/// Whether a decoder does not know what it found, which is no damage then.
fn is_not_read(error: &ArrowError) -> bool {
    let text = error.to_string();
    matches!(error, ArrowError::NotYetImplemented(_)) || text.contains("NYI: ") || text.contains("encrypt")
}

impl Diagnosis for CorpusError {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => {
                Refusal::of(source).is_none()
                    && !matches!(
                        source.kind(),
                        io::ErrorKind::NotFound
                            | io::ErrorKind::PermissionDenied
                            | io::ErrorKind::IsADirectory
                            | io::ErrorKind::InvalidData
                            | io::ErrorKind::InvalidInput
                            | io::ErrorKind::UnexpectedEof
                            | io::ErrorKind::Other // what the zstd decoder reports of damaged frames
                    )
            }
            Self::TokenizerSettings { .. } => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::BadRow { problem: RowProblem::Template { .. }, .. } => Some(
                "change the conversation to what the model's chat template accepts, \
                 or leave such rows out with `data.on_bad_row = \"skip\"`"
                    .into(),
            ),
            Self::BadRow { problem: RowProblem::TwoAnswers { answer, .. }, .. } => Some(format!(
                "name another field, or one that no row has, as `data.columns.answer` instead of `{answer}`, or leave such \
                 rows out with `data.on_bad_row = \"skip\"`"
            )),
            Self::BadRow { problem: RowProblem::TwoReasonings { .. }, .. } => {
                Some("name the one that is meant with `sections.reasoning_field`".into())
            }
            Self::BadRow { problem: RowProblem::TwoConversations { first, second }, .. } => Some(format!(
                "if `{second}` is meant, set `data.format = \"open-thoughts\"`, which reads it; if `{first}` is, set \
                 `data.format = \"{first}\"`; or leave {SKIP}"
            )),
            Self::BadRow { problem: RowProblem::NotShown { .. }, .. } => Some(
                "give the model a chat template that writes it, remove it from the rows, or leave such rows out with \
                 `data.on_bad_row = \"skip\"`"
                    .into(),
            ),
            Self::BadRow { problem: RowProblem::RenderedAlready { .. }, .. } => Some(format!(
                "give the turns without control tokens, which the chat template writes, or leave {SKIP}"
            )),
            Self::BadRow { problem: RowProblem::ToolUseTemplate, .. } => Some(
                "make that template the model's only one, as `chat_template.jinja`, or leave such rows out with \
                 `data.on_bad_row = \"skip\"`"
                    .into(),
            ),
            Self::UnsuitedTemplate { problem: RowProblem::ToolUseTemplate } => {
                Some("make that template the model's only one, as `chat_template.jinja`".into())
            }
            Self::UnsuitedTemplate { .. } => {
                Some("give the model a chat template that writes it, or remove it from the rows".into())
            }
            Self::BadRow { problem, .. } => Some(match problem.layout_hint("data") {
                Some(layout) => format!("{layout}; or correct the row, or leave {SKIP}"),
                None => format!("correct the row, or leave {SKIP}"),
            }),
            Self::NoMatch { pattern, .. } if pattern.contains('[') => Some(
                "paths in `data.files` are relative to the pipeline file; `[x]` stands for one of the characters between the \
                 brackets, and `[[]` for a bracket itself"
                    .into(),
            ),
            Self::MissingFile { .. } | Self::NoMatch { .. } => {
                Some("paths in `data.files` are relative to the pipeline file".into())
            }
            Self::LongRow { .. } => Some(
                "write each row on a line of its own, raise `data.max_row_mib` (a value inside a list or object counts for 16 \
                 bytes at least), or leave such rows out with `data.on_bad_row = \"skip\"`"
                    .into(),
            ),
            Self::LargePage { .. } => Some(
                "rows of one page are read or refused together: raise `data.max_row_mib` to the mebibytes of the page, write the \
                 table with smaller pages or as JSON lines, or leave such rows out with `data.on_bad_row = \"skip\"`"
                    .into(),
            ),
            Self::UnsupportedFile { .. } => Some(
                "give JSON lines (plain, `.gz` or `.zst`), Parquet (plain, or with zstd, snappy, gzip or lz4) or an Arrow \
                 stream that is not compressed, and name the files to read with `data.files` if this one is not among them"
                    .into(),
            ),
            Self::GitLfsPointer { .. } => Some("run `git lfs pull` in the clone, or download the file".into()),
            Self::SeveralConfigurations { .. } | Self::NoSuchConfiguration { .. } => {
                Some("choose one with `data.config`, or name files with `data.files`".into())
            }
            Self::CopiesDoNotFit { .. } => {
                Some("hold out more samples, or remove rows that are there more than once".into())
            }
            Self::DamagedTable { source, .. } if is_not_read(source) => Some(
                "the table uses a part of its format that is not read here: write it again, for example with pyarrow's defaults"
                    .into(),
            ),
            Self::DamagedTable { source, .. } if source.to_string().contains("overflow decoding") => Some(
                "a column of the next rows has more than 2 GiB: write the table as JSON lines, of which rows that are too long \
                 can be left out with `data.on_bad_row = \"skip\"`"
                    .into(),
            ),
            Self::DamagedTable { .. } => Some("copy or download the file again".into()),
            Self::NotAnArrowStream { .. } => Some(
                "`save_to_disk` of Hugging Face's datasets writes such streams; copy the file again, or give Parquet"
                    .into(),
            ),
            Self::UnreadableColumn { .. } => {
                Some("columns must hold text, numbers, booleans, or lists and structures of these; decimals stand alone".into())
            }
            Self::NotAFile { path } => Some(format!(
                "name the files inside it (`{}/*.jsonl`), or give a data set's folder as `data.path`",
                path.display()
            )),
            Self::NotARegularFile { .. } => Some("give a file on disk: data is read more than once".into()),
            Self::MissingFolder { .. } => Some("`data.path` is relative to the pipeline file".into()),
            Self::NotAFolder { .. } => Some("name files with `data.files`".into()),
            Self::NoDataInFolder { .. }
            | Self::MixedFolder { .. }
            | Self::UnreadableHead { .. }
            | Self::NoFilesOfConfiguration { .. } => {
                Some("name the files to read with `data.files` instead of `data.path`".into())
            }
            Self::MissingPiece { .. } => {
                Some("download the rest of the data set, or name the files that you mean, without a pattern, in `data.files`".into())
            }
            Self::SameRows { .. } => {
                Some("remove the one that is out of date, or name the files that you mean, without a pattern, in `data.files`".into())
            }
            Self::TemplateArgument { .. } => {
                Some("correct the name or value, or remove it: without an effect, it would only tell caches apart".into())
            }
            Self::NoSuchSplit { .. } => Some("choose one with `data.split`, or name files with `data.files`".into()),
            Self::UnreadableFolderState { .. } => Some("save the data set again, or name its files with `data.files`".into()),
            Self::DuplicateId { .. } => Some("give every row its own `id`, or leave the field out".into()),
            Self::WithoutMarkers { .. } => Some(
                "set `sections.thinking_start` and `sections.thinking_end` to the markers of the data, or \
                 `sections.without_markers` to `skip` or `answer`"
                    .into(),
            ),
            Self::ValidationTooLarge { samples, .. } => {
                Some(format!("hold out fewer than {samples} samples, or a share such as `data.validation = 0.05`"))
            }
            Self::ChangedSamples { .. } | Self::RemovedSamples { .. } => Some(
                "restore the row and add new rows only at the end of a file or in a file of their own (a row without \
                 `id` is known by its file and line), or point `cache.dir` at a new folder"
                    .into(),
            ),
            Self::NoTrainingSamples { report } => match report.main_loss()? {
                DropReason::TooLong => Some("raise `data.max_tokens`".into()),
                DropReason::WithoutMarkers => Some(
                    "set `sections.thinking_start` and `sections.thinking_end` to the markers of the data, or keep such \
                     samples with `sections.without_markers = \"answer\"`"
                        .into(),
                ),
                DropReason::ThinkingRemoved => Some(
                    "the model's chat template cuts the thinking out of the last assistant turn; give the model a \
                     template that keeps it"
                        .into(),
                ),
                DropReason::FilteredOut => Some("compare the fields and values of `data.where` with those of the rows".into()),
                DropReason::ContentNotFound => Some(
                    "the model's chat template does not write what the assistant says as it is; give the model a template \
                     that does"
                        .into(),
                ),
                DropReason::TooShort
                | DropReason::EmptyContent
                | DropReason::NotDrawn
                | DropReason::CopyOfHeldOut => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use parquet::errors::ParquetError;

    use super::*;

    #[test]
    fn a_table_is_not_called_damaged_because_of_a_feature_that_is_not_read() {
        let hint = |source| {
            let (path, row) = (PathBuf::from("a.parquet"), 0);
            CorpusError::DamagedTable { path, row, source }.hint().unwrap()
        };
        for error in [
            ArrowError::NotYetImplemented("a type".into()),
            ParquetError::NYI("an encoding".into()).into(),
            ParquetError::General("Parquet file has an encrypted footer".into()).into(),
        ] {
            assert!(hint(error).contains("not read here"));
        }
        let overflow = ParquetError::General("index overflow decoding byte array".into());
        assert!(hint(overflow.into()).contains("more than 2 GiB"));
        assert!(hint(ParquetError::EOF("a page".into()).into()).contains("download the file again"));
    }

    #[test]
    fn a_row_of_another_layout_is_told_which_format_reads_it() {
        let hint = |row: &[&str]| {
            let row = row.iter().map(ToString::to_string).collect();
            let (file, line, field) = ("a.jsonl".into(), 1, "messages".to_owned());
            let problem = RowProblem::NoSuchField { field, row };
            CorpusError::BadRow { file, line, problem }.hint().unwrap()
        };
        let conversations = hint(&["id", "conversations"]);
        assert!(
            conversations
                .contains("the row has `id` and `conversations`; set `data.format = \"open-thoughts\"`, which")
        );
        assert!(hint(&["q", "a"]).contains("name the layout of the rows with `data.format`"));
    }

    #[test]
    fn a_row_of_two_conversations_is_told_how_to_choose() {
        let problem = RowProblem::TwoConversations {
            first: "messages".into(),
            second: "conversations".into(),
        };
        let (file, line) = ("a.jsonl".into(), 1);
        let hint = CorpusError::BadRow { file, line, problem }.hint().unwrap();
        assert_eq!(
            hint,
            "if `conversations` is meant, set `data.format = \"open-thoughts\"`, which reads it; if `messages` is, set `data.format = \
             \"messages\"`; or leave such rows out with `data.on_bad_row = \"skip\"`"
        );
    }
}
