//! Whether the fused operations of a GPU give what the stock ones give, on a small case of ragged sequences.
//!
//! Kernels that nobody has run on a certain GPU, driver or shape before must not make a cache that is wrong without a word. So
//! they are compared when a model is loaded, in about a second.

use std::fmt;

use candle_core::{D, DType, Result, Tensor};
use leadspan_kernels::{GradientSum, Kernels, Packed, has_fused_form, has_layer_kernels, select_rows};

use super::{Decoder, layer::DecoderLayer};

/// Lengths of the sequences: around the edges of tiles, and short ones, in which one wrong key weighs much.
const LENGTHS: [usize; 9] = [1, 2, 3, 5, 17, 63, 64, 65, 129];
/// The largest difference of a row, relative to what a layer adds to it: a 16-bit format rounds a hundredth of it away.
const LARGEST_DIFFERENCE: f64 = 0.1;
/// The largest relative difference of logits, whose factors are the same numbers on both sides.
const LARGEST_LOGIT_DIFFERENCE: f64 = 2e-3;
/// The rows of the table whose gradients are compared: several tokens fall on each.
const SMALL_TABLE: usize = 97;
/// The tokens that are selected of each row.
const SELECTED: usize = 16;

/// Why a decoder does not use the fused operations.
#[derive(Clone, Debug, PartialEq)]
pub enum Distrust {
    /// There are no kernels for its shape.
    NoKernels {
        /// The width of a head.
        head_dim: usize,
        /// The width of a row.
        hidden: usize,
    },
    /// There are none for windows, multipliers, norms after blocks or GELU, some of which the model has.
    NotPlain,
    /// There are none for low-rank adapters, which the model has.
    Adapted,
    /// They give something else than the stock operations.
    Differs {
        /// What was compared.
        what: String,
        /// The difference, relative to what is right.
        by: f64,
    },
    /// They cannot be run.
    Fails {
        /// The error of the device.
        reason: String,
    },
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKernels { head_dim, hidden } => {
                write!(
                    f,
                    "there are no fused kernels for heads of {head_dim} and rows of {hidden} numbers"
                )
            }
            Self::NotPlain => f.write_str(
                "there are no fused kernels for parts of this family, such as windows, multipliers, norms after blocks or GELU",
            ),
            Self::Adapted => f.write_str("there are no fused kernels for LoRA adapters"),
            Self::Differs { what, by } => {
                write!(
                    f,
                    "the fused kernels give another result than stock operations: {what} is off by {by:.1e}"
                )
            }
            Self::Fails { reason } => write!(f, "the fused kernels fail on this device: {reason}"),
        }
    }
}

impl Decoder {
    /// The same decoder with these kernels, but with stock operations if the fused ones of its device cannot be trusted, and
    /// the reason. On the CPU nothing is compared: its operations are those that the tests have compared.
    #[must_use]
    pub fn with_trusted_kernels(self, kernels: Kernels) -> Self {
        let fused = self.with_kernels(kernels);
        let dtype = fused.norm().weight.tensor().dtype();
        if fused.kernels() == Kernels::Stock || fused.device().is_cpu() || !has_fused_form(fused.device(), dtype) {
            return fused;
        }
        let config = fused.config();
        let (head_dim, hidden) = (config.head_dim, config.hidden_size);
        let distrust = if has_layer_kernels(head_dim, &[hidden, config.intermediate_size]) {
            match fused.compared() {
                Ok(distrust) => distrust,
                Err(error) => Some(Distrust::Fails {
                    reason: error.to_string(),
                }),
            }
        } else {
            Some(Distrust::NoKernels { head_dim, hidden })
        };
        match distrust {
            None => fused,
            Some(distrust) => fused.distrusting(distrust),
        }
    }

