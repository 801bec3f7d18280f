//! Weights in safetensors files: one file, or several with an index.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use leadspan_files::{is_plain_name, read_regular};
use safetensors::{Dtype, tensor::TensorView};
use serde::Deserialize;

use super::{
    float8::{dequantised, is_float8, stored_as},
    mapped::MappedWeights,
    runs::runs,
    text_names::TextNames,
    unread::{Read, SCALES_OF_ACTIVATIONS},
    weight_source::{WeightSource, chosen},
    widened::load,
};
use crate::{
    config::{
        DecoderConfig,
        json::{MOST_JSON_BYTES, parsed},
        quantization::{Quantization, refusal_beside},
    },
    error::ModelError,
};

/// The weight files of a model directory, in a fixed order.
///
/// # Errors
///
/// If there are none, or the index is damaged, points outside the directory or names a file of another format.
pub(crate) fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, ModelError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    // What is no file is refused when it is opened.
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let single = dir.join("model.safetensors");
    let index_path = dir.join("model.safetensors.index.json");
    if is_there(&single) {
        return Ok(vec![single]);
    }
    if !is_there(&index_path) {
        return Err(refusal_beside(dir).unwrap_or_else(|| ModelError::MissingFile {
            dir: dir.to_owned(),
            file: "model.safetensors",
        }));
    }
    let text = read_regular(&index_path, MOST_JSON_BYTES).map_err(|source| ModelError::Io {
        action: "read",
        path: index_path.clone(),
        source,
    })?;
    let index: Index = parsed(&text).map_err(|reason| ModelError::InvalidJson {
        path: index_path.clone(),
        reason,
    })?;
    let mut files = BTreeSet::new();
    for (weight, file) in index.weight_map {
        if !is_plain_name(&file) || file.contains('\\') {
            return Err(ModelError::IndexOutside {
                index: index_path,
                file,
            });
        }
        if !file.ends_with(SUFFIX) {
            return Err(ModelError::IndexEntry {
                index: index_path,
                weight,
                file,
            });
        }
        files.insert(file);
    }
    Ok(files.into_iter().map(|file| dir.join(file)).collect())
}

/// What the name of a weight file ends with.
const SUFFIX: &str = ".safetensors";

/// Memory-mapped safetensors files.
pub(crate) struct SafetensorsFiles {
    /// The directory, for messages.
    dir: PathBuf,
    paths: Vec<PathBuf>,
    files: Vec<MappedWeights>,
    /// The names of all tensors, and the file that each is in.
    names: BTreeMap<String, usize>,
    text: TextNames,
    quantization: Option<Quantization>,
    dtype: DType,
    device: Device,
}

/// What the name of a weight ends with if it is multiplied by a scale.
const WEIGHT: &str = ".weight";

/// What follows the name of a weight in the name of its scale.
const SCALES: [&str; 2] = ["_scale_inv", "_scale"];

/// What the name of a weight that GPTQ or AWQ packed ends with.
const PACKED: &str = ".qweight";

/// The part of a module that is added to its product.
const BIAS: &str = "bias";

/// The names of the embedding and of the head.
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

