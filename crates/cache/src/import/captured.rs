//! What DistillKit captured: rows of tokens with the most probable tokens at each position, packed or plain.

use std::{
    collections::HashSet,
    ops::Range,
    path::{Path, PathBuf},
};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _},
    datatypes::{ArrowPrimitiveType, DataType, Float16Type, Float32Type, UInt8Type, UInt32Type},
};
use leadspan_distribution::EntrySettings;
use leadspan_files::{hash_contents, read_regular};
use leadspan_sequence::{SectionBounds, Split};

use super::{
    ImportError, Vocabulary,
    entries::{Outside, Positions},
    source::{Given, Source, Stated},
    table::{Column, Table, column_names, in_words},
};
use crate::{
    Coverage, PreparedCorpus,
    distillkit::{Decoder, Quantization, SETTINGS, unpack},
};

/// A number of 16 bits with five bits of exponent.
type Half = <Float16Type as ArrowPrimitiveType>::Native;

const TOKENS: &str = "input_ids";
const PACKED: [&str; 2] = ["compressed_logprobs", "bytepacked_indices"];
const PLAIN: [&str; 2] = ["token_ids", "top_values"];
const OLDER: &str = "packed_indices";

/// The most bytes of a file of settings.
const MOST_BYTES: u64 = 1 << 20;
/// Rows whose tokens are read at a time, and rows whose distributions are.
const TOKEN_ROWS: usize = 64;
const ROWS: usize = 2;
/// By how much the probabilities of plain entries may exceed one: those of 16 bits, and others.
const EXCESS_OF_16_BITS: f64 = 0.1;
const EXCESS: f64 = 1e-3;

/// Files of a capture.
pub(super) struct Captured {
    table: Table,
    /// For each file the first part of its samples' ids, its split, and its rows.
    files: Vec<(String, Split, Range<u64>)>,
    /// `None` if entries are not packed.
    decoder: Option<Decoder>,
    top_k: u32,
    vocabulary: Vocabulary,
    blake3: String,
}

impl Captured {
    /// Opens the files. Those whose names begin with `validation` come last.
    ///
    /// # Errors
    ///
    /// If the columns are not those of a capture, or the settings of packed ones are missing or wrong.
    pub(super) fn open(
        mut paths: Vec<PathBuf>,
        settings: Option<&Path>,
        vocabulary: Vocabulary,
    ) -> Result<Self, ImportError> {
        paths.sort_by_key(|path| split_of(path));
        let first = paths.first().cloned().unwrap_or_default();
        let names = column_names(&first)?;
        let has = |wanted: &[&str]| wanted.iter().all(|wanted| names.iter().any(|name| name == wanted));
        let tokens = Column::list(TOKENS, DataType::UInt32);
        let mut hasher = blake3::Hasher::new();
        let (columns, decoder) = if has(&PACKED) {
            let (decoder, text) = read_settings(&first, settings)?;
            hasher.update(text.as_bytes());
            (PACKED.map(|name| Column::nested(name, DataType::UInt8)), Some(decoder))
        } else if has(&PLAIN) {
            if let Some(settings) = settings {
                return Err(ImportError::unused(settings, &first));
            }
            let [ids, values] = PLAIN;
            let columns = [
                Column::nested(ids, DataType::UInt32),
                Column::nested(values, DataType::Float32),
            ];
            (columns, None)
        } else {
            let wanted = if has(&[OLDER]) {
                "DistillKit's older layout with 64-bit words is not read"
            } else {
                "those of no known layout are among them"
            };
            return Err(ImportError::Columns {
                path: first,
                found: in_words(names.iter()),
                wanted: wanted.to_owned(),
            });
        };
        let [logprobs, ids] = columns;
        let table = Table::open(&paths, vec![tokens, logprobs, ids])?;
        for path in &paths {
            hasher.update(split_of(path).as_str().as_bytes());
            hash_contents(&mut hasher, path).map_err(ImportError::io("read", path))?;
        }
        let mut captured = Self {
            files: names_of(&paths)
                .into_iter()
                .zip(table.files())
                .map(|((name, split), rows)| (name, split, rows))
                .collect(),
            top_k: decoder.as_ref().map_or(0, |decoder| decoder.settings().k as u32),
            table,
            decoder,
            vocabulary,
            blake3: hasher.finalize().to_hex().to_string(),
        };
        if captured.decoder.is_none() {
            captured.top_k = captured.most_entries()?;
        }
        // Packed entries are fewer.
        if captured.top_k > EntrySettings::MAX_TOP_K {
            let (found, most) = (captured.top_k, EntrySettings::MAX_TOP_K);
            let problem = format!("a position has {found} entries, but at most {most} are stored");
            return Err(captured.table.wrong_row(0, problem));
        }
        Ok(captured)
    }

