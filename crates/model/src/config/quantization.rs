//! `quantization_config` in `config.json`: how the weights of a model are quantised.
//!
//! Only floats of eight bits with scales are read: as transformers writes them (`fp8`, `fbgemm_fp8`) and as
//! compressed-tensors does. Every other method is refused by name. What the scales of one weight are is decided where the
//! weight is read, because the tensors say it themselves; this module says which scales the configuration allows.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{json::read_object, keys::Keys};
use crate::error::ModelError;

/// How the weights of a model are quantised: floats of eight bits, each multiplied by a scale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Quantization {
    /// What shares a scale.
    pub(crate) scales: Scales,
    /// The modules that are said to be not quantised.
    unconverted: Vec<String>,
}

/// What shares a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scales {
    /// Blocks of so many rows and columns.
    Blocks([usize; 2]),
    /// Each whole weight, or each of its rows, as the shape of the scale shows.
    WholeOrRows,
    /// The configuration does not say: whole weights or rows, or else blocks of the usual size.
    Unstated,
}

/// The size of blocks that transformers assumes.
pub(crate) const USUAL_BLOCKS: [usize; 2] = [128, 128];

/// What is read, for messages.
const READ: &str = "of quantised weights only floats of eight bits are read (`fp8`, `fbgemm_fp8`, and `compressed-tensors` \
                    in the format `float-quantized`)";

/// How far compressed-tensors was when it saved a model. Published models in FP8 have each of them: the stored tensors say what they
/// are, and a weight that is not in FP8 but has a scale is refused when it is read.
const STATUSES: [&str; 4] = ["initialized", "calibration", "frozen", "compressed"];

/// The settings that early tools for GPTQ and AWQ write beside the weights, and not into `config.json`: the file, a key that
/// it has, and what to say of it.
const BESIDE: [(&str, &str, &str); 2] = [
    (
        "quantize_config.json",
        "bits",
        "the file is that of weights in GPTQ, and of quantised weights only floats of eight bits are read",
    ),
    (
        "quant_config.json",
        "w_bit",
        "the file is that of weights in AWQ, and of quantised weights only floats of eight bits are read",
    ),
];

/// The refusal of a model whose weights are packed, or missing, by the settings of the method that lie beside them in `dir`; `None`
/// if there are none.
pub(crate) fn refusal_beside(dir: &Path) -> Option<ModelError> {
    let (path, key, expected) = BESIDE
        .iter()
        .map(|(file, key, expected)| (dir.join(file), *key, *expected))
        .find(|(path, ..)| path.is_file())?;
    Some(match read_object(&path) {
        Ok(map) => Keys::new(&path, &map).refuse_quantization(key, expected),
        Err(error) => error,
    })
}

impl Quantization {
    /// The quantisation that the keys of a `config.json` describe; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the method is another than those that are read, or a key that the values depend on is not understood.
    pub(crate) fn read(keys: Keys<'_>) -> Result<Option<Self>, ModelError> {
        // The second key is an older name of compressed-tensors.
        for key in ["quantization_config", "compression_config"] {
            if let Some(table) = keys.optional_object(key)? {
                return Self::of(table).map(Some);
            }
        }
        Ok(None)
    }

    fn of(table: Keys<'_>) -> Result<Self, ModelError> {
        match table.text("quant_method") {
            Some("fp8") => {
                if !matches!(table.text("expert_dtype"), None | Some("fp8")) {
                    return Err(table.refuse_quantization("expert_dtype", READ));
                }
                let scales = match table.raw("weight_block_size") {
                    None => Scales::Unstated,
                    Some(Value::Null) => Scales::WholeOrRows,
                    Some(_) => Scales::Blocks(block_size(table, "weight_block_size")?),
                };
                let unconverted = match names(table, "modules_to_not_convert")? {
                    Some(names) => names,
                    None => names(table, "ignored_layers")?.unwrap_or_default(),
                };
                Ok(Self { scales, unconverted })
            }
            Some("fbgemm_fp8") => Ok(Self {
                scales: Scales::WholeOrRows,
                unconverted: names(table, "modules_to_not_convert")?.unwrap_or_default(),
            }),
            Some("compressed-tensors") => compressed_tensors(table),
            _ => Err(table.refuse_quantization("quant_method", READ)),
        }
    }

