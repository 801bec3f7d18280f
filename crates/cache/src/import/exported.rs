//! What `leadspan cache export --format dataset` wrote.

use std::{
    collections::HashSet,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _},
    datatypes::{DataType, Float32Type, UInt32Type},
};
use leadspan_files::hash_contents;
use leadspan_sequence::{SectionBounds, Split};

use super::{
    ImportError, Vocabulary,
    entries::{Outside, Positions},
    source::{Given, Source, Stated},
    table::{Column, Table},
};
use crate::{
    Layer, PreparedCorpus,
    export_list::{ExportList, ListedFile},
};

/// Rows that are read at a time.
const ROWS: usize = 1024;

const SAMPLE_COLUMNS: [&str; 4] = ["sample_id", "tokens", "prompt_end", "chain_of_thought_end"];
const POSITION_COLUMNS: [&str; 7] = [
    "sample_id",
    "position",
    "token_id",
    "token_ids",
    "logprobs",
    "tail_logprob",
    "target_logprob",
];

/// A folder of an export.
pub(super) struct Exported {
    dir: PathBuf,
    list: ExportList,
    samples: Table,
    positions: Table,
    /// How many samples are training samples, which come first.
    train: u64,
    vocabulary: Vocabulary,
    blake3: String,
}

impl Exported {
    /// Opens the export in `dir`, whose list is `list` and has the hash `blake3`. Compares every file with it.
    ///
    /// # Errors
    ///
    /// If a file is not the one that is listed, or the export has not all that is needed.
    pub(super) fn open(
        dir: &Path,
        (list, blake3): (ExportList, String),
        tokenizer: &str,
        vocabulary: Vocabulary,
    ) -> Result<Self, ImportError> {
        let refused = |problem: &str, hint| ImportError::Export {
            path: dir.to_owned(),
            problem: problem.to_owned(),
            hint,
        };
        if !list.complete {
            let problem = "it was made of an incomplete cache, so samples have no positions";
            return Err(refused(problem, "finish the cache, and export it again"));
        }
        if list.identity.tokenizer != tokenizer {
            return Err(ImportError::OtherTokenizer {
                path: dir.to_owned(),
                stored: list.identity.tokenizer.clone(),
                given: tokenizer.to_owned(),
            });
        }
        compare(dir, &list)?;
        let listed = |folder: &str| -> Vec<&ListedFile> {
            let of_split = |split: Split| {
                let files = list.files.iter();
                files.filter(move |file| file.folder == folder && file.split == split)
            };
            of_split(Split::Train).chain(of_split(Split::Validation)).collect()
        };
        let paths = |folder| -> Vec<PathBuf> { listed(folder).iter().map(|file| dir.join(&file.path)).collect() };
        let numbers = || DataType::UInt32;
        let samples = Table::open(
            &paths(ExportList::SAMPLES),
            vec![
                Column::new(SAMPLE_COLUMNS[0], DataType::Utf8),
                Column::list(SAMPLE_COLUMNS[1], numbers()),
                Column::new(SAMPLE_COLUMNS[2], numbers()),
                Column::new(SAMPLE_COLUMNS[3], numbers()),
            ],
        )?;
        let positions = Table::open(
            &paths(ExportList::POSITIONS),
            vec![
                Column::new(POSITION_COLUMNS[0], DataType::Utf8),
                Column::new(POSITION_COLUMNS[1], numbers()),
                Column::new(POSITION_COLUMNS[2], numbers()),
                Column::list(POSITION_COLUMNS[3], numbers()),
                Column::list(POSITION_COLUMNS[4], DataType::Float32),
                Column::new(POSITION_COLUMNS[5], DataType::Float32),
                Column::new(POSITION_COLUMNS[6], DataType::Float32),
            ],
        )?;
        list.identity
            .entries
            .check()
            .map_err(|error| refused(&error.to_string(), "export the cache again"))?;
        // The rows of each file say which samples are held out.
        let agree = |table: &Table, folder: &str, all: u64| {
            let rows = table.files().map(|rows| rows.end - rows.start);
            table.rows() == all && rows.eq(listed(folder).iter().map(|file| file.rows))
        };
        if !agree(&samples, ExportList::SAMPLES, list.samples) || !agree(&positions, ExportList::POSITIONS, list.rows) {
            return Err(refused(
                "its files have other numbers of rows than its list states",
                "export the cache again",
            ));
        }
        let train = list
            .files
            .iter()
            .filter(|file| file.folder == ExportList::SAMPLES && file.split == Split::Train);
        Ok(Self {
            dir: dir.to_owned(),
            train: train.map(|file| file.rows).sum(),
            list,
            samples,
            positions,
            vocabulary,
            blake3,
        })
    }
}