    /// The number of entries of the first position, which all positions of plain rows have.
    fn most_entries(&self) -> Result<u32, ImportError> {
        let mut most = 0;
        self.table
            .read(0..self.table.rows(), &[PLAIN[0]], 1, &mut |_, columns| {
                let positions = columns[0].as_list::<i32>().value(0);
                let positions = positions.as_list::<i32>();
                most = if positions.is_empty() {
                    0
                } else {
                    positions.value_length(0) as u32
                };
                Ok(most == 0)
            })?;
        Ok(most.max(1))
    }

    /// The positions of the sample in a row.
    fn positions(&self, row: u64, lists: [&ArrayRef; 2], tokens: &[u32]) -> Result<Positions, ImportError> {
        let wrong = |problem: String| self.table.wrong_row(row, problem);
        let [first, second] = lists.map(arrow::array::AsArray::as_list::<i32>);
        let expected = tokens.len() - 1;
        for (name, list) in self.names().into_iter().zip([first, second]) {
            if list.len() != expected {
                let (tokens, found) = (tokens.len(), list.len());
                return Err(wrong(format!(
                    "`{name}` has {found} positions, but {tokens} tokens have {expected}: one for each but the last"
                )));
            }
        }
        let mut positions = Positions::default();
        let (mut ids, mut logprobs) = (Vec::new(), Vec::new());
        for (at, &target) in tokens[1..].iter().enumerate() {
            let at_position = |problem: String| wrong(format!("position {at}: {problem}"));
            let (one, other) = (first.value(at), second.value(at));
            let excess = if let Some(decoder) = &self.decoder {
                let (values, packed) = (one.as_primitive::<UInt8Type>(), other.as_primitive::<UInt8Type>());
                unpacked(decoder, values.values(), packed.values(), &mut ids, &mut logprobs).map_err(at_position)?;
                decoder.settings().excess()
            } else {
                ids.clear();
                ids.extend_from_slice(one.as_primitive::<UInt32Type>().values());
                logprobs.clear();
                logprobs.extend_from_slice(other.as_primitive::<Float32Type>().values());
                plain_excess(&logprobs)
            };
            if ids.len() > self.top_k as usize {
                let (found, first) = (ids.len(), self.top_k);
                return Err(at_position(format!(
                    "it has {found} entries, but the first position has {first}"
                )));
            }
            let outside = Outside::Unknown { excess };
            let vocabulary = self.entry_vocabulary();
            positions
                .push(&ids, &logprobs, outside, target, vocabulary)
                .map_err(at_position)?;
        }
        Ok(positions)
    }

    /// The tokens that entries may have. The settings know a teacher's vocabulary better than its tokenizer does.
    fn entry_vocabulary(&self) -> u32 {
        let of_settings = self.decoder.as_ref().map(|decoder| decoder.settings().d);
        self.vocabulary
            .given
            .or(of_settings)
            .unwrap_or(self.vocabulary.of_tokenizer)
    }

    fn names(&self) -> [&'static str; 2] {
        if self.decoder.is_some() { PACKED } else { PLAIN }
    }
}

impl Source for Captured {
    fn stated(&self) -> Stated {
        Stated {
            layout: "distillkit",
            blake3: self.blake3.clone(),
            tail: "what the entries leave of one",
            targets: "bounds where they are not among the entries",
            sections: "none: every token counts as answer".into(),
            top_k: self.top_k,
            coverage: Coverage::whole_answers(),
            teacher: None,
        }
    }

    fn splits(&self) -> Vec<Split> {
        let files = self.files.iter();
        let splits = files.flat_map(|(_, split, rows)| std::iter::repeat_n(*split, (rows.end - rows.start) as usize));
        splits.collect()
    }