    /// Whether the configuration names a module as not quantised. Expressions in its list count as not naming it.
    pub(crate) fn leaves_out(&self, module: &str) -> bool {
        self.unconverted.iter().any(|name| {
            let is_part = |rest: &str| rest.is_empty() || rest.starts_with('.');
            let is_end = |rest: &str| rest.is_empty() || rest.ends_with('.');
            !name.is_empty()
                && (module.strip_prefix(name.as_str()).is_some_and(is_part)
                    || module.strip_suffix(name.as_str()).is_some_and(is_end))
        })
    }
}

/// Reads what compressed-tensors writes.
fn compressed_tensors(table: Keys<'_>) -> Result<Quantization, ModelError> {
    if let Some(status) = table.get("quantization_status")
        && !status.as_str().is_some_and(|status| STATUSES.contains(&status))
    {
        let expected = "of compressed-tensors only `initialized`, `calibration`, `frozen` and `compressed` are known";
        return Err(table.refuse_quantization("quantization_status", expected));
    }
    let is_float = |format: &str| ["float-quantized", "naive-quantized"].contains(&format);
    if !table.text("format").is_some_and(is_float) {
        return Err(table.refuse_quantization("format", READ));
    }
    if let Some(sparsity) = table.optional_object("sparsity_config")?
        && !matches!(sparsity.text("format"), None | Some("dense"))
    {
        return Err(sparsity.refuse_quantization("format", "sparse weights are not read"));
    }
    if table
        .optional_object("transform_config")?
        .is_some_and(|transforms| !transforms.is_empty())
    {
        return Err(table.refuse_quantization("transform_config", "transformed weights are not read"));
    }
    let Some(groups) = table
        .optional_object("config_groups")?
        .filter(|groups| !groups.is_empty())
    else {
        return Err(table.refuse_quantization("config_groups", "it must say how the weights are quantised"));
    };
    let mut found = None;
    for name in groups.names() {
        let group = groups
            .object(name)
            .ok_or_else(|| groups.refuse_quantization(name, "it must be an object"))?;
        if group.get("format").is_some() && !group.text("format").is_some_and(is_float) {
            return Err(group.refuse_quantization("format", READ));
        }
        let scales = scales_of_group(group)?;
        if found.is_some_and(|found| found != scales) {
            let expected = "all groups must have scales of one kind";
            return Err(table.refuse_quantization("config_groups", expected));
        }
        found = Some(scales);
    }
    Ok(Quantization {
        scales: found.unwrap_or(Scales::WholeOrRows),
        unconverted: names(table, "ignore")?.unwrap_or_default(),
    })
}

/// The scales of one of the groups of compressed-tensors.
fn scales_of_group(group: Keys<'_>) -> Result<Scales, ModelError> {
    let Some(weights) = group.optional_object("weights")? else {
        return Err(group.refuse_quantization("weights", "it must say how the weights are quantised"));
    };
    if weights.text("type") != Some("float") {
        return Err(weights.refuse_quantization("type", READ));
    }
    if weights.optional_number("num_bits")? != Some(8) {
        return Err(weights.refuse_quantization("num_bits", READ));
    }
    if weights
        .get("symmetric")
        .is_some_and(|symmetric| symmetric != &Value::Bool(true))
    {
        return Err(weights.refuse_quantization("symmetric", "weights with a zero point are not read"));
    }
    match weights.text("strategy") {
        Some("tensor" | "channel") => Ok(Scales::WholeOrRows),
        Some("block") => block_size(weights, "block_structure").map(Scales::Blocks),
        _ => Err(weights.refuse_quantization("strategy", "only `tensor`, `channel` and `block` are read")),
    }
}

/// The rows and columns of a block.
fn block_size(table: Keys<'_>, key: &str) -> Result<[usize; 2], ModelError> {
    let sizes = table.get(key).and_then(Value::as_array).map(|sizes| {
        let sizes = sizes.iter().filter_map(Value::as_u64);
        sizes.filter_map(|size| usize::try_from(size).ok()).collect::<Vec<_>>()
    });
    match sizes.as_deref() {
        Some(&[rows, columns]) if rows > 0 && columns > 0 => Ok([rows, columns]),
        _ => Err(table.refuse_quantization(key, "it must be two positive numbers")),
    }
}

/// A list of names; `None` if there is none.
fn names(table: Keys<'_>, key: &str) -> Result<Option<Vec<String>>, ModelError> {
    let Some(value) = table.get(key) else { return Ok(None) };
    let names = value.as_array().and_then(|names| {
        let names = names.iter().map(|name| name.as_str().map(str::to_owned));
        names.collect::<Option<Vec<String>>>()
    });
    match names {
        Some(names) => Ok(Some(names)),
        None => Err(table.refuse_quantization(key, "it must be a list of names")),
    }
}
