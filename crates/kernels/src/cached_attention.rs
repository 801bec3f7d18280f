//! Attention of one new token of each of several samples, over the stored keys and values of the sample's past.

use candle_core::{Result, Tensor};

use crate::{attention_shape::AttentionShape, cpu::cached_attention as fused, stock::cached_attention as stock};

/// The keys and values of one sample's tokens in one layer.
#[derive(Debug)]
pub struct KeyValues(Stored);

#[derive(Debug)]
enum Stored {
    /// In the layout of the fused operation, one part for each key-value head.
    Fused(Vec<fused::Head>),
    /// As tensors: keys and values, `[T, key-value heads · D]` each.
    Stock(Tensor, Tensor),
}

impl KeyValues {
    /// A copy of the rows `first..first + count` of `keys` and `values`, `[N, key-value heads · D]`, for the fused or the
    /// stock operation.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn new(
        (keys, values): (&Tensor, &Tensor),
        (first, count): (usize, usize),
        shape: AttentionShape,
        fused: bool,
    ) -> Result<Self> {
        if !fused {
            let part = |x: &Tensor| x.narrow(0, first, count)?.copy();
            return Ok(Self(Stored::Stock(part(keys)?, part(values)?)));
        }
        let heads = fused::heads((keys, values), (first, count), shape)?;
        Ok(Self(Stored::Fused(heads)))
    }
}

/// Appends the keys and values of one new token to each sample, then computes the attention of the queries over all tokens
/// of their samples, or the newest if the shape has a window.
///
/// # Shapes
///
/// Keys and values are `[N, key-value heads · D]`, queries and the result `[N, heads · D]`. Row i belongs to sample i. If
/// there are more rows than samples, the results of the other rows are zero.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn cached_attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    shape: AttentionShape,
    samples: &mut [&mut KeyValues],
) -> Result<Tensor> {
    if samples.iter().all(|sample| matches!(sample.0, Stored::Fused(_))) {
        let heads = samples.iter_mut().flat_map(|sample| match &mut sample.0 {
            Stored::Fused(heads) => heads.iter_mut(),
            Stored::Stock(..) => [].iter_mut(),
        });
        return fused::attend(queries, keys, values, shape, heads.collect());
    }
    let (rows, width) = queries.dims2()?;
    let mut attended = Vec::with_capacity(samples.len() + 1);
    for (row, sample) in samples.iter_mut().enumerate() {
        if let Stored::Stock(all_keys, all_values) = &mut sample.0 {
            *all_keys = Tensor::cat(&[&*all_keys, &keys.narrow(0, row, 1)?], 0)?;
            *all_values = Tensor::cat(&[&*all_values, &values.narrow(0, row, 1)?], 0)?;
            attended.push(stock::attend(&queries.narrow(0, row, 1)?, all_keys, all_values, shape)?);
        }
    }
    if attended.len() < rows {
        attended.push(Tensor::zeros(
            (rows - attended.len(), width),
            queries.dtype(),
            queries.device(),
        )?);
    }
    Tensor::cat(&attended, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    use crate::{Kernels, Packed, attention};

    fn values(seed: usize, rows: usize, width: usize) -> Tensor {
        let values: Vec<f32> = (0..rows * width)
            .map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 253.25 - 2.0)
            .collect();
        Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
    }

    #[test]
    fn the_last_token_of_a_sequence_gets_the_same_attention_from_stored_keys_and_values() {
        for (heads, key_value_heads, head_dim, window) in [
            (9, 3, 64, None),
            (4, 2, 8, None),
            (2, 1, 6, None),
            (3, 3, 20, None),
            (4, 2, 8, Some(17)),
            (2, 1, 6, Some(1)),
        ] {
            let shape = AttentionShape {
                window,
                score_scale: window.map(|_| 0.3),
                ..AttentionShape::new(heads, key_value_heads, head_dim)
            };
            let lengths = [1usize, 2, 16, 17, 33, 150];
            let rows = lengths.iter().sum();
            let queries = values(1, rows, heads * head_dim);
            let (keys, vals) = (
                values(2, rows, key_value_heads * head_dim),
                values(3, rows, key_value_heads * head_dim),
            );
            let tokens: Vec<Vec<u32>> = lengths.iter().map(|&length| vec![0; length]).collect();
            let packed = Packed::new(tokens.iter().map(Vec::as_slice));
            let whole = attention(&queries, &keys, &vals, shape, packed.shared_edges(), Kernels::Stock).unwrap();
            let last: Vec<u32> = packed.edges()[1..].iter().map(|&end| end as u32 - 1).collect();
            let last = Tensor::new(last, &Device::Cpu).unwrap();
            let of_last = |x: &Tensor| x.index_select(&last, 0).unwrap();
            for fused in [true, false] {
                let mut kept: Vec<KeyValues> = packed
                    .edges()
                    .windows(2)
                    .map(|edge| KeyValues::new((&keys, &vals), (edge[0], edge[1] - edge[0] - 1), shape, fused).unwrap())
                    .collect();
                let mut kept: Vec<&mut KeyValues> = kept.iter_mut().collect();
                let step = cached_attention(&of_last(&queries), &of_last(&keys), &of_last(&vals), shape, &mut kept);
                let difference = (step.unwrap() - of_last(&whole)).unwrap().abs().unwrap();
                let difference: f32 = difference.flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap();
                assert!(difference < 2e-5, "{shape:?} {fused}: {difference}");
            }
        }
    }
}