    /// The first difference between fused and stock operations that is too large.
    fn compared(&self) -> Result<Option<Distrust>> {
        let packed = self.ragged();
        let input = self.embed(&packed).map_err(candle_core::Error::wrap)?;
        let ends = [self.layers().first(), self.layers().last()];
        for (name, layer) in ["the first layer", "the last layer"].into_iter().zip(ends) {
            let Some(layer) = layer else { continue };
            let by = self.layer_difference(layer, &input, &packed)?;
            if by.is_nan() || by > LARGEST_DIFFERENCE {
                return Ok(Some(Distrust::Differs {
                    what: name.to_owned(),
                    by,
                }));
            }
        }
        if self.norm().weight.gradient().is_some()
            && let Some(distrust) = self.wrong_gradients(&input, &packed)?
        {
            return Ok(Some(distrust));
        }
        let rows = self.norm().forward(&input, Kernels::Stock)?;
        let stock = self.head().scores(&rows, Kernels::Stock)?;
        let fused = self.head().scores(&rows, Kernels::Fused)?;
        let by = largest_row_difference(&fused, &stock, &stock)?;
        if by.is_nan() || by > LARGEST_LOGIT_DIFFERENCE {
            return Ok(Some(Distrust::Differs {
                what: "a row of logits".to_owned(),
                by,
            }));
        }
        Ok(wrong_selection(&stock, packed.tokens())?.map(|by| Distrust::Differs {
            what: "the selection of the largest logits".to_owned(),
            by,
        }))
    }

    /// The first gradient of the first layer that the fused operations do not give as the stock ones do.
    fn wrong_gradients(&self, input: &Tensor, packed: &Packed) -> Result<Option<Distrust>> {
        let Some(layer) = self.layers().first() else {
            return Ok(None);
        };
        let stock = self.layer_gradients(layer, input, packed, Kernels::Stock)?;
        let fused = self.layer_gradients(layer, input, packed, Kernels::Fused)?;
        for (number, (fused, stock)) in fused.iter().zip(&stock).enumerate() {
            let norm = |x: &Tensor| Ok::<_, candle_core::Error>(x.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt());
            let by = f64::from(norm(&(fused - stock)?)? / norm(stock)?);
            if by.is_nan() || by > LARGEST_DIFFERENCE {
                let what = match number {
                    0 => "the gradient of the first layer's input".to_owned(),
                    number => format!("the gradient of weight {number} of the first layer"),
                };
                return Ok(Some(Distrust::Differs { what, by }));
            }
        }
        let by = self.embedding_difference(input, packed)?;
        Ok((by.is_nan() || by > LARGEST_DIFFERENCE).then(|| Distrust::Differs {
            what: "the gradient of the embedding".to_owned(),
            by,
        }))
    }

    /// The difference of the gradients of the embedding where the gradient of its rows is `input`, relative to what is right.
    /// A small table stands for the embedding: the largest tensor need not be there twice.
    fn embedding_difference(&self, input: &Tensor, packed: &Packed) -> Result<f64> {
        let rows = SMALL_TABLE.min(self.config().vocab_size);
        let places: Vec<u32> = packed.tokens().iter().map(|token| token % rows as u32).collect();
        let table = Tensor::zeros((rows, input.dim(1)?), DType::F32, self.device())?;
        let gradient = |kernels: Kernels| {
            let sum = GradientSum::new(&table)?;
            sum.add_rows(input, &places, kernels)?;
            sum.add_rows(input, &places, kernels)?;
            sum.get().map_or_else(|| Ok(table.clone()), Tensor::copy)
        };
        let (fused, stock) = (gradient(Kernels::Fused)?, gradient(Kernels::Stock)?);
        largest_row_difference(&fused, &stock, &stock)
    }

    /// Ragged sequences of tokens from all over the vocabulary.
    fn ragged(&self) -> Packed {
        let (vocabulary, context) = (self.config().vocab_size as u64, self.config().context());
        let mut state = 1u64;
        let mut token = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % vocabulary) as u32
        };
        let sequences: Vec<Vec<u32>> = LENGTHS
            .iter()
            .map(|&length| (0..length.min(context)).map(|_| token()).collect())
            .collect();
        Packed::new(sequences.iter().map(Vec::as_slice))
    }

    /// The largest difference of a row after a layer, relative to what the layer adds to it.
    fn layer_difference(&self, layer: &DecoderLayer, input: &Tensor, packed: &Packed) -> Result<f64> {
        let output = |kernels: Kernels| {
            layer
                .forward(input, packed, self.rotary(), kernels)?
                .to_dtype(DType::F32)
        };
        let (fused, stock) = (output(Kernels::Fused)?, output(Kernels::Stock)?);
        let added = (&stock - input.to_dtype(DType::F32)?)?;
        largest_row_difference(&fused, &stock, &added)
    }
}

