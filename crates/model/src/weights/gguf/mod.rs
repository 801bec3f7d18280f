//! Models in one GGUF file: architecture, tokenizer and (quantised) weights.

mod alignment;

use std::{
    fs::File,
    io::{BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::{
    DType, Device, Tensor,
    quantized::{
        GgmlDType, QMatMul, QTensor,
        ggml_file::qtensor_from_ggml,
        gguf_file::{Content, TensorInfo, Value},
    },
};

use crate::{
    DecoderConfig, Experts, Family, ModelError, RotaryScaling, StoredDtype,
    config::yarn_attention_factor,
    kernels::{Pairing, Weight},
    weights::projection::Projection,
    weights::weight_source::{Embedding, WeightSource},
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
        let mut header = BufReader::new(file);
        if alignment::is_nothing(&mut header) {
            return Err(damaged("it aligns its tensors to multiples of nothing".to_owned()));
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
        let Some(family) = Family::from_gguf_name(&architecture) else {
            let expected = "this decoder knows `llama`, `qwen2`, `qwen3` and `qwen3moe`";
            return Err(refuse("general.architecture".into(), architecture, expected));
        };
        let key = |suffix: &str| format!("{architecture}.{suffix}");
        let number = |suffix: &str| {
            self.number(&key(suffix))
                .map(|value| value as usize)
                .ok_or_else(|| refuse(key(suffix), "missing".into(), "it must be given as a whole number"))
        };
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
            experts: self.experts(family, &number)?,
            vocab_size: embedding.shape.dims().first().copied().unwrap_or(0),
            hidden_size,
            // A mixture without dense layers may leave it out.
            intermediate_size: number("feed_forward_length").or_else(|_| number("expert_feed_forward_length"))?,
            num_hidden_layers: number("block_count")?,
            num_attention_heads,
            num_key_value_heads: number("attention.head_count_kv").unwrap_or(num_attention_heads),
            head_dim: number("attention.key_length").unwrap_or(hidden_size / num_attention_heads.max(1)),
            rms_norm_eps: self.float(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-5),
            rope_theta: self.float(&key("rope.freq_base")).unwrap_or(10_000.0),
            rope_scaling: self.rope_scaling(&architecture, number("context_length")?)?,
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

    fn rope_scaling(&self, architecture: &str, context: usize) -> Result<RotaryScaling, ModelError> {
        let prefix = format!("{architecture}.rope.scaling.");
        let refuse = |suffix: &str, found: String, expected: &str| ModelError::Config {
            path: self.path.clone(),
            key: format!("{prefix}{suffix}"),
            found,
            expected: expected.to_owned(),
        };
        match self.text(&format!("{prefix}type")) {
            None | Some("none") if self.content.tensor_infos.contains_key("rope_freqs.weight") => {
                let divisors = self
                    .quantised("rope_freqs.weight", &Device::Cpu)?
                    .dequantize(&Device::Cpu)?
                    .flatten_all()?;
                Ok(RotaryScaling::Divisors {
                    divisors: divisors.to_vec1()?,
                })
            }
            None | Some("none") => Ok(RotaryScaling::Default),
            Some("yarn") => {
                let known = ["type", "factor", "original_context_length", "finetuned"];
                let mut suffixes: Vec<&str> = self
                    .content
                    .metadata
                    .keys()
                    .filter_map(|key| key.strip_prefix(&prefix))
                    .collect();
                suffixes.sort_unstable();
                if let Some(other) = suffixes.into_iter().find(|suffix| !known.contains(suffix)) {
                    return Err(refuse(
                        other,
                        "set".into(),
                        "`yarn` is only known with its usual parameters",
                    ));
                }
                let missing = || refuse("factor", "missing".into(), "`yarn` needs it as a number");
                let factor = self.float(&format!("{prefix}factor")).ok_or_else(missing)?;
                let original = self.number(&format!("{prefix}original_context_length"));
                Ok(RotaryScaling::Yarn {
                    factor,
                    original_max_position_embeddings: original.map_or(context, |original| original as usize),
                    attention_factor: yarn_attention_factor(factor),
                    beta_fast: 32.0,
                    beta_slow: 1.0,
                    truncate: true,
                })
            }
            Some(other) => Err(refuse("type", other.to_owned(), "only `none` and `yarn` are supported")),
        }
    }

    /// The experts of a mixture; which layers have them is told by their tensors.
    fn experts(
        &self,
        family: Family,
        number: &dyn Fn(&str) -> Result<usize, ModelError>,
    ) -> Result<Option<Experts>, ModelError> {
        if family != Family::Qwen3Moe {
            return Ok(None);
        }
        let has_experts = |layer: &usize| {
            let router = stored_name(&format!("model.layers.{layer}.mlp.gate.weight"));
            self.content.tensor_infos.contains_key(&router)
        };
        // No more layers than there are tensors, however many the header claims.
        let layers = number("block_count")?.min(self.content.tensor_infos.len());
        Ok(Some(Experts {
            count: number("expert_count")?,
            per_token: number("expert_used_count")?,
            intermediate_size: number("expert_feed_forward_length")?,
            // The format does not say; whoever writes and reads this architecture means it so.
            normalize: true,
            layers: (0..layers).filter(has_experts).collect(),
        }))
    }

    fn quantised(&self, name: &str, device: &Device) -> Result<QTensor, ModelError> {
        let info = &self.content.tensor_infos[name];
        self.part(name, info, 0, info.shape.dims().to_vec(), device)
    }

    /// Part `index` of a stored tensor, of which the parts of this shape lie one after the other.
    fn part(
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
        // `open` found the whole tensor inside the file, so this neither overflows nor asks for more than there is.
        let bytes = elements / info.ggml_dtype.block_size() * info.ggml_dtype.type_size();
        let start = self.content.tensor_data_offset + info.offset + (index * bytes) as u64;
        let mut raw = vec![0; bytes];
        let mut file = File::open(&self.path).map_err(|source| io("open", source))?;
        file.seek(SeekFrom::Start(start))
            .and_then(|_| file.read_exact(&mut raw))
            .map_err(|source| io("read", source))?;
        qtensor_from_ggml(info.ggml_dtype, &raw, shape, device).map_err(|error| unreadable(error.to_string()))
    }
}

/// How much of the file a tensor takes, where that is a number.
fn size_in_bytes(info: &TensorInfo) -> Option<u64> {
    let elements = info
        .shape
        .dims()
        .iter()
        .try_fold(1u64, |product, &size| product.checked_mul(size as u64))?;
    (elements / info.ggml_dtype.block_size() as u64).checked_mul(info.ggml_dtype.type_size() as u64)
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
        // The experts of a layer lie in one tensor, one after the other.
        let expert = expert_of(name);
        let (stored, expected, index) = match (&expert, &self.config.experts) {
            (Some((whole, index)), Some(experts)) => (stored_name(whole), [&[experts.count], shape].concat(), *index),
            _ => (stored_name(name), shape.to_vec(), 0),
        };
        let path = || self.file.path.clone();
        let Some(info) = self.file.content.tensor_infos.get(&stored) else {
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
        if !SUPPORTED.contains(&info.ggml_dtype) {
            let reason = format!("`{stored}` is stored as {:?}, which is not supported", info.ggml_dtype);
            return Err(ModelError::Weights { path: path(), reason });
        }
        self.file.part(&stored, info, index, shape.to_vec(), &self.device)
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

/// The name without the number of an expert, and the number, where it is a weight of one.
fn expert_of(name: &str) -> Option<(String, usize)> {
    const EXPERTS: &str = ".mlp.experts.";
    let (layer, rest) = name.split_once(EXPERTS)?;
    let (index, part) = rest.split_once('.')?;
    Some((format!("{layer}{EXPERTS}{part}"), index.parse().ok()?))
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
        .replace("mlp.gate.weight", "ffn_gate_inp.weight")
        .replace("mlp.experts.gate_proj", "ffn_gate_exps")
        .replace("mlp.experts.up_proj", "ffn_up_exps")
        .replace("mlp.experts.down_proj", "ffn_down_exps")
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
            ("model.layers.7.mlp.gate.weight", "blk.7.ffn_gate_inp.weight"),
        ] {
            assert_eq!(stored_name(ours), stored);
        }
        let (whole, index) = expert_of("model.layers.2.mlp.experts.17.up_proj.weight").unwrap();
        assert_eq!((stored_name(&whole).as_str(), index), ("blk.2.ffn_up_exps.weight", 17));
        assert_eq!(expert_of("model.layers.2.mlp.up_proj.weight"), None);
    }
}
