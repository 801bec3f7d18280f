//! A GGUF file: its header, and the bytes of its tensors.

use std::{
    collections::BTreeSet,
    io::{BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use candle_core::{
    Device,
    quantized::{
        QTensor,
        ggml_file::qtensor_from_ggml,
        gguf_file::{Content, TensorInfo, Value},
    },
};

use leadspan_files::open_regular;

use super::header::{Header, skim};
use crate::error::ModelError;

/// The header of a GGUF file: metadata and the list of tensors.
pub(crate) struct GgufFile {
    path: PathBuf,
    content: Content,
}

impl GgufFile {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is no GGUF file, ends before one of its tensors does, has a tensor of an unknown type, or is
    /// one of several that hold a model together.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io {
            action: "open",
            path: path.to_owned(),
            source,
        };
        let damaged = |reason: String| ModelError::Weights {
            path: path.to_owned(),
            reason,
        };
        let file = open_regular(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let mut header = BufReader::new(file);
        let mut magic = [0; 4];
        // In the order of bytes of either kind of machine.
        if header.read_exact(&mut magic).is_err() || ![*b"GGUF", *b"FUGG"].contains(&magic) {
            return Err(ModelError::NotGguf { path: path.to_owned() });
        }
        header.rewind().map_err(io)?;
        let Header { alignment, unknown } = skim(&mut header);
        if alignment == Some(0) {
            return Err(damaged("its header sets `general.alignment` to 0".to_owned()));
        }
        if let Some((name, kind)) = unknown {
            return Err(ModelError::WeightFormat {
                path: path.to_owned(),
                name,
                reason: format!("it is stored as {kind}, which is not supported"),
            });
        }
        header.rewind().map_err(io)?;
        let content = Content::read(&mut header).map_err(|error| damaged(error.to_string()))?;
        for (name, info) in &content.tensor_infos {
            let end = size_in_bytes(info)
                .zip(content.tensor_data_offset.checked_add(info.offset))
                .and_then(|(size, start)| start.checked_add(size));
            if end.is_none_or(|end| end > bytes) {
                return Err(damaged(format!("tensor `{name}` ends beyond the file's {bytes} bytes")));
            }
        }
        let file = Self {
            path: path.to_owned(),
            content,
        };
        match file.number("split.count").or_else(|| parts_by_name(path)) {
            Some(parts @ 2..) => Err(ModelError::SplitGguf {
                path: path.to_owned(),
                parts,
            }),
            _ => Ok(file),
        }
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The header as the tensor library reads it.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// The keys of the metadata, in no order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.content.metadata.keys().map(String::as_str)
    }

    /// The text of a key; `None` if it has none.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        let value = self.content.metadata.get(key)?;
        value.to_string().ok().map(String::as_str)
    }

    /// The whole number of a key; `None` if it has none or a negative one.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        match self.content.metadata.get(key)? {
            Value::I8(value) => u64::try_from(*value).ok(),
            Value::I16(value) => u64::try_from(*value).ok(),
            Value::I32(value) => u64::try_from(*value).ok(),
            Value::I64(value) => u64::try_from(*value).ok(),
            value => value.to_u64().ok(),
        }
    }

    /// The number of a key, whole or not; `None` if it has none.
    pub(super) fn float(&self, key: &str) -> Option<f64> {
        match self.content.metadata.get(key)? {
            Value::F32(value) => Some(f64::from(*value)),
            Value::F64(value) => Some(*value),
            Value::Bool(_) => None,
            _ => self.number(key).map(|number| number as f64),
        }
    }

    /// The switch of a key; `None` if it has none.
    pub(super) fn switch(&self, key: &str) -> Option<bool> {
        self.content.metadata.get(key)?.to_bool().ok()
    }

    /// Whether the metadata has a key.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.content.metadata.contains_key(key)
    }

    /// The value of a key as messages quote it.
    pub(super) fn shown(&self, key: &str) -> String {
        match self.content.metadata.get(key) {
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
            path: self.path.clone(),
            key,
            found: found.to_owned(),
            expected: expected.to_owned(),
        }
    }

    /// The names of the tensors, ordered.
    pub(super) fn tensor_names(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<&str> = self.content.tensor_infos.keys().map(String::as_str).collect();
        names.into_iter()
    }

    /// Whether the file has a tensor of this name.
    pub(super) fn has_tensor(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// How many tensors the file has.
    pub(super) fn tensor_count(&self) -> usize {
        self.content.tensor_infos.len()
    }

    /// What the header says about a tensor.
    pub(super) fn tensor_info(&self, name: &str) -> Option<&TensorInfo> {
        self.content.tensor_infos.get(name)
    }

    /// A whole tensor, as the file stores it.
    ///
    /// # Errors
    ///
    /// If the file has no such tensor or cannot be read.
    pub(super) fn tensor(&self, name: &str, device: &Device) -> Result<QTensor, ModelError> {
        let Some(info) = self.tensor_info(name) else {
            return Err(ModelError::MissingWeight {
                path: self.path.clone(),
                name: name.to_owned(),
            });
        };
        self.part(name, info, 0, info.shape.dims().to_vec(), device)
    }

    /// Part `index` of a tensor that consists of consecutive parts of shape `shape`.
    ///
    /// # Errors
    ///
    /// If the shape does not divide into blocks of the quantisation, or the file cannot be read.
    pub(super) fn part(
        &self,
        name: &str,
        info: &TensorInfo,
        index: usize,
        shape: Vec<usize>,
        device: &Device,
    ) -> Result<QTensor, ModelError> {
        let io = |action, source| ModelError::Io {
            action,
            path: self.path.clone(),
            source,
        };
        let unreadable = |reason: String| ModelError::Weights {
            path: self.path.clone(),
            reason: format!("`{name}`: {reason}"),
        };
        let elements: usize = shape.iter().product();
        if !elements.is_multiple_of(info.ggml_dtype.block_size()) {
            return Err(unreadable(format!("{shape:?} does not divide into blocks")));
        }
        // `open` found the whole tensor inside the file, so this neither overflows nor exceeds the file.
        let bytes = elements / info.ggml_dtype.block_size() * info.ggml_dtype.type_size();
        let start = self.content.tensor_data_offset + info.offset + (index * bytes) as u64;
        let mut raw = vec![0; bytes];
        let mut file = open_regular(&self.path).map_err(|source| io("open", source))?;
        file.seek(SeekFrom::Start(start))
            .and_then(|_| file.read_exact(&mut raw))
            .map_err(|source| io("read", source))?;
        qtensor_from_ggml(info.ggml_dtype, &raw, shape, device).map_err(|error| unreadable(error.to_string()))
    }
}

/// How many files hold the model of a file that is named as one of several, such as `model-00001-of-00003.gguf`.
fn parts_by_name(path: &Path) -> Option<u64> {
    let (before, parts) = path.file_stem()?.to_str()?.rsplit_once("-of-")?;
    let (_, number) = before.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(parts)).then(|| parts.parse().ok())?
}

/// The size of a tensor in the file; `None` if it overflows.
fn size_in_bytes(info: &TensorInfo) -> Option<u64> {
    let elements = info
        .shape
        .dims()
        .iter()
        .try_fold(1u64, |product, &size| product.checked_mul(size as u64))?;
    (elements / info.ggml_dtype.block_size() as u64).checked_mul(info.ggml_dtype.type_size() as u64)
}