/// max over rows of |a − b| / |scale|, of matrices in single precision.
fn largest_row_difference(a: &Tensor, b: &Tensor, scale: &Tensor) -> Result<f64> {
    let squares = |x: &Tensor| x.sqr()?.sum(D::Minus1)?.to_vec1::<f32>();
    let (off, whole) = (squares(&(a - b)?)?, squares(scale)?);
    let ratios = off.iter().zip(&whole).map(|(&off, &whole)| {
        let (off, whole) = (f64::from(off), f64::from(whole));
        if off == 0.0 { 0.0 } else { (off / whole).sqrt() }
    });
    // A ratio that is no number must not get lost in a maximum.
    Ok(ratios.fold(0.0, |largest: f64, ratio| {
        if ratio.is_nan() || ratio > largest {
            ratio
        } else {
            largest
        }
    }))
}

/// How far the device's selection is from what the host finds in the same logits; `None` if it is right or the device has none.
fn wrong_selection(logits: &Tensor, targets: &[u32]) -> Result<Option<f64>> {
    let (rows, vocabulary) = logits.dims2()?;
    let k = SELECTED.min(vocabulary);
    let Some(selecting) = select_rows(logits, targets, k, &[], Kernels::Fused)? else {
        return Ok(None);
    };
    let selected = selecting.wait()?;
    let mut largest = 0f64;
    for (row, logits) in logits.to_vec2::<f32>()?.iter().enumerate().take(rows) {
        let mut order: Vec<u32> = (0..vocabulary as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        if selected.token_ids[row * k..(row + 1) * k] != order[..k] {
            return Ok(Some(1.0));
        }
        let sum: f64 = order[k..]
            .iter()
            .map(|&token| f64::from(logits[token as usize]).exp())
            .sum();
        if k < vocabulary {
            largest = largest.max((selected.others[row * selected.sums] - sum.ln()).abs());
        }
    }
    Ok((largest > LARGEST_LOGIT_DIFFERENCE || largest.is_nan()).then_some(largest))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Device;

    use super::*;
    use crate::{ModelSource, StoredDtype};

    #[test]
    fn operations_that_agree_are_trusted_and_a_layer_that_differs_is_noticed() {
        let tiny = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/tiny-teacher"
        ));
        let source = ModelSource::open(tiny).unwrap();
        let decoder = Decoder::load(&source, StoredDtype::F32, &Device::Cpu).unwrap();
        assert_eq!((decoder.compared().unwrap(), decoder.distrust()), (None, None));
        // One layer's result for the other's.
        let packed = decoder.ragged();
        let input = decoder.embed(&packed).unwrap();
        let [first, last] = [&decoder.layers()[0], decoder.layers().last().unwrap()].map(|layer| {
            layer
                .forward(&input, &packed, decoder.rotary(), Kernels::Stock)
                .unwrap()
        });
        let added = (&first - &input).unwrap();
        assert!(largest_row_difference(&last, &first, &added).unwrap() > LARGEST_DIFFERENCE);
    }

    #[test]
    fn the_largest_difference_of_a_row_is_found_and_what_is_no_number_is_not_lost() {
        let matrix = |values: [f32; 4]| Tensor::from_slice(&values, (2, 2), &Device::Cpu).unwrap();
        let (a, b) = (matrix([1.0, 1.0, 2.0, 2.0]), matrix([1.0, 1.0, 2.0, 5.0]));
        let scale = matrix([1.0, 1.0, 3.0, 4.0]);
        assert!((largest_row_difference(&a, &b, &scale).unwrap() - 0.6).abs() < 1e-6);
        let damaged = matrix([f32::NAN, 1.0, 2.0, 2.0]);
        assert!(largest_row_difference(&damaged, &b, &scale).unwrap().is_nan());
    }
}
