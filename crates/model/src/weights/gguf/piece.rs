//! One GGUF file: its header, and the bytes of its tensors. It may be one of several that hold a model together.

use std::{
    io::{BufReader, Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};

use candle_core::{
    Device,
    quantized::{
        GgmlDType, QTensor,
        ggml_file::qtensor_from_ggml,
        gguf_file::{Content, TensorInfo, Value},
    },
};
use leadspan_files::open_regular;

use super::header::{Header, skim};
use crate::error::ModelError;

/// The header of a GGUF file: metadata and the list of tensors.
pub(super) struct Piece {
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

/// A value as a whole number; `None` if it is none or negative.
fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::I8(value) => u64::try_from(*value).ok(),
        Value::I16(value) => u64::try_from(*value).ok(),
        Value::I32(value) => u64::try_from(*value).ok(),
        Value::I64(value) => u64::try_from(*value).ok(),
        value => value.to_u64().ok(),
    }
}

impl Piece {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is no GGUF file, ends before one of its tensors does, has a tensor of a type that is not
    /// read, or has two keys or tensors of one name.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
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
        let Header {
            alignment,
            unknown,
            keys,
            tensors,
        } = skim(&mut header);
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
        // The tensor library keeps the last of several.
        for (what, count, kept) in [
            ("keys", keys, content.metadata.len()),
            ("tensors", tensors, content.tensor_infos.len()),
        ] {
            if count != kept as u64 {
                return Err(damaged(format!("two of its {what} have one name")));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            content,
        })
    }

    /// The whole number of a key; `None` if it has none or a negative one.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        whole(self.content.metadata.get(key)?)
    }

    /// The whole number of a key, or that of all elements of its list; `None` if there is no such number.
    pub(super) fn shared_number(&self, key: &str) -> Option<u64> {
        match self.content.metadata.get(key)? {
            Value::Array(values) => {
                let number = whole(values.first()?)?;
                values
                    .iter()
                    .all(|value| whole(value) == Some(number))
                    .then_some(number)
            }
            value => whole(value),
        }
    }

    /// Some stretches of a tensor, one after the other, as a tensor of shape `shape`. A stretch is a range of elements.
    ///
    /// # Errors
    ///
    /// If the shape does not divide into blocks of the quantisation, a stretch is not inside the tensor, or the file cannot be
    /// read.
    pub(super) fn stretches(
        &self,
        name: &str,
        info: &TensorInfo,
        stretches: &[Range<usize>],
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
        let (block, size) = (info.ggml_dtype.block_size(), info.ggml_dtype.type_size());
        if !shape.last().is_some_and(|columns| columns.is_multiple_of(block)) {
            return Err(unreadable(format!(
                "rows of {shape:?} do not divide into blocks of {block}"
            )));
        }
        let mut file = open_regular(&self.path).map_err(|source| io("open", source))?;
        let mut raw = vec![0; shape.iter().product::<usize>() / block * size];
        let mut rest = raw.as_mut_slice();
        for stretch in stretches {
            // `open` found the whole tensor inside the file, so this neither overflows nor exceeds the file.
            if stretch.end > info.shape.elem_count() {
                return Err(unreadable(format!("it has no element {}", stretch.end - 1)));
            }
            let start = self.content.tensor_data_offset + info.offset + (stretch.start / block * size) as u64;
            let (bytes, after) = rest.split_at_mut(stretch.len() / block * size);
            file.seek(SeekFrom::Start(start))
                .and_then(|_| file.read_exact(bytes))
                .map_err(|source| io("read", source))?;
            rest = after;
        }
        let (dtype, raw) = match info.ggml_dtype {
            GgmlDType::Q8K => (GgmlDType::F32, dequantised_q8_k(&raw)),
            dtype => (dtype, raw),
        };
        qtensor_from_ggml(dtype, &raw, shape, device).map_err(|error| unreadable(error.to_string()))
    }
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

/// The numbers of blocks of the type `Q8_K` as bytes in single precision. The tensor library does not read this type.
///
/// A block has a scale in single precision, 256 numbers of eight bits, and sums of them.
fn dequantised_q8_k(raw: &[u8]) -> Vec<u8> {
    const SCALE: usize = 4;
    const NUMBERS: usize = 256;
    let blocks = raw.chunks_exact(GgmlDType::Q8K.type_size());
    blocks
        .flat_map(|block| {
            let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            let numbers = &block[SCALE..SCALE + NUMBERS];
            numbers
                .iter()
                .flat_map(move |&number| (scale * f32::from(number.cast_signed())).to_le_bytes())
        })
        .collect()
}
