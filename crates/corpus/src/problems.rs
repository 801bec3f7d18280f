//! Rows as problems to put to a model, in the order of the files. Nothing is tokenized here.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
};

use crate::{
    BadRow, CorpusError, DataSettings, Message, RowProblem, RowRules, SectionSettings,
    bad_row::RowLimit,
    conversation::{Conversation, Given},
    files::{input_files, name_of},
    rows::{RawRow, RowReader},
    sample_maker::{beside_fields, id_of},
};

/// A question to a model, and the answer that it is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The row's own id, or `FILE:LINE`.
    pub id: String,
    /// The turns before the model's own.
    pub messages: Vec<Message>,
    /// What the chat template is given beside the turns.
    pub given: Given,
    /// The text that contains the right answer.
    pub reference: String,
}

/// Reads the rows of `data`, relative to `base`, as problems. The right answer is in the field `answer` if one is
/// named, else in the answer field of the `columns` layout, else in the assistant's last turn.
///
/// The settings in `data` about tokens, splits and malformed rows are ignored: the first malformed row is an error.
///
/// # Errors
///
/// Files that cannot be found or read, a row without a question or answer, and an id that occurs twice.
pub fn problems(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    answer: Option<&str>,
) -> Result<Vec<Problem>, CorpusError> {
    let files = input_files(base, data)?;
    let names: Vec<String> = files.iter().map(|path| name_of(base, path)).collect();
    let fields = data
        .fields(RowRules::CURRENT)
        .into_iter()
        .chain(answer.map(str::to_owned))
        .collect();
    let limit = RowLimit {
        on_bad_row: BadRow::Stop,
        ..data.row_limit()
    };
    let mut rows = RowReader::new(files, fields, limit);
    let mut places: HashMap<String, String> = HashMap::new();
    let mut problems = Vec::new();
    while let Some(row) = rows.next_row()? {
        let place = format!("{}:{}", names[row.file], row.number);
        let problem = problem(&row, &place, (data, sections, answer)).map_err(|problem| CorpusError::BadRow {
            file: names[row.file].clone(),
            line: row.number,
            problem: beside_fields(problem, &row.content, RowRules::CURRENT),
        })?;
        let Some(problem) = problem else { continue };
        match places.entry(problem.id.clone()) {
            Entry::Vacant(entry) => drop(entry.insert(place)),
            Entry::Occupied(entry) => {
                return Err(CorpusError::DuplicateId {
                    id: problem.id,
                    first: entry.get().clone(),
                    second: place,
                });
            }
        }
        problems.push(problem);
    }
    Ok(problems)
}

/// The problem in a row; `None` if `data.where` leaves the row out.
fn problem(
    row: &RawRow,
    place: &str,
    (data, sections, answer): (&DataSettings, &SectionSettings, Option<&str>),
) -> Result<Option<Problem>, RowProblem> {
    let mut fields = row.content.fields(RowRules::CURRENT)?;
    if !data.filter.accepts(&fields) {
        return Ok(None);
    }
    let id = id_of(&mut fields)?.unwrap_or_else(|| place.to_owned());
    let options = data.layout_options(sections, RowRules::CURRENT);
    let (Conversation { messages, given }, reference) = data.format().problem(fields, options, answer)?;
    Ok(Some(Problem {
        id,
        messages,
        given,
        reference,
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn rows_become_problems_in_their_order_and_an_id_occurs_once() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str, more: &str| {
            fs::write(dir.path().join("test.jsonl"), text).unwrap();
            let data = format!(r#"{{"files": ["test.jsonl"], "format": "columns"{more}}}"#);
            let data: DataSettings = serde_json::from_str(&data).unwrap();
            problems(dir.path(), &data, &SectionSettings::default(), None).map_err(|error| error.to_string())
        };
        let text = "{\"question\": \"q\", \"answer\": 1, \"id\": \"a\", \"level\": 1}\n\n{\"question\": \"r\", \"answer\": \"2\"}\n";
        let ids = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.id).collect::<Vec<_>>();
        assert_eq!(ids(read(text, "").unwrap()), ["a", "test.jsonl:3"]);
        assert_eq!(ids(read(text, r#", "where": {"level": 1}"#).unwrap()), ["a"]);
        let twice = text.replace("\"question\": \"r\"", "\"question\": \"r\", \"id\": \"a\"");
        assert_eq!(
            read(&twice, "").unwrap_err(),
            "the id `a` is at `test.jsonl:1` and again at `test.jsonl:3`"
        );
        assert_eq!(read("{\"question\": 1}", "").unwrap_err(), "bad row at `test.jsonl:1`");
        // Ids that are the same number as floats of 64 bits.
        let ids_of = |ids: [&str; 2]| {
            let row = |id: &str| format!("{{\"question\": \"q\", \"answer\": 1, \"id\": {id}}}\n");
            ids.map(row).concat()
        };
        let large = ["123456789012345678901", "123456789012345678902"];
        assert_eq!(ids(read(&ids_of(large), "").unwrap()), large);
    }
}