impl SafetensorsFiles {
    /// Maps the weight files of a model directory, whose configuration describes `quantization`.
    ///
    /// # Errors
    ///
    /// As [`weight_files`], and if a file cannot be opened or is damaged, files hold different weights of one name, or a scale
    /// has no weight.
    pub(crate) fn open(
        dir: &Path,
        quantization: Option<Quantization>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let paths = weight_files(dir)?;
        let files: Vec<MappedWeights> = paths
            .iter()
            .map(|path| MappedWeights::open(path))
            .collect::<Result<_, _>>()?;
        let wrong = |name: &str, reason: &str| ModelError::WeightFormat {
            path: dir.to_owned(),
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for (place, file) in files.iter().enumerate() {
            for name in file.names() {
                let earlier = names.get(&name).and_then(|&earlier| files[earlier].tensor(&name));
                if let (Some(earlier), Some(this)) = (earlier, file.tensor(&name))
                    && !is_same(&earlier, &this)
                {
                    return Err(wrong(&name, "two files have different weights of this name"));
                }
                names.insert(name, place);
            }
        }
        // Early versions of packing tools leave `config.json` as it was.
        if names.keys().any(|name| name.ends_with(PACKED))
            && let Some(refusal) = refusal_beside(dir)
        {
            return Err(refusal);
        }
        for name in names.keys() {
            let of_scale = SCALES.iter().find_map(|suffix| name.strip_suffix(suffix));
            if of_scale.is_some_and(|weight| weight.ends_with(WEIGHT) && !names.contains_key(weight)) {
                return Err(wrong(name, "it is the scale of a weight that is not there"));
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            paths,
            files,
            text: TextNames::of(|name| names.contains_key(name)),
            names,
            quantization,
            dtype,
            device: device.clone(),
        })
    }

    /// Refuses a head that differs from the embedding, for a configuration that says that the two are one.
    ///
    /// # Errors
    ///
    /// [`ModelError::TiedHead`].
    pub(crate) fn refuse_separate_head(&self) -> Result<(), ModelError> {
        let view = |name: &str| self.view(&self.text.stored(name));
        match (view(HEAD), view(EMBEDDING)) {
            (Some(head), Some(embedding)) if !is_same(&head, &embedding) => {
                Err(ModelError::TiedHead { path: self.dir.clone() })
            }
            _ => Ok(()),
        }
    }

    /// How many tensors the files hold.
    pub(crate) fn count(&self) -> usize {
        self.names.len()
    }

    /// Refuses a tensor that is neither in `read`, the weights that the decoder of `config` reads, nor one that changes nothing.
    ///
    /// # Errors
    ///
    /// [`ModelError::UnknownWeight`] for the first such tensor.
    pub(crate) fn refuse_unread(&self, read: &BTreeSet<String>, config: &DecoderConfig) -> Result<(), ModelError> {
        if !self.names.contains_key(&self.text.stored(EMBEDDING)) {
            // No name means anything here. The decoder says that there is no embedding.
            return Ok(());
        }
        let read = Read(read.iter().map(|name| self.text.stored(name)).collect());
        // It is the embedding.
        let tied = config.tie_word_embeddings.then(|| self.text.stored(HEAD));
        let is_unread = |name: &str| {
            !read.explains(name, config.family.description().left_out)
                && tied.as_deref() != Some(name)
                && !self.is_beside_float8(name, &read)
        };
        match self.names.iter().find(|(name, _)| is_unread(name)) {
            None => Ok(()),
            Some((name, &place)) => Err(ModelError::UnknownWeight {
                path: self.paths[place].clone(),
                name: name.clone(),
            }),
        }
    }

    /// Whether it is a part, other than a bias, of a module of which a weight of eight-bit floats is read. All of these are looked
    /// at when the weight is read.
    fn is_beside_float8(&self, name: &str, read: &Read) -> bool {
        let beside = name.rsplit_once('.').filter(|&(_, part)| part != BIAS);
        let weight = beside.map(|(module, _)| format!("{module}{WEIGHT}"));
        let weight = weight.filter(|weight| read.0.contains(weight));
        let stored = weight.and_then(|weight| self.view(&weight));
        stored.is_some_and(|stored| is_float8(stored.dtype()))
    }

    /// The tensor of a name, as it is stored.
    fn view(&self, name: &str) -> Option<TensorView<'_>> {
        self.files[*self.names.get(name)?].tensor(name)
    }

    fn missing(&self, name: &str) -> ModelError {
        ModelError::MissingWeight {
            path: self.dir.clone(),
            name: name.to_owned(),
        }
    }

    /// The numbers that a weight of eight-bit floats stands for.
    fn dequantised(&self, name: &str, weight: &TensorView<'_>) -> Result<Tensor, ModelError> {
        let refuse = |reason: String| self.refuse(name, reason);
        let stored = stored_as(weight.dtype());
        let Some(quantization) = &self.quantization else {
            let reason = format!("{stored} without a `quantization_config` in `config.json`");
            return Err(refuse(reason));
        };
        if quantization.leaves_out(name.strip_suffix(WEIGHT).unwrap_or(name)) {
            return Err(refuse(format!("{stored}: `config.json` says that it is not quantised")));
        }
        let scales: Vec<String> = self.beside(name).map(str::to_owned).collect();
        let [scale] = scales.as_slice() else {
            let there = match scales.as_slice() {
                [] => "it has no scale".to_owned(),
                several => format!("it has more than a scale: `{}`", several.join("`, `")),
            };
            return Err(refuse(format!("it is stored as {}, and {there}", weight.dtype())));
        };
        if !SCALES.iter().any(|suffix| name.to_owned() + suffix == *scale) {
            return Err(refuse(format!("it has a part that is not read: `{scale}`")));
        }
        let module = name.strip_suffix(&WEIGHT[1..]).unwrap_or(name);
        let parts = self.names.range(module.to_owned()..).map(|(name, _)| name.as_str());
        let mut parts = parts.take_while(|part| part.starts_with(module));
        let is_beside = |part: &str| part == BIAS || SCALES_OF_ACTIVATIONS.contains(&part);
        let other = parts.find(|part| !part.starts_with(name) && !is_beside(&part[module.len()..]));
        if let Some(other) = other {
            return Err(refuse(format!("it has a part that is not read: `{other}`")));
        }
        let scale = self.view(scale).ok_or_else(|| self.missing(scale))?;
        let values = dequantised(weight, &scale, quantization.scales).map_err(refuse)?;
        Ok(Tensor::from_vec(values, weight.shape(), &Device::Cpu)?)
    }

