//! The fused form of every operation compared with its stock form and with finite differences, forward and backward.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;

use crate::{
    AttentionShape, GradientSum, Kernels, Packed, Pairing, RotaryTable, Weight, add_scaled, attention,
    cpu::slices::add_rows, geglu, linear, linear_of_two, rms_norm, rms_norm_around_one, rotate, scaled, swiglu,
};

/// An operation: from inputs and weights to an output.
type Operation<'a> = dyn Fn(&[Tensor], &[Weight]) -> Result<Tensor> + 'a;

/// An operation in the form that is given last.
type InBothForms<'a> = dyn Fn(&[Tensor], &[Weight], Kernels) -> Result<Tensor> + 'a;

/// Pseudo-random numbers between −1 and 1.
fn values(seed: u64, shape: &[usize]) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let count = shape.iter().product();
    Tensor::from_vec((0..count).map(|_| next()).collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
}

fn learning(tensor: &Tensor) -> (Weight, Var) {
    let variable = Var::from_tensor(tensor).unwrap();
    let gradient = GradientSum::new(tensor).unwrap();
    (Weight::learning(variable.as_tensor().clone(), gradient), variable)
}

/// The output of an operation, and the gradients of Σ output · g with respect to all inputs and weights.
fn run(inputs: &[Tensor], weights: &[Tensor], operation: &Operation<'_>) -> (Tensor, Vec<Tensor>) {
    let inputs: Vec<Var> = inputs.iter().map(|input| Var::from_tensor(input).unwrap()).collect();
    let (weights, variables): (Vec<Weight>, Vec<Var>) = weights.iter().map(learning).unzip();
    let tensors: Vec<Tensor> = inputs.iter().map(|input| input.as_tensor().clone()).collect();
    let output = operation(&tensors, &weights).unwrap();
    let store = (&output * values(99, output.dims()))
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    let mut gradients: Vec<Tensor> = inputs
        .iter()
        .map(|input| store.get(input.as_tensor()).unwrap().clone())
        .collect();
    for (weight, variable) in weights.iter().zip(&variables) {
        // Fused operations add to the gradient in place, stock ones leave it in the graph.
        let in_place = weight.gradient().unwrap().get().cloned();
        gradients.push(in_place.or_else(|| store.get(variable.as_tensor()).cloned()).unwrap());
    }
    (output.detach(), gradients)
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    if difference.elem_count() == 0 {
        return 0.0;
    }
    difference.max(0).unwrap().to_scalar().unwrap()
}

/// Asserts that both forms agree, up to the single-precision rounding of sums of a few hundred terms of unit size, and that
/// the fused form gives the same bits without tracking.
fn assert_forms_agree(inputs: &[Tensor], weights: &[Tensor], operation: &InBothForms<'_>) {
    let (fused, fused_gradients) = run(inputs, weights, &|inputs, weights| {
        operation(inputs, weights, Kernels::Fused)
    });
    let (stock, stock_gradients) = run(inputs, weights, &|inputs, weights| {
        operation(inputs, weights, Kernels::Stock)
    });
    let scale = |tensor: &Tensor| largest_difference(tensor, &tensor.zeros_like().unwrap()).max(1.0);
    let difference = largest_difference(&fused, &stock);
    assert!(difference <= 2e-5 * scale(&stock), "outputs differ by {difference}");
    for (index, (fused, stock)) in fused_gradients.iter().zip(&stock_gradients).enumerate() {
        let difference = largest_difference(fused, stock);
        assert!(
            difference <= 5e-5 * scale(stock),
            "gradient {index} differs by {difference}"
        );
    }
    let constants: Vec<Weight> = weights.iter().cloned().map(Weight::constant_of).collect();
    let untracked = operation(inputs, &constants, Kernels::Fused).unwrap();
    assert_eq!(largest_difference(&untracked, &fused), 0.0);
}

