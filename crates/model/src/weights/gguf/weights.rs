//! The weights of a GGUF file as a decoder asks for them.

use std::sync::Arc;

use candle_core::{
    DType, Device, Tensor,
    quantized::{QMatMul, QTensor},
};
use leadspan_kernels::{Pairing, Weight};

use super::{
    file::GgufFile,
    names::{expert_of, stored_name},
};
use crate::{
    config::DecoderConfig,
    device::StoredDtype,
    error::ModelError,
    weights::{
        projection::Projection,
        weight_source::{Embedding, WeightSource},
    },
};

/// The weights of GGUF files, dequantised, or quantised as stored if `dtype` is [`StoredDtype::Native`].
pub(crate) struct GgufWeights<'a> {
    pub(crate) file: &'a GgufFile,
    pub(crate) config: &'a DecoderConfig,
    pub(crate) dtype: StoredDtype,
    pub(crate) device: Device,
}

impl GgufWeights<'_> {
    /// The weight that Hugging Face models call `name`, as stored.
    fn load(&self, name: &str, shape: &[usize]) -> Result<QTensor, ModelError> {
        let (stored, index) = self.found(name, shape)?;
        self.file.part(&stored, index, shape.to_vec(), &self.device)
    }

    /// Bytes of the weight `name` in memory, if it has this many elements and stays as it is stored. With the copy in the
    /// processor's layout that the tensor library may make for products, it takes up to three times as much as in the file.
    pub(crate) fn native_bytes(&self, name: &str, elements: usize) -> u64 {
        const COPIES: u64 = 3;
        let whole = expert_of(name).map_or_else(|| name.to_owned(), |(whole, _)| whole);
        let stored = stored_name(&whole, self.config.family);
        let (block, size) = self.file.tensor_info(&stored).map_or((1, size_of::<f32>()), |info| {
            (info.ggml_dtype.block_size(), info.ggml_dtype.type_size())
        });
        COPIES * (elements / block * size) as u64
    }

    /// The name under which the weight `name` is stored, and its place among the experts there.
    fn found(&self, name: &str, shape: &[usize]) -> Result<(String, usize), ModelError> {
        // One tensor holds the experts of a layer, one after the other.
        let (expert, family) = (expert_of(name), self.config.family);
        let (stored, expected, index) = match (&expert, &self.config.experts) {
            (Some((whole, index)), Some(experts)) => {
                (stored_name(whole, family), [&[experts.count], shape].concat(), *index)
            }
            _ => (stored_name(name, family), shape.to_vec(), 0),
        };
        let path = || self.file.path().to_owned();
        let Some(info) = self.file.tensor_info(&stored) else {
            return Err(ModelError::MissingWeight {
                path: path(),
                name: stored,
            });
        };
        if info.shape.dims() != expected {
            return Err(ModelError::WeightShape {
                path: path(),
                name: stored,
                found: info.shape.dims().to_vec(),
                expected,
            });
        }
        Ok((stored, index))
    }

    /// Puts the rows of a query or key weight, or the numbers of its bias, into the order of [`Pairing::Halves`] if the file has
    /// the order of [`Pairing::Neighbours`]: row 2i + j of a head (j = 0, 1) becomes row j · `head_dim`/2 + i.
    /// Quantised rows stay as they are, and so do their biases.
    fn halves_together(&self, name: &str, weight: Tensor) -> candle_core::Result<Tensor> {
        let (module, _) = name.rsplit_once('.').unwrap_or_default();
        let is_rotated = ["self_attn.q_proj", "self_attn.k_proj"]
            .iter()
            .any(|part| module.ends_with(part));
        if self.stored_pairing() == self.pairing() || !is_rotated {
            return Ok(weight);
        }
        let (rows, half) = (weight.dim(0)?, self.config.head_dim / 2);
        let width = weight.elem_count() / rows;
        weight
            .reshape((rows / self.config.head_dim, half, 2, width))?
            .transpose(1, 2)?
            .contiguous()?
            .reshape(weight.dims())
    }

    /// Takes 1 from the weight of a norm in a family whose norms multiply by 1 + weight: converters to GGUF add it.
    fn around_one(&self, name: &str, weight: Tensor) -> candle_core::Result<Tensor> {
        if self.config.family.description().norms_around_one && name.ends_with("norm.weight") {
            weight - 1.0
        } else {
            Ok(weight)
        }
    }

    /// Which elements of a head rotate together in the file.
    fn stored_pairing(&self) -> Pairing {
        self.config.family.description().gguf_pairing
    }
}

impl WeightSource for GgufWeights<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let weight = self.load(name, shape)?.dequantize(&self.device)?;
        let weight = self.around_one(name, self.halves_together(name, weight)?)?;
        Ok(weight.to_dtype(match self.dtype {
            StoredDtype::Native => DType::F32,
            dtype => dtype.dense(),
        })?)
    }

    fn product(&mut self, name: &str, shape: [usize; 2], bias: Option<Weight>) -> Result<Projection, ModelError> {
        if self.dtype != StoredDtype::Native {
            return Ok(Projection::Dense {
                weight: self.weight(name, &shape)?,
                bias,
            });
        }
        Ok(Projection::Quantised {
            weight: QMatMul::from_qtensor(self.load(name, &shape)?)?,
            bias,
        })
    }

    fn embedding(&mut self, name: &str, shape: [usize; 2]) -> Result<Embedding, ModelError> {
        if self.dtype != StoredDtype::Native {
            return self.weight(name, &shape).map(Embedding::Dense);
        }
        Ok(Embedding::Quantised(Arc::new(self.load(name, &shape)?)))
    }

    fn rows(&mut self, name: &str, shape: [usize; 2], wanted: &[u32]) -> Result<Tensor, ModelError> {
        let (stored, _) = self.found(name, &shape)?;
        let rows = self.file.rows(&stored, shape[1], wanted, &self.device)?;
        Ok(rows.dequantize(&self.device)?.to_dtype(self.dtype.dense())?)
    }

    fn check(&mut self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        self.found(name, shape).map(drop)
    }

    fn pairing(&self) -> Pairing {
        // Quantised rows keep the order of the file.
        if self.dtype == StoredDtype::Native {
            self.stored_pairing()
        } else {
            Pairing::Halves
        }
    }
}