/// Compares the files of an export with its list.
fn compare(dir: &Path, list: &ExportList) -> Result<(), ImportError> {
    for file in &list.files {
        let path = dir.join(&file.path);
        let changed = |problem: String| ImportError::Changed {
            path: path.clone(),
            list: dir.join(ExportList::NAME),
            problem,
        };
        let mut hasher = blake3::Hasher::new();
        match hash_contents(&mut hasher, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(changed("it is missing".to_owned()));
            }
            hashed => hashed.map_err(ImportError::io("read", &path))?,
        }
        if hasher.finalize().to_hex().as_str() != file.blake3 {
            return Err(changed("its contents have another hash".to_owned()));
        }
    }
    Ok(())
}

impl Source for Exported {
    fn stated(&self) -> Stated {
        let ExportList { identity, coverage, .. } = &self.list;
        Stated {
            layout: "leadspan export",
            blake3: self.blake3.clone(),
            tail: "as exported",
            targets: "as exported",
            sections: identity.sections.clone(),
            top_k: identity.entries.top_k,
            coverage: *coverage,
            teacher: serde_json::to_value(&identity.teacher).ok(),
        }
    }

    fn splits(&self) -> Vec<Split> {
        let split = |index| {
            if index < self.train {
                Split::Train
            } else {
                Split::Validation
            }
        };
        (0..self.samples.rows()).map(split).collect()
    }

    fn samples(&self, each: &mut dyn FnMut(Given<'_>) -> Result<(), ImportError>) -> Result<(), ImportError> {
        let rows = 0..self.samples.rows();
        let mut known: HashSet<String> = HashSet::new();
        self.samples.read(rows, &SAMPLE_COLUMNS, ROWS, &mut |first, columns| {
            let (ids, tokens) = (columns[0].as_string::<i32>(), columns[1].as_list::<i32>());
            let [prompts, chains] = [&columns[2], &columns[3]].map(arrow::array::AsArray::as_primitive::<UInt32Type>);
            for at in 0..ids.len() {
                let row = first + at as u64;
                let wrong = |problem: String| self.samples.wrong_row(row, problem);
                let tokens = tokens.value(at);
                let tokens: &[u32] = tokens.as_primitive::<UInt32Type>().values();
                self.vocabulary.check(tokens).map_err(wrong)?;
                if !known.insert(ids.value(at).to_owned()) {
                    return Err(wrong(format!(
                        "the id `{}` is there twice",
                        ids.value(at).escape_debug()
                    )));
                }
                let bounds = SectionBounds::new(prompts.value(at), chains.value(at), tokens.len() as u32);
                each(Given {
                    id: ids.value(at),
                    split: if row < self.train {
                        Split::Train
                    } else {
                        Split::Validation
                    },
                    tokens,
                    bounds: bounds.map_err(|error| wrong(error.to_string()))?,
                })?;
            }
            Ok(true)
        })
    }

    fn spans(
        &self,
        corpus: &PreparedCorpus,
        samples: Range<usize>,
        each: &mut dyn FnMut(usize, Positions) -> Result<bool, ImportError>,
    ) -> Result<(), ImportError> {
        let layer = Layer::from(self.list.coverage);
        let count = |index: usize| layer.position_count(corpus.sample(index)) as u64;
        let start: u64 = (0..samples.start).map(count).sum();
        let rows = start..start + samples.clone().map(count).sum::<u64>();
        let expected: u64 = rows.end + (samples.end..corpus.len()).map(count).sum::<u64>();
        if expected != self.positions.rows() {
            let found = self.positions.rows();
            return Err(ImportError::Export {
                path: self.dir.clone(),
                problem: format!("it has {found} positions, but its samples have {expected}"),
                hint: "export the cache again",
            });
        }
        let mut going = true;
        let mut spans = Spans {
            corpus,
            layer: &layer,
            samples,
            most: self.list.identity.entries.top_k,
            current: Vec::new(),
            positions: Positions::default(),
        };
        going &= spans.begin(each)?;
        let vocabulary = self.vocabulary.given.unwrap_or(self.vocabulary.of_model);
        if going {
            self.positions
                .read(rows, &POSITION_COLUMNS, ROWS, &mut |first, columns| {
                    for at in 0..columns[0].len() {
                        spans
                            .add(columns, at, vocabulary)
                            .map_err(|problem| self.positions.wrong_row(first + at as u64, problem))?;
                        if spans.positions.distributions.len() == spans.current.len() {
                            spans.samples.start += 1;
                            going = each(spans.samples.start - 1, std::mem::take(&mut spans.positions))?
                                && spans.begin(each)?;
                            if !going {
                                return Ok(false);
                            }
                        }
                    }
                    Ok(true)
                })?;
        }
        Ok(())
    }
}

/// The samples that are still to be read.
struct Spans<'a> {
    corpus: &'a PreparedCorpus,
    layer: &'a Layer,
    /// From the current sample on.
    samples: Range<usize>,
    /// The most entries of a position.
    most: u32,
    /// The positions of the current sample, and those of them that were read.
    current: Vec<u32>,
    positions: Positions,
}

