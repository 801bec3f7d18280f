//! What the path of a data file tells inside a data set's folder: its split, and words that tell a configuration.
//!
//! `main/train-0.jsonl`, `main-train-0.jsonl` and `train/main/0.jsonl` all tell the split `train` and the word `main`. Numbers of
//! pieces, such as `part-000`, tell nothing.

/// The usual splits, each with the names that stand for it.
const SPLIT_NAMES: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// Words that stand beside the number of a piece, or instead of it.
const PIECE_WORDS: [&str; 12] = [
    "part", "parts", "shard", "shards", "chunk", "chunks", "piece", "pieces", "batch", "file", "of", "data",
];

/// The fewest digits of a hexadecimal number that a name may have: each part of a UUID has four.
const HEXADECIMAL_DIGITS: usize = 4;

/// What a path tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The split.
    pub(super) split: String,
    /// The folders before the part that tells the split.
    before: Vec<String>,
    /// The words of the folders behind it, without those of pieces.
    behind: Vec<String>,
    /// The words of the file's own name beside the split, without those of pieces.
    words: String,
}

impl Told {
    /// What a path tells, given its parts; `None` if it tells no split.
    pub(super) fn of(parts: &[String]) -> Option<Self> {
        let (file, folders) = parts.split_last()?;
        let told = |split: &str, words| Self {
            split: usual_name(split).to_owned(),
            before: folders.to_vec(),
            behind: Vec::new(),
            words,
        };
        if let Some(split) = piece(file) {
            return Some(told(split, String::new()));
        }
        let stem = file.split('.').next().unwrap_or_default();
        if let Some(split) = split_among_words(stem) {
            let is_split = |word: &str| split_among_words(word) == Some(split);
            return Some(told(split, words_but(stem, is_split)));
        }
        (0..folders.len()).rev().find_map(|place| {
            let split = split_among_words(&folders[place])?;
            let behind = folders[place + 1..].iter().map(|folder| words_but(folder, |_| false));
            Some(Self {
                split: split.to_owned(),
                before: folders[..place].to_vec(),
                behind: behind.filter(|words| !words.is_empty()).collect(),
                words: String::new(),
            })
        })
    }

    /// The folders behind the split, as a name; empty if there are none but those of pieces.
    pub(super) fn behind(&self) -> String {
        self.behind.join("/")
    }

    /// The name of the configuration, in which the folders behind the split count or not; `.` if nothing tells one.
    pub(super) fn configuration(&self, behind_counts: bool) -> String {
        let behind: &[String] = if behind_counts { &self.behind } else { &[] };
        let words = Some(&self.words).filter(|words| !words.is_empty());
        let parts: Vec<&str> = self
            .before
            .iter()
            .chain(behind)
            .chain(words)
            .map(String::as_str)
            .collect();
        name_of_place(&parts)
    }
}

/// The name of a folder inside the data set's.
pub(super) fn name_of_place(parts: &[impl AsRef<str>]) -> String {
    if parts.is_empty() {
        return ".".to_owned();
    }
    parts.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("/")
}

/// The split in a name such as `SPLIT-00000-of-00002.parquet`.
pub(super) fn piece(name: &str) -> Option<&str> {
    let stem = name.split('.').next()?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (split, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    // A fingerprint may follow the number of pieces.
    let count = count.split('-').next()?;
    (digits(number) && digits(count) && !split.is_empty()).then_some(split)
}

/// The words of a name without those that `is_left_out`, and without those of pieces.
fn words_but(name: &str, is_left_out: impl Fn(&str) -> bool) -> String {
    let words = words(name).filter(|word| !word.is_empty() && !is_left_out(word) && !is_of_a_piece(word));
    words.collect::<Vec<_>>().join("-")
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|character: char| !character.is_alphanumeric())
}

/// Whether a word counts pieces: `000`, `part`, `shard7`, one letter, a part of a UUID or of a fingerprint.
fn is_of_a_piece(word: &str) -> bool {
    let word = word.to_lowercase();
    let letters = word.trim_end_matches(|character: char| character.is_ascii_digit());
    let is_hexadecimal = word.len() >= HEXADECIMAL_DIGITS
        && word.bytes().all(|byte| byte.is_ascii_hexdigit())
        && word.bytes().any(|byte| byte.is_ascii_digit());
    letters.is_empty() || word.chars().count() == 1 || PIECE_WORDS.contains(&letters) || is_hexadecimal
}

/// The usual split that a word of the name stands for.
pub(super) fn split_among_words(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let words: Vec<&str> = name
        .split(|character: char| !character.is_ascii_alphanumeric())
        .collect();
    let mut splits = SPLIT_NAMES.iter();
    let named = splits.find(|(_, names)| words.iter().any(|word| names.contains(word)));
    named.map(|&(split, _)| split)
}

/// The usual name of a split that has several names; other names stay.
pub(super) fn usual_name(split: &str) -> &str {
    let usual = SPLIT_NAMES.iter().find(|(_, names)| names.contains(&split));
    usual.map_or(split, |&(split, _)| split)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str) -> Option<Told> {
        let parts: Vec<String> = path.split('/').map(str::to_owned).collect();
        Told::of(&parts)
    }

    #[test]
    fn names_of_files_and_folders_tell_the_split() {
        for (path, expected) in [
            ("train-00000-of-00002.parquet", Some("train")),
            (
                "data/validation-00000-of-00001-a09b74b3ef9c3b56.parquet",
                Some("validation"),
            ),
            ("data/cot-00000-of-00001.parquet", Some("cot")),
            ("dev-00000-of-00001.parquet", Some("validation")),
            ("train_sft-00000-of-00001.parquet", Some("train_sft")),
            ("train.jsonl", Some("train")),
            ("my-data.train.jsonl.gz", None),
            ("gsm8k_Test_v2.jsonl", Some("test")),
            ("train/part-0.jsonl", Some("train")),
            ("train/more/part-0.jsonl", Some("train")),
            ("train/eval.jsonl", Some("test")),
            ("trainer.jsonl", None),
            ("part-00000-of-00002.parquet", Some("part")),
            ("part-0.parquet", None),
        ] {
            assert_eq!(told(path).map(|told| told.split).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn other_words_tell_the_configuration_and_numbers_of_pieces_do_not() {
        for (path, expected) in [
            ("main-train.jsonl", "main"),
            ("train_Socratic.jsonl.zst", "Socratic"),
            ("gsm8k_train_1.jsonl", "gsm8k"),
            ("all/train.jsonl", "all"),
            ("all/hard-train-2.jsonl", "all/hard"),
            ("train/main/0.jsonl", "main"),
            ("all/train/main/0.jsonl", "all/main"),
            ("train.jsonl", "."),
            ("train-00000-of-00002.parquet", "."),
            ("train-00000-of-00001-a09b74b3ef9c3b56.parquet", "."),
            ("part-000-train.jsonl", "."),
            ("train_shard7.jsonl", "."),
            ("train-data-b.jsonl", "."),
            ("train-1a2b3c4d-12ab-4e3d-9c00-0123456789ab.parquet", "."),
            ("train-2024-05-01.jsonl", "."),
            ("train/shard-01/0.jsonl", "."),
            ("train/anything.jsonl", "."),
        ] {
            assert_eq!(told(path).unwrap().configuration(true), expected, "{path}");
        }
    }
}