    /// The tensors that belong to a weight: their names begin with the weight's.
    fn beside(&self, name: &str) -> impl Iterator<Item = &str> {
        let follow = self
            .names
            .range::<str, _>((std::ops::Bound::Excluded(name), std::ops::Bound::Unbounded));
        let length = name.len();
        let name = name.to_owned();
        follow
            .map(|(name, _)| name.as_str())
            .take_while(move |other| other.starts_with(&name))
            .filter(move |other| other[length..].starts_with(['_', '.']))
    }
}

/// Whether two tensors are the same to the bit.
fn is_same(one: &TensorView<'_>, other: &TensorView<'_>) -> bool {
    one.dtype() == other.dtype() && one.shape() == other.shape() && one.data() == other.data()
}

impl SafetensorsFiles {
    /// The weight that is stored as `name`, if it has this shape and a type that is read.
    fn found(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, ModelError> {
        let view = self.view(name).ok_or_else(|| self.missing(name))?;
        if view.shape() != shape {
            return Err(ModelError::WeightShape {
                path: self.dir.clone(),
                name: name.to_owned(),
                found: view.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        match view.dtype() {
            dtype if is_float8(dtype) => Ok(view),
            dtype @ (Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) => match self.beside(name).next() {
                // Such as a scale: the numbers are not the weight as they stand.
                Some(part) => Err(self.refuse(name, format!("it is stored as {dtype}, but has a part `{part}`"))),
                None => Ok(view),
            },
            dtype => Err(self.refuse(name, stored_as(dtype))),
        }
    }

    fn refuse(&self, name: &str, reason: String) -> ModelError {
        ModelError::WeightFormat {
            path: self.dir.clone(),
            name: name.to_owned(),
            reason,
        }
    }
}

impl WeightSource for SafetensorsFiles {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let name = &self.text.stored(name);
        let view = self.found(name, shape)?;
        if is_float8(view.dtype()) {
            let values = self.dequantised(name, &view)?;
            return Ok(values.to_dtype(self.dtype)?.to_device(&self.device)?);
        }
        Ok(load(&view, self.dtype, &self.device)?)
    }

    fn rows(&mut self, name: &str, shape: [usize; 2], wanted: &[u32]) -> Result<Tensor, ModelError> {
        let stored = &self.text.stored(name);
        let view = self.found(stored, &shape)?;
        if is_float8(view.dtype()) {
            return chosen(&self.tensor(name, &shape)?, wanted);
        }
        let (data, row_bytes) = (view.data(), view.data().len() / shape[0].max(1));
        let bytes_of = |run: &Range<usize>| {
            let bytes = data.get(run.start * row_bytes..run.end * row_bytes);
            bytes.ok_or_else(|| self.refuse(stored, format!("it has no row {}", run.end - 1)))
        };
        let runs = runs(wanted);
        let bytes = match runs.as_slice() {
            [run] => Cow::Borrowed(bytes_of(run)?),
            runs => {
                let mut bytes = Vec::with_capacity(wanted.len() * row_bytes);
                for run in runs {
                    bytes.extend_from_slice(bytes_of(run)?);
                }
                Cow::Owned(bytes)
            }
        };
        let rows = TensorView::new(view.dtype(), vec![wanted.len(), shape[1]], &bytes)
            .map_err(|error| self.refuse(stored, error.to_string()))?;
        Ok(load(&rows, self.dtype, &self.device)?)
    }

    fn check(&mut self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        // Whether scales fit shows only when they are applied.
        if is_float8(self.found(&self.text.stored(name), shape)?.dtype()) {
            return self.tensor(name, shape).map(drop);
        }
        Ok(())
    }
}
