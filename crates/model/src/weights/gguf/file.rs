//! A model in GGUF files: its metadata, and its tensors by their names.

use std::{collections::BTreeSet, path::Path};

use candle_core::{
    Device,
    quantized::{
        QTensor,
        gguf_file::{Content, TensorInfo, Value},
    },
};

use super::{piece::Piece, split::open_all};
use crate::{error::ModelError, weights::runs::runs};

/// The headers of a model's GGUF files: one, or several in their order.
pub(crate) struct GgufFile {
    pieces: Vec<Piece>,
}

impl GgufFile {
    /// Reads the header of the file at `path`, and those of the other files if it is the first of several.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, is no GGUF file, ends before one of its tensors does, has a tensor of an unknown type, or
    /// the files do not hold a whole model.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        Ok(Self {
            pieces: open_all(path)?,
        })
    }

    /// The first file, which has the metadata.
    fn first(&self) -> &Piece {
        self.pieces.first().expect("`open` reads a file")
    }

    /// Where the file is, or the first of several.
    pub(crate) fn path(&self) -> &Path {
        &self.first().path
    }

    /// Where all files are, in their order.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.pieces.iter().map(|piece| piece.path.as_path())
    }

    /// The header of the first file as the tensor library reads it.
    pub(crate) fn content(&self) -> &Content {
        &self.first().content
    }

    /// The keys of the metadata, in no order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.content().metadata.keys().map(String::as_str)
    }

    /// The text of a key; `None` if it has none.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        let value = self.content().metadata.get(key)?;
        value.to_string().ok().map(String::as_str)
    }

    /// The whole number of a key; `None` if it has none or a negative one.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.first().number(key)
    }

    /// The whole number of a key, or that of each layer if all of them have one; `None` if there is no such number.
    pub(super) fn shared_number(&self, key: &str) -> Option<u64> {
        self.first().shared_number(key)
    }

    /// The number of a key, whole or not; `None` if it has none.
    pub(super) fn float(&self, key: &str) -> Option<f64> {
        match self.content().metadata.get(key)? {
            Value::F32(value) => Some(f64::from(*value)),
            Value::F64(value) => Some(*value),
            Value::Bool(_) => None,
            _ => self.number(key).map(|number| number as f64),
        }
    }

    /// The switch of a key; `None` if it has none.
    pub(super) fn switch(&self, key: &str) -> Option<bool> {
        self.content().metadata.get(key)?.to_bool().ok()
    }

    /// Whether the metadata has a key.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.content().metadata.contains_key(key)
    }

    /// The value of a key as messages quote it.
    pub(super) fn shown(&self, key: &str) -> String {
        match self.content().metadata.get(key) {
            None => "missing".to_owned(),
            Some(Value::Array(values)) => format!("a list of {}", values.len()),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(value)) => value.to_string(),
            Some(_) => match (self.number(key), self.float(key)) {
                (Some(number), _) => number.to_string(),
                (None, Some(number)) => number.to_string(),
                (None, None) => "a negative number".to_owned(),
            },
        }
    }

    /// The error for the value `found` of `key`, which is not as `expected`.
    pub(super) fn refuse(&self, key: String, found: &str, expected: &str) -> ModelError {
        ModelError::Config {
            path: self.path().to_owned(),
            key,
            found: found.to_owned(),
            expected: expected.to_owned(),
        }
    }

    /// The names of the tensors, ordered.
    pub(super) fn tensor_names(&self) -> impl Iterator<Item = &str> {
        let names = self.pieces.iter().flat_map(|piece| piece.content.tensor_infos.keys());
        names.map(String::as_str).collect::<BTreeSet<_>>().into_iter()
    }

    /// Whether the model has a tensor of this name.
    pub(super) fn has_tensor(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The file that has a tensor; the first file if none has.
    pub(super) fn path_of(&self, name: &str) -> &Path {
        self.find(name).map_or(self.path(), |(piece, _)| &piece.path)
    }

    /// How many tensors the model has.
    pub(super) fn tensor_count(&self) -> usize {
        self.pieces.iter().map(|piece| piece.content.tensor_infos.len()).sum()
    }

    /// What the header says about a tensor.
    pub(super) fn tensor_info(&self, name: &str) -> Option<&TensorInfo> {
        self.find(name).map(|(_, info)| info)
    }

    /// The file that has a tensor, and what its header says about it.
    fn find(&self, name: &str) -> Option<(&Piece, &TensorInfo)> {
        let mut pieces = self.pieces.iter();
        pieces.find_map(|piece| Some((piece, piece.content.tensor_infos.get(name)?)))
    }

    /// A whole tensor, as the file stores it.
    ///
    /// # Errors
    ///
    /// If the model has no such tensor or its file cannot be read.
    pub(super) fn tensor(&self, name: &str, device: &Device) -> Result<QTensor, ModelError> {
        let shape = self.tensor_info(name).map(|info| info.shape.dims().to_vec());
        self.part(name, 0, shape.unwrap_or_default(), device)
    }

    /// Part `index` of a tensor that consists of consecutive parts of shape `shape`.
    ///
    /// # Errors
    ///
    /// If the model has no such tensor, the shape does not divide into blocks of the quantisation, or the file cannot be read.
    pub(super) fn part(
        &self,
        name: &str,
        index: usize,
        shape: Vec<usize>,
        device: &Device,
    ) -> Result<QTensor, ModelError> {
        let (piece, info) = self.require(name)?;
        let elements: usize = shape.iter().product();
        let part = index * elements..(index + 1) * elements;
        piece.stretches(name, info, &[part], shape, device)
    }

    /// Rows of a tensor whose rows have `width` elements, in the order of `wanted`: `[wanted, width]`.
    ///
    /// # Errors
    ///
    /// As [`part`](Self::part), and if the tensor has no such row.
    pub(super) fn rows(
        &self,
        name: &str,
        width: usize,
        wanted: &[u32],
        device: &Device,
    ) -> Result<QTensor, ModelError> {
        let (piece, info) = self.require(name)?;
        let rows: Vec<_> = runs(wanted)
            .into_iter()
            .map(|run| run.start * width..run.end * width)
            .collect();
        piece.stretches(name, info, &rows, vec![wanted.len(), width], device)
    }

    /// The file that has a tensor, and what its header says about it.
    fn require(&self, name: &str) -> Result<(&Piece, &TensorInfo), ModelError> {
        self.find(name).ok_or_else(|| ModelError::MissingWeight {
            path: self.path().to_owned(),
            name: name.to_owned(),
        })
    }
}
