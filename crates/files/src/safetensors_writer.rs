//! Writing a safetensors file as a stream: the header first, then the values of one tensor after another.
//!
//! ```text
//! 8 bytes   length of the header, a little-endian integer
//! header    JSON, padded with spaces to a multiple of 8 bytes:
//!           {"__metadata__": {KEY: TEXT, …}, NAME: {"dtype": …, "shape": […], "data_offsets": [start, end]}, …}
//! values    of each tensor, in the order of the header
//! ```
//!
//! The header needs the names, types and shapes of all tensors; the values can be produced while they are written, so
//! memory never holds the whole file. This module knows no tensor library and does not commit files: it writes to any
//! [`Write`].

use std::io::{self, Write};

use safetensors::Dtype;
use serde_json::{Map, Value, json};

/// The entry of one tensor in the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorHeader {
    /// Its name.
    pub name: String,
    /// Its number format.
    pub dtype: Dtype,
    /// Its dimensions; empty for a scalar.
    pub shape: Vec<usize>,
}

impl TensorHeader {
    /// The size of its values in bytes.
    fn value_bytes(&self) -> u64 {
        let bits = self.shape.iter().product::<usize>() as u64 * self.dtype.bitsize() as u64;
        bits.div_ceil(8)
    }
}

/// Writes a safetensors file tensor by tensor.
///
/// # Example
///
/// ```
/// use leadspan_files::{SafetensorsWriter, TensorHeader};
/// # fn main() -> std::io::Result<()> {
/// let header = TensorHeader { name: "bias".into(), dtype: safetensors::Dtype::F32, shape: vec![2] };
/// let mut writer = SafetensorsWriter::new(Vec::new(), &[("format", "pt")], [header])?;
/// writer.write_tensor([Ok(1f32.to_le_bytes()), Ok(2f32.to_le_bytes())])?;
/// let bytes = writer.finish()?;
/// assert!(bytes.ends_with(&2f32.to_le_bytes()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SafetensorsWriter<W> {
    to: W,
    /// The sizes in bytes of the tensors that are not written yet.
    left: std::vec::IntoIter<u64>,
}

impl<W: Write> SafetensorsWriter<W> {
    /// Writes the header. The tensors must then be written in the order of `tensors`.
    ///
    /// # Errors
    ///
    /// If `to` fails.
    pub fn new(
        mut to: W,
        metadata: &[(&str, &str)],
        tensors: impl IntoIterator<Item = TensorHeader>,
    ) -> io::Result<Self> {
        let tensors: Vec<TensorHeader> = tensors.into_iter().collect();
        to.write_all(&header(metadata, &tensors))?;
        let sizes: Vec<u64> = tensors.iter().map(TensorHeader::value_bytes).collect();
        Ok(Self {
            to,
            left: sizes.into_iter(),
        })
    }

    /// Writes the values of the next tensor, little-endian and row by row, in pieces of any size.
    ///
    /// # Errors
    ///
    /// If a piece or `to` fails, and with [`io::ErrorKind::InvalidInput`] if the pieces do not have the size that the
    /// header gives, or if the header has no further tensor. The file is then unusable.
    pub fn write_tensor<B: AsRef<[u8]>>(&mut self, pieces: impl IntoIterator<Item = io::Result<B>>) -> io::Result<()> {
        let expected = self
            .left
            .next()
            .ok_or_else(|| invalid("the header has no further tensor"))?;
        let mut written = 0;
        for piece in pieces {
            let piece = piece?;
            self.to.write_all(piece.as_ref())?;
            written += piece.as_ref().len() as u64;
        }
        if written == expected {
            Ok(())
        } else {
            Err(invalid("a tensor does not have the size that the header gives"))
        }
    }

    /// Completes the file and returns the writer it was written to.
    ///
    /// # Errors
    ///
    /// If `to` fails, and with [`io::ErrorKind::InvalidInput`] if a tensor is missing.
    pub fn finish(mut self) -> io::Result<W> {
        if self.left.len() > 0 {
            return Err(invalid("a tensor of the header is missing"));
        }
        self.to.flush()?;
        Ok(self.to)
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// The header, preceded by its length.
fn header(metadata: &[(&str, &str)], tensors: &[TensorHeader]) -> Vec<u8> {
    let metadata: Map<String, Value> = metadata
        .iter()
        .map(|&(key, text)| (key.to_owned(), text.into()))
        .collect();
    let mut entries = Map::new();
    entries.insert("__metadata__".to_owned(), metadata.into());
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.value_bytes();
        let entry = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end] });
        entries.insert(tensor.name.clone(), entry);
        start = end;
    }
    let mut text = serde_json::to_vec(&entries).expect("numbers and names serialize");
    // Readers map the file, so values begin at a multiple of 8 bytes.
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    fn tensor(name: &str, shape: &[usize]) -> TensorHeader {
        TensorHeader {
            name: name.to_owned(),
            dtype: Dtype::F32,
            shape: shape.to_vec(),
        }
    }

    #[test]
    fn a_stream_has_the_bytes_that_the_safetensors_library_writes() {
        let tensors = [
            tensor("a.weight", &[2, 3]),
            tensor("b \"quoted\" é", &[]),
            tensor("c.empty", &[0, 7]),
        ];
        let values: Vec<Vec<u8>> = tensors
            .iter()
            .map(|tensor| (0..tensor.value_bytes()).map(|byte| (byte * 37) as u8).collect())
            .collect();
        let mut writer = SafetensorsWriter::new(Vec::new(), &[("format", "pt")], tensors.clone()).unwrap();
        for values in &values {
            writer.write_tensor(values.chunks(5).map(Ok)).unwrap();
        }
        let views = tensors.iter().zip(&values).map(|(tensor, values)| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), values).unwrap();
            (tensor.name.as_str(), view)
        });
        let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
        let expected = safetensors::serialize(views, metadata).unwrap();
        assert_eq!(writer.finish().unwrap(), expected);
    }

    #[test]
    fn tensors_of_another_size_or_number_than_the_header_gives_are_refused() {
        let writer = || SafetensorsWriter::new(Vec::new(), &[], [tensor("a", &[2])]).unwrap();
        let kind = |error: io::Error| error.kind();
        for bytes in [0, 7, 9] {
            let refused = writer().write_tensor([Ok(vec![0; bytes])]).map_err(kind);
            assert_eq!(refused, Err(io::ErrorKind::InvalidInput), "{bytes} bytes");
        }
        assert_eq!(writer().finish().map_err(kind), Err(io::ErrorKind::InvalidInput));
        let mut full = writer();
        full.write_tensor([Ok([0; 8])]).unwrap();
        assert_eq!(
            full.write_tensor([Ok([0; 8])]).map_err(kind),
            Err(io::ErrorKind::InvalidInput)
        );
        full.finish().unwrap();
    }

    #[test]
    fn a_piece_that_fails_fails_the_tensor() {
        let mut writer = SafetensorsWriter::new(Vec::new(), &[], [tensor("a", &[2])]).unwrap();
        let pieces = [Ok([0; 4]), Err(io::ErrorKind::Other.into())];
        assert_eq!(writer.write_tensor(pieces).unwrap_err().kind(), io::ErrorKind::Other);
    }
}
