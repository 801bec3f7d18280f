//! A model in several GGUF files, `NAME-00001-of-00003.gguf` and so on, as llama.cpp and the package `gguf` write them.
//!
//! The first file has the metadata and names the model. Each file has `split.no`, counted from 0, `split.count` and
//! `split.tensors.count`, the number of tensors of all files.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::piece::Piece;
use crate::error::ModelError;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// All files of the model whose first file is at `path`, in their order. A file that is not one of several is all of them.
///
/// # Errors
///
/// If a file cannot be opened, is missing, or does not belong to the others, or if `path` is not the first.
pub(super) fn open_all(path: &Path) -> Result<Vec<Piece>, ModelError> {
    let first = Piece::open(path)?;
    let name = Name::of(path);
    let refuse = |reason: String, hint: String| Err(refusal(path, reason, hint));
    let name = match (first.number(COUNT), name) {
        (Some(0 | 1), _) | (None, None | Some(Name { count: ..=1, .. })) => return Ok(vec![first]),
        (None, Some(name)) => {
            return refuse(
                format!("its name says that there are {}, but it has no `{COUNT}`", name.count),
                "a file that holds the whole model must not be named as one of several: rename it".to_owned(),
            );
        }
        (Some(count), Some(name)) if name.count == count => name,
        (Some(count), _) => {
            return refuse(
                format!("its `{COUNT}` is {count}, but its name does not end with `-00001-of-{count:05}.gguf`"),
                "give the pieces the names with which they were written, or join them with `llama-gguf-split --merge`"
                    .to_owned(),
            );
        }
    };
    if name.number != 1 {
        let hint = format!("name the first piece: `{}`", name.sibling(1).display());
        return refuse(format!("it is number {} of {}", name.number, name.count), hint);
    }
    let mut pieces = vec![first];
    for number in 2..=name.count {
        let sibling = name.sibling(number);
        if sibling.symlink_metadata().is_err() {
            let (first, last) = (file_name(&name.sibling(1)), file_name(&name.sibling(name.count)));
            return refuse(
                format!("there is no `{}`", sibling.display()),
                format!("put all {} pieces into one folder, `{first}` to `{last}`", name.count),
            );
        }
        pieces.push(Piece::open(&sibling)?);
    }
    let mut names = BTreeSet::new();
    for (number, piece) in (0..).zip(&pieces) {
        for (key, expected) in [(NUMBER, number), (COUNT, name.count)] {
            require(piece, key, expected)?;
        }
        let mut of_piece: Vec<&String> = piece.content.tensor_infos.keys().collect();
        of_piece.sort_unstable();
        if let Some(twice) = of_piece.into_iter().find(|name| !names.insert(name.as_str())) {
            let reason = format!("an earlier piece has a tensor `{twice}` as well");
            return Err(refusal(&piece.path, reason, AGAIN.to_owned()));
        }
    }
    require(&pieces[0], TENSORS, names.len() as u64)?;
    Ok(pieces)
}

const AGAIN: &str = "the pieces belong to different models or versions: download all of them again";

fn require(piece: &Piece, key: &str, expected: u64) -> Result<(), ModelError> {
    match piece.number(key) {
        Some(found) if found == expected => Ok(()),
        found => {
            let found = found.map_or_else(|| "missing".to_owned(), |found| found.to_string());
            let reason = format!("its `{key}` is {found}, but it should be {expected}");
            Err(refusal(&piece.path, reason, AGAIN.to_owned()))
        }
    }
}

fn refusal(path: &Path, reason: String, hint: String) -> ModelError {
    ModelError::SplitGguf {
        path: path.to_owned(),
        reason,
        hint,
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The name of one of several files.
struct Name {
    folder: PathBuf,
    stem: String,
    /// Counted from 1.
    number: u64,
    count: u64,
    extension: String,
}

impl Name {
    /// The parts of the name of a file; `None` if it is not named as one of several.
    fn of(path: &Path) -> Option<Self> {
        let (before, count) = path.file_stem()?.to_str()?.rsplit_once("-of-")?;
        let (stem, number) = before.rsplit_once('-')?;
        let parsed = |text: &str| {
            let is_number = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok())?
        };
        Some(Self {
            folder: path.parent()?.to_owned(),
            stem: stem.to_owned(),
            number: parsed(number)?,
            count: parsed(count)?,
            extension: path.extension()?.to_str()?.to_owned(),
        })
    }

    /// The path of another file of the same model.
    fn sibling(&self, number: u64) -> PathBuf {
        let Self {
            stem, count, extension, ..
        } = self;
        self.folder
            .join(format!("{stem}-{number:05}-of-{count:05}.{extension}"))
    }
}
