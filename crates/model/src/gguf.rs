//! Models in one GGUF file: architecture, tokenizer and (quantised) weights.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::{
    DType, Device, Tensor,
    quantized::{
        GgmlDType, QMatMul, QTensor,
        gguf_file::{Content, Value},
    },
};

use crate::{
    DecoderConfig, Family, ModelError, RotaryScaling, StoredDtype,
    decoder::{Embedding, WeightSource},
    projection::Projection,
    rotary::Pairing,
    weight::Weight,
};

/// The header of a GGUF file: metadata and the list of tensors.
pub(crate) struct GgufFile {
    path: PathBuf,
    content: Content,
}

impl GgufFile {
    /// Reads the header and checks that every tensor lies inside the file.
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
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let content = Content::read(&mut BufReader::new(file)).map_err(|error| damaged(error.to_string()))?;
        for (name, info) in &content.tensor_infos {
            let size = (info.shape.elem_count() / info.ggml_dtype.block_size() * info.ggml_dtype.type_size()) as u64;
            let end = content
                .tensor_data_offset
                .checked_add(info.offset)
                .and_then(|start| start.checked_add(size));
            if end.is_none_or(|end| end > bytes) {
                return Err(damaged(format!("tensor `{name}` ends beyond the file's {bytes} bytes")));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            content,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.content
            .metadata
            .get(key)
            .and_then(|value| value.to_string().ok())
            .map(String::as_str)
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        match self.content.metadata.get(key)? {
            Value::I8(value) => u64::try_from(*value).ok(),
            Value::I16(value) => u64::try_from(*value).ok(),
            Value::I32(value) => u64::try_from(*value).ok(),
            Value::I64(value) => u64::try_from(*value).ok(),
            value => value.to_u64().ok(),
        }
    }

    fn float(&self, key: &str) -> Option<f64> {
        match self.content.metadata.get(key)? {
            Value::F32(value) => Some(f64::from(*value)),
            Value::F64(value) => Some(*value),
            _ => None,
        }
    }

    /// The architecture, from the metadata.
    pub(crate) fn config(&self) -> Result<DecoderConfig, ModelError> {
        let refuse = |key: String, found: String, expected: &str| ModelError::Config {
            path: self.path.clone(),
            key,
            found,
            expected: expected.to_owned(),
        };
        let architecture = self.text("general.architecture").unwrap_or_default().to_owned();
        let Some(family) = Family::from_name(&architecture) else {
            let expected = "this decoder knows `llama`, `qwen2` and `qwen3`";
            return Err(refuse("general.architecture".into(), architecture, expected));
        };
        let key = |suffix: &str| format!("{architecture}.{suffix}");
        let number = |suffix: &str| {
            self.number(&key(suffix))
                .map(|value| value as usize)
                .ok_or_else(|| refuse(key(suffix), "missing".into(), "it must be given as a whole number"))
        };
        if let Some(scaling) = self
            .text(&key("rope.scaling.type"))
            .filter(|scaling| *scaling != "none")
        {
            return Err(refuse(
                key("rope.scaling.type"),
                scaling.to_owned(),
                "only `none` is supported",
            ));
        }
        let hidden_size = number("embedding_length")?;
        let num_attention_heads = number("attention.head_count")?;
        let Some(embedding) = self.content.tensor_infos.get("token_embd.weight") else {
            return Err(ModelError::MissingWeight {
                path: self.path.clone(),
                name: "token_embd.weight".into(),
            });
        };
        DecoderConfig {
            family,
            vocab_size: embedding.shape.dims().first().copied().unwrap_or(0),
            hidden_size,
            intermediate_size: number("feed_forward_length")?,
            num_hidden_layers: number("block_count")?,
            num_attention_heads,
            num_key_value_heads: number("attention.head_count_kv").unwrap_or(num_attention_heads),
            head_dim: number("attention.key_length").unwrap_or(hidden_size / num_attention_heads.max(1)),
            rms_norm_eps: self.float(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-5),
            rope_theta: self.float(&key("rope.freq_base")).unwrap_or(10_000.0),
            rope_scaling: self.rope_scaling()?,
            max_position_embeddings: number("context_length")?,
            tie_word_embeddings: !self.content.tensor_infos.contains_key("output.weight"),
            qkv_bias: self.content.tensor_infos.contains_key("blk.0.attn_q.bias"),
            output_bias: self.content.tensor_infos.contains_key("blk.0.attn_output.bias"),
            bos_token_id: self.number("tokenizer.ggml.bos_token_id").map(|id| id as u32),
            eos_token_ids: self
                .number("tokenizer.ggml.eos_token_id")
                .map(|id| id as u32)
                .into_iter()
                .collect(),
        }
        .checked(&self.path)
    }

    fn rope_scaling(&self) -> Result<RotaryScaling, ModelError> {
        if !self.content.tensor_infos.contains_key("rope_freqs.weight") {
            return Ok(RotaryScaling::Default);
        }
        let divisors = self
            .quantised("rope_freqs.weight", &Device::Cpu)?
            .dequantize(&Device::Cpu)?
            .flatten_all()?;
        Ok(RotaryScaling::Divisors {
            divisors: divisors.to_vec1()?,
        })
    }

    fn quantised(&self, name: &str, device: &Device) -> Result<QTensor, ModelError> {
        let mut file = File::open(&self.path).map_err(|source| ModelError::Io {
            action: "open",
            path: self.path.clone(),
            source,
        })?;
        self.content
            .tensor(&mut file, name, device)
            .map_err(|error| ModelError::Weights {
                path: self.path.clone(),
                reason: format!("`{name}`: {error}"),
            })
    }
}

/// The weights of a GGUF file, dequantised or as they are.
pub(crate) struct GgufWeights<'a> {
    pub(crate) file: &'a GgufFile,
    pub(crate) config: &'a DecoderConfig,
    pub(crate) dtype: StoredDtype,
    pub(crate) device: Device,
}

