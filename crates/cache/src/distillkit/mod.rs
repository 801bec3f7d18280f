//! The layout in which DistillKit captures and trains from teacher distributions.
//!
//! DistillKit (github.com/arcee-ai/DistillKit) writes Parquet files of one row a sample: `input_ids`, and for every token but
//! the last a list of bytes with log-probabilities (`compressed_logprobs`) and one with token ids (`bytepacked_indices`). Row
//! j of a sample predicts token j + 1. `compression_config.yaml` says how many entries a position has and how they are
//! packed:
//!
//! ```text
//! compressed_logprobs   exact: exact_k numbers | coefficients: one a term | for each bin: scale, levels, zeros to a byte
//! bytepacked_indices    k ids of ⌈log₂ d⌉ bits, the highest bit first, zeros to a byte
//! ```
//!
//! Numbers are little-endian. Entry e is exact for e < `exact_k`. Entry `exact_k` + t is Σ c_i·f_i(t), with the terms f_i of
//! `polynomial_terms`, plus level·scale if a bin has it. With `delta_encoding`, entry e is the sum of the values 0 to e.
//!
//! - `yaml`: the part of YAML in which the settings are written;
//! - `settings`: the settings;
//! - `bits`: ids and levels of any number of bits;
//! - `values`: log-probabilities.
//!
//! Written from the layout and from examples; `tests/compare/hub.sh` compares it with what DistillKit's own code reads.

mod bits;
mod settings;
mod values;
mod yaml;

pub(crate) use bits::{pack, unpack};
pub(crate) use settings::{Quantization, WrongSettings};
pub(crate) use values::Decoder;

/// The name of the file with the settings, beside the Parquet files.
pub(crate) const SETTINGS: &str = "compression_config.yaml";