/// Asserts that the gradients equal finite differences along a random direction of each input and weight.
fn assert_gradients_are_slopes(inputs: &[Tensor], weights: &[Tensor], operation: &Operation<'_>) {
    let (_, gradients) = run(inputs, weights, operation);
    let all: Vec<&Tensor> = inputs.iter().chain(weights).collect();
    for (index, gradient) in gradients.iter().enumerate() {
        let direction = values(7 + index as u64, gradient.dims());
        let at = |by: f64| -> f64 {
            let moved = |at: usize| {
                let value = all[at].clone();
                if at == index {
                    (value + (&direction * by).unwrap()).unwrap()
                } else {
                    value
                }
            };
            let inputs: Vec<Tensor> = (0..inputs.len()).map(moved).collect();
            let weights: Vec<Weight> = (inputs.len()..all.len()).map(moved).map(Weight::constant_of).collect();
            let output = operation(&inputs, &weights).unwrap();
            // In double precision, because the difference of two sums is taken.
            let output = output.to_dtype(DType::F64).unwrap();
            let weight = values(99, output.dims()).to_dtype(DType::F64).unwrap();
            (output * weight).unwrap().sum_all().unwrap().to_scalar().unwrap()
        };
        let step = 1e-2;
        let slope = (at(step) - at(-step)) / (2.0 * step);
        let along = (gradient * &direction).unwrap().sum_all().unwrap();
        let along = f64::from(along.to_scalar::<f32>().unwrap());
        // Central differences are off by the third derivative times 1e-4 / 6, and by rounding of about 1e-5.
        assert!(
            (slope - along).abs() < 2e-2 * along.abs().max(1.0),
            "{index}: slope {slope}, gradient {along}"
        );
    }
}

fn table(head_dim: usize, pairing: Pairing) -> RotaryTable {
    let frequencies: Vec<f64> = (0..head_dim / 2)
        .map(|index| 1e4f64.powf(-2.0 * index as f64 / head_dim as f64))
        .collect();
    RotaryTable::new(&frequencies, 1.0, 4096, pairing, &Device::Cpu).unwrap()
}

fn packed(lengths: &[usize]) -> Packed {
    let tokens: Vec<Vec<u32>> = lengths.iter().map(|&length| vec![0; length]).collect();
    Packed::new(tokens.iter().map(Vec::as_slice))
}