impl Spans<'_> {
    /// Goes to the next sample that has positions, and gives those without. Returns whether to go on.
    fn begin(
        &mut self,
        each: &mut dyn FnMut(usize, Positions) -> Result<bool, ImportError>,
    ) -> Result<bool, ImportError> {
        while !self.samples.is_empty() {
            self.current = self.layer.positions(self.corpus.sample(self.samples.start)).collect();
            if !self.current.is_empty() {
                return Ok(true);
            }
            self.samples.start += 1;
            if !each(self.samples.start - 1, Positions::default())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds row `at` of a batch, which must be the next position of the current sample.
    fn add(&mut self, columns: &[ArrayRef], at: usize, vocabulary: u32) -> Result<(), String> {
        let sample = self.corpus.sample(self.samples.start);
        let number = |column: usize| columns[column].as_primitive::<UInt32Type>().value(at);
        let float = |column: usize| columns[column].as_primitive::<Float32Type>().value(at);
        let position = self.current[self.positions.distributions.len()];
        let id = columns[0].as_string::<i32>().value(at);
        if (id, number(1)) != (sample.id, position) {
            let found = number(1);
            return Err(format!(
                "it is position {found} of sample `{}`, but position {position} of sample `{}` comes here",
                id.escape_debug(),
                sample.id.escape_debug()
            ));
        }
        let tokens = self
            .corpus
            .tokens(self.samples.start)
            .map_err(|error| error.to_string())?;
        let target = tokens[position as usize + 1];
        if number(2) != target {
            let found = number(2);
            return Err(format!(
                "its `token_id` is {found}, but the sample goes on with {target}"
            ));
        }
        let (ids, logprobs) = (
            columns[3].as_list::<i32>().value(at),
            columns[4].as_list::<i32>().value(at),
        );
        if ids.len() > self.most as usize {
            let (found, most) = (ids.len(), self.most);
            return Err(format!(
                "it has {found} entries, but the export has at most {most} at a position"
            ));
        }
        let outside = Outside::Stated {
            tail: float(5),
            target: float(6),
        };
        self.positions.push(
            ids.as_primitive::<UInt32Type>().values(),
            logprobs.as_primitive::<Float32Type>().values(),
            outside,
            target,
            vocabulary,
        )
    }
}