/// The quantisations that have been checked against other readers of GGUF.
const SUPPORTED: [GgmlDType; 8] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q8_0,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q4K,
    GgmlDType::Q6K,
];

impl GgufWeights<'_> {
    fn load(&self, name: &str, shape: &[usize]) -> Result<QTensor, ModelError> {
        let stored = stored_name(name);
        let path = || self.file.path.clone();
        let Some(info) = self.file.content.tensor_infos.get(&stored) else {
            return Err(ModelError::MissingWeight {
                path: path(),
                name: stored,
            });
        };
        if info.shape.dims() != shape {
            let (found, expected) = (info.shape.dims().to_vec(), shape.to_vec());
            return Err(ModelError::WeightShape {
                path: path(),
                name: stored,
                found,
                expected,
            });
        }
        if !SUPPORTED.contains(&info.ggml_dtype) {
            let reason = format!("`{stored}` is stored as {:?}, which is not supported", info.ggml_dtype);
            return Err(ModelError::Weights { path: path(), reason });
        }
        self.file.quantised(&stored, &self.device)
    }

    /// Files of the Llama architecture store query and key rows so that neighbours rotate together; this puts them back
    /// into halves. Row 2i + j of a head (j = 0, 1) becomes row j · `head_dim`/2 + i.
    fn halves_together(&self, name: &str, weight: Tensor) -> candle_core::Result<Tensor> {
        let permuted = ["self_attn.q_proj.weight", "self_attn.k_proj.weight"]
            .iter()
            .any(|part| name.ends_with(part));
        if self.config.family != Family::Llama || !permuted {
            return Ok(weight);
        }
        let (rows, width) = weight.dims2()?;
        let half = self.config.head_dim / 2;
        weight
            .reshape((rows / self.config.head_dim, half, 2, width))?
            .transpose(1, 2)?
            .contiguous()?
            .reshape((rows, width))
    }
}

impl WeightSource for GgufWeights<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let weight = self.load(name, shape)?.dequantize(&self.device)?;
        let weight = self.halves_together(name, weight)?;
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

    fn pairing(&self) -> Pairing {
        // Quantised rows stay where the file has them.
        if self.dtype == StoredDtype::Native && self.config.family == Family::Llama {
            Pairing::Neighbours
        } else {
            Pairing::Halves
        }
    }
}

/// The GGUF name of a weight that is known by its Hugging Face name.
fn stored_name(name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    name.replace("model.layers.", "blk.")
        .replace("self_attn.q_proj", "attn_q")
        .replace("self_attn.k_proj", "attn_k")
        .replace("self_attn.v_proj", "attn_v")
        .replace("self_attn.o_proj", "attn_output")
        .replace("self_attn.q_norm", "attn_q_norm")
        .replace("self_attn.k_norm", "attn_k_norm")
        .replace("mlp.gate_proj", "ffn_gate")
        .replace("mlp.up_proj", "ffn_up")
        .replace("mlp.down_proj", "ffn_down")
        .replace("input_layernorm", "attn_norm")
        .replace("post_attention_layernorm", "ffn_norm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_gguf_convention() {
        for (ours, stored) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.layers.3.self_attn.q_proj.bias", "blk.3.attn_q.bias"),
            (
                "model.layers.11.post_attention_layernorm.weight",
                "blk.11.ffn_norm.weight",
            ),
            ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
            ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
            ("model.layers.0.self_attn.k_norm.weight", "blk.0.attn_k_norm.weight"),
        ] {
            assert_eq!(stored_name(ours), stored);
        }
    }
}