/// Queries, keys and values for sequences of these lengths, and the edges of the sequences.
fn attend(lengths: &[usize], shape: AttentionShape) -> (Vec<Tensor>, Arc<[usize]>) {
    let packed = packed(lengths);
    let rows = packed.tokens().len();
    let inputs = [shape.heads, shape.key_value_heads, shape.key_value_heads]
        .into_iter()
        .enumerate()
        .map(|(index, heads)| values(index as u64 + 1, &[rows, heads * shape.head_dim]));
    (inputs.collect(), Arc::clone(packed.shared_edges()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn norms_agree(rows in 1usize..80, width in 1usize..130, seed in 0u64..1000) {
        assert_forms_agree(&[values(seed, &[rows, width])], &[values(seed + 1, &[width])], &|inputs, weights, kernels| {
            rms_norm(&inputs[0], &weights[0], 1e-5, kernels)
        });
        assert_forms_agree(&[values(seed, &[rows, width])], &[values(seed + 1, &[width])], &|inputs, weights, kernels| {
            rms_norm_around_one(&inputs[0], &weights[0], 1e-5, kernels)
        });
    }

    #[test]
    fn scaled_sums_agree(rows in 1usize..40, width in 1usize..900, scale in -2f64..2.0, seed in 0u64..1000) {
        let inputs = [values(seed, &[rows, width]), values(seed + 1, &[rows, width])];
        assert_forms_agree(&inputs, &[], &|inputs, _, kernels| {
            add_scaled(&inputs[0], &scaled(&inputs[1], 3.0, kernels)?, scale, kernels)
        });
    }

    #[test]
    fn linears_agree(
        rows in 1usize..90, out in 1usize..70, width in 1usize..70, biased: bool, residual: bool, seed in 0u64..1000,
    ) {
        let mut inputs = vec![values(seed, &[rows, width])];
        inputs.extend(residual.then(|| values(seed + 1, &[rows, out])));
        let mut weights = vec![values(seed + 2, &[out, width])];
        weights.extend(biased.then(|| values(seed + 3, &[out])));
        assert_forms_agree(&inputs, &weights, &|inputs, weights, kernels| {
            linear(&inputs[0], &weights[0], weights.get(1), inputs.get(1), kernels)
        });
    }

    #[test]
    fn sums_of_two_linears_agree(
        rows in 1usize..60, out in 1usize..50, width in 1usize..50, rank in 1usize..9, biased: bool, residual: bool,
        seed in 0u64..1000,
    ) {
        let mut inputs = vec![values(seed, &[rows, width]), values(seed + 1, &[rows, rank])];
        inputs.extend(residual.then(|| values(seed + 2, &[rows, out])));
        let mut weights = vec![values(seed + 3, &[out, width]), values(seed + 4, &[out, rank])];
        weights.extend(biased.then(|| values(seed + 5, &[out])));
        assert_forms_agree(&inputs, &weights, &|inputs, weights, kernels| {
            let first = (&inputs[0], &weights[0], weights.get(2));
            linear_of_two(first, (&inputs[1], &weights[1]), inputs.get(2), kernels)
        });
    }

    #[test]
    fn gates_agree(rows in 1usize..40, width in 1usize..900, seed in 0u64..1000) {
        let inputs = [(values(seed, &[rows, width]) * 8.0).unwrap(), values(seed + 1, &[rows, width])];
        assert_forms_agree(&inputs, &[], &|inputs, _, kernels| swiglu(&inputs[0], &inputs[1], kernels));
        assert_forms_agree(&inputs, &[], &|inputs, _, kernels| geglu(&inputs[0], &inputs[1], kernels));
    }

    #[test]
    fn rotations_agree(
        lengths in prop::collection::vec(0usize..40, 1..5), heads in 1usize..4, half in 1usize..20, neighbours: bool,
        rest in 0usize..7, seed in 0u64..1000,
    ) {
        let packed = packed(&lengths);
        prop_assume!(!packed.tokens().is_empty());
        let table = table(2 * half, if neighbours { Pairing::Neighbours } else { Pairing::Halves });
        let table = table.for_heads_of(2 * half + rest);
        let x = values(seed, &[packed.tokens().len(), heads * (2 * half + rest)]);
        assert_forms_agree(&[x], &[], &|inputs, _, kernels| rotate(&inputs[0], &table, packed.positions(), kernels));
    }

    #[test]
    fn attentions_agree(
        lengths in prop::collection::vec(0usize..150, 1..4), key_value_heads in 1usize..3, group in 1usize..4,
        head_dim in 1usize..20, window in prop::option::of(1usize..90),
    ) {
        prop_assume!(lengths.iter().sum::<usize>() > 0);
        let shape = AttentionShape {
            window,
            score_scale: window.map(|_| 0.7),
            ..AttentionShape::new(key_value_heads * group, key_value_heads, head_dim)
        };
        let (inputs, edges) = attend(&lengths, shape);
        assert_forms_agree(&inputs, &[], &|inputs, _, kernels| {
            attention(&inputs[0], &inputs[1], &inputs[2], shape, &edges, kernels)
        });
    }
}

#[test]
fn long_sequences_agree_across_tiles_of_keys() {
    // The last two leave out keys before the windows of a tile.
    for window in [None, Some(600), Some(300), Some(5)] {
        let shape = AttentionShape {
            window,
            ..AttentionShape::new(2, 1, 16)
        };
        let (inputs, edges) = attend(&[700, 3, 257], shape);
        assert_forms_agree(&inputs, &[], &|inputs, _, kernels| {
            attention(&inputs[0], &inputs[1], &inputs[2], shape, &edges, kernels)
        });
    }
}

#[test]
fn a_window_hides_all_but_the_newest_tokens() {
    // Every key is the same, so a token gets the mean of the values that it sees.
    let rows = 700;
    let keys = Tensor::ones((rows, 2), DType::F32, &Device::Cpu).unwrap();
    let counts: Vec<f32> = (0..rows).flat_map(|row| [row as f32, 1.0]).collect();
    let counts = Tensor::from_vec(counts, (rows, 2), &Device::Cpu).unwrap();
    for (window, kernels) in [
        (3, Kernels::Fused),
        (3, Kernels::Stock),
        (300, Kernels::Fused),
        (300, Kernels::Stock),
    ] {
        let shape = AttentionShape {
            window: Some(window),
            ..AttentionShape::new(1, 1, 2)
        };
        let mixed = attention(&keys, &keys, &counts, shape, &Arc::from([0, rows]), kernels).unwrap();
        for (row, mixed) in mixed.to_vec2::<f32>().unwrap().iter().enumerate() {
            let first = (row + 1).saturating_sub(window);
            let mean = (first + row) as f32 / 2.0;
            assert!(
                (mixed[0] - mean).abs() < 1e-3 * mean.max(1.0),
                "{window} {kernels:?} {row}: {mixed:?}"
            );
        }
    }
}

#[test]
fn every_gradient_is_a_slope() {
    assert_gradients_are_slopes(&[values(1, &[5, 33])], &[values(2, &[33])], &|inputs, weights| {
        rms_norm(&inputs[0], &weights[0], 1e-5, Kernels::Fused)
    });
    let (inputs, weights) = (
        [values(1, &[9, 12]), values(2, &[9, 7])],
        [values(3, &[7, 12]), values(4, &[7])],
    );
    assert_gradients_are_slopes(&inputs, &weights, &|inputs, weights| {
        linear(
            &inputs[0],
            &weights[0],
            Some(&weights[1]),
            Some(&inputs[1]),
            Kernels::Fused,
        )
    });
    let (inputs, weights) = (
        [values(1, &[9, 12]), values(2, &[9, 3]), values(3, &[9, 7])],
        [values(4, &[7, 12]), values(5, &[7, 3]), values(6, &[7])],
    );
    assert_gradients_are_slopes(&inputs, &weights, &|inputs, weights| {
        let first = (&inputs[0], &weights[0], Some(&weights[2]));
        linear_of_two(first, (&inputs[1], &weights[1]), Some(&inputs[2]), Kernels::Fused)
    });
    assert_gradients_are_slopes(&[values(1, &[4, 50]), values(2, &[4, 50])], &[], &|inputs, _| {
        swiglu(&inputs[0], &inputs[1], Kernels::Fused)
    });
    assert_gradients_are_slopes(&[values(1, &[4, 50]), values(2, &[4, 50])], &[], &|inputs, _| {
        geglu(&inputs[0], &inputs[1], Kernels::Fused)
    });
    assert_gradients_are_slopes(&[values(1, &[5, 33])], &[values(2, &[33])], &|inputs, weights| {
        rms_norm_around_one(&inputs[0], &weights[0], 1e-5, Kernels::Fused)
    });
    let rotated = packed(&[7, 4]);
    let table = table(8, Pairing::Halves);
    assert_gradients_are_slopes(&[values(1, &[11, 16])], &[], &|inputs, _| {
        rotate(&inputs[0], &table, rotated.positions(), Kernels::Fused)
    });
    for window in [None, Some(8)] {
        let shape = AttentionShape {
            window,
            ..AttentionShape::new(4, 2, 6)
        };
        let (inputs, edges) = attend(&[70, 9], shape);
        assert_gradients_are_slopes(&inputs, &[], &|inputs, _| {
            attention(&inputs[0], &inputs[1], &inputs[2], shape, &edges, Kernels::Fused)
        });
    }
}

#[test]
fn what_follows_a_position_changes_no_bit_of_its_attention() {
    for window in [None, Some(90)] {
        let shape = AttentionShape {
            window,
            ..AttentionShape::new(3, 1, 64)
        };
        assert_causal_to_the_bit(shape);
    }
}

fn assert_causal_to_the_bit(shape: AttentionShape) {
    let longest = 600;
    let (inputs, edges) = attend(&[longest], shape);
    let of = |length: usize| -> Vec<Vec<f32>> {
        let cut: Vec<Tensor> = inputs.iter().map(|x| x.narrow(0, 0, length).unwrap()).collect();
        let edges: Arc<[usize]> = if length == longest {
            Arc::clone(&edges)
        } else {
            [0, length].into()
        };
        let mixed = attention(&cut[0], &cut[1], &cut[2], shape, &edges, Kernels::Fused).unwrap();
        mixed.to_vec2().unwrap()
    };
    let whole = of(longest);
    for length in [1, 2, 15, 63, 64, 65, 100, 255, 256, 257, 300, 511, 513, 599] {
        assert!(of(length) == whole[..length], "the first {length} positions differ");
    }
}

#[test]
fn rows_are_added_where_they_belong_each_as_often_as_it_occurs() {
    let mut sum = vec![1f32; 3 * 2];
    add_rows(&mut sum, &[1.0, 2.0, 10.0, 20.0, 100.0, 200.0], &[2, 0, 2], 2);
    assert_eq!(sum, [11.0, 21.0, 1.0, 1.0, 102.0, 203.0]);
}

#[test]
fn gradients_are_added_up_over_passes_until_they_are_cleared() {
    let (weight, _) = learning(&values(1, &[4, 6]));
    let pass = || {
        let x = Var::from_tensor(&values(2, &[5, 6])).unwrap();
        let y = linear(x.as_tensor(), &weight, None, None, Kernels::Fused).unwrap();
        y.sum_all().unwrap().backward().unwrap();
        weight.gradient().unwrap().get().unwrap().copy().unwrap()
    };
    let once = pass();
    assert_eq!(largest_difference(&pass(), &(&once * 2.0).unwrap()), 0.0);
    weight.gradient().unwrap().clear();
    assert!(weight.gradient().unwrap().get().is_none());
    assert_eq!(largest_difference(&pass(), &once), 0.0);
}