    fn samples(&self, each: &mut dyn FnMut(Given<'_>) -> Result<(), ImportError>) -> Result<(), ImportError> {
        let mut files = self.files.iter().filter(|(_, _, rows)| !rows.is_empty()).peekable();
        self.table
            .read(0..self.table.rows(), &[TOKENS], TOKEN_ROWS, &mut |first, columns| {
                let lists = columns[0].as_list::<i32>();
                for at in 0..lists.len() {
                    let row = first + at as u64;
                    let tokens = lists.value(at);
                    let tokens: &[u32] = tokens.as_primitive::<UInt32Type>().values();
                    while files.next_if(|(_, _, rows)| rows.end <= row).is_some() {}
                    let Some((name, split, rows)) = files.peek() else {
                        return Ok(false);
                    };
                    self.vocabulary
                        .check(tokens)
                        .map_err(|problem| self.table.wrong_row(row, problem))?;
                    let bounds = SectionBounds::new(0, 0, tokens.len() as u32)
                        .map_err(|error| self.table.wrong_row(row, error.to_string()))?;
                    each(Given {
                        id: &format!("{name}:{}", row - rows.start + 1),
                        split: *split,
                        tokens,
                        bounds,
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
        let rows = samples.start as u64..samples.end as u64;
        self.table.read(rows, &self.names(), ROWS, &mut |first, columns| {
            let [one, other] = [&columns[0], &columns[1]].map(arrow::array::AsArray::as_list::<i32>);
            for at in 0..one.len() {
                let index = first as usize + at;
                let tokens = corpus.tokens(index)?;
                let lists = [&one.value(at), &other.value(at)];
                if !each(index, self.positions(index as u64, lists, tokens)?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}

/// By how much the probabilities of a position may exceed one because of rounding. Numbers that were computed in 16 bits are
/// often stored in 32.
fn plain_excess(logprobs: &[f32]) -> f64 {
    let is_half = |logprob: &f32| Half::from_f32(*logprob).to_f32() == *logprob;
    let is_brain = |logprob: &f32| logprob.to_bits().trailing_zeros() >= 16;
    if logprobs.iter().all(is_half) || logprobs.iter().all(is_brain) {
        EXCESS_OF_16_BITS
    } else {
        EXCESS
    }
}

/// Unpacks the entries of a position.
fn unpacked(
    decoder: &Decoder,
    values: &[u8],
    packed: &[u8],
    ids: &mut Vec<u32>,
    logprobs: &mut Vec<f32>,
) -> Result<(), String> {
    let settings = decoder.settings();
    for (name, bytes, expected) in [
        (PACKED[0], values, settings.logprob_bytes()),
        (PACKED[1], packed, settings.id_bytes()),
    ] {
        if bytes.len() != expected {
            let found = bytes.len();
            return Err(format!("`{name}` has {found} bytes, but {expected} by its settings"));
        }
    }
    decoder.decode(values, logprobs);
    ids.clear();
    ids.extend(unpack(packed, settings.id_bits(), settings.k));
    Ok(())
}

/// The settings that the user named, or those beside the first file or in the folder above it; and their text.
fn read_settings(first: &Path, named: Option<&Path>) -> Result<(Decoder, String), ImportError> {
    let folders = first.ancestors().skip(1).take(2);
    let beside = folders.map(|folder| folder.join(SETTINGS)).find(|path| path.exists());
    let path = named.map(Path::to_owned).or(beside);
    let path = path.ok_or_else(|| ImportError::NoSettings { path: first.to_owned() })?;
    let bytes = read_regular(&path, MOST_BYTES).map_err(ImportError::io("read", &path))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match Quantization::parse(&text) {
        Ok(settings) => Ok((Decoder::new(settings), text)),
        Err(source) => Err(ImportError::Settings {
            path,
            source: source.into(),
        }),
    }
}

/// Whether the samples of a file are held out, as the names of data sets' files say.
fn split_of(path: &Path) -> Split {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("validation") {
        Split::Validation
    } else {
        Split::Train
    }
}

/// A name for each file that no other file has, and its split.
fn names_of(paths: &[PathBuf]) -> Vec<(String, Split)> {
    let stem = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let distinct: HashSet<String> = paths.iter().map(stem).collect();
    let numbered = distinct.len() < paths.len();
    let name = |(number, path): (usize, &PathBuf)| {
        if numbered {
            format!("{number}/{}", stem(path))
        } else {
            stem(path)
        }
    };
    let names = paths.iter().enumerate().map(name);
    names.zip(paths.iter().map(|path| split_of(path))).collect()
}
