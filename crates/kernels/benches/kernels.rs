//! The speed of every kernel of the decoder, forward and backward, fused and stock. The figures are in
//! `docs/benchmarks.md`.
//!
//!     cargo bench -p leadspan-kernels [-- FILTER]
//!
//! Benchmarks are named KERNEL/DIRECTION/SHAPE/FORM, such as `attention/backward/qwen3-0.6b/fused`. Inputs are 1,600 packed
//! tokens of eight samples. A forward pass stores what its backward pass needs. A backward pass includes the overhead of
//! the tensor library, as in training. Rates count only the minimum traffic in bytes, or the operations of the matrix
//! products; attention counts only pairs of a query and a key that it sees.

#![expect(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::{sync::Arc, time::Duration};

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape as TensorShape, Tensor, Var};
use criterion::{BatchSize, Criterion, Throughput};
use leadspan_kernels::{
    AttentionShape, GradientSum, Kernels, Packed, Pairing, RotaryTable, Weight, attention, linear, project,
    project_back, rms_norm, rotate, swiglu,
};

/// The lengths of the samples in tokens.
const LENGTHS: [usize; 8] = [320, 280, 240, 220, 180, 150, 120, 90];

/// The widths of a model.
struct Shape {
    name: &'static str,
    hidden: usize,
    inner: usize,
    vocabulary: usize,
    attention: AttentionShape,
}

const SHAPES: [Shape; 2] = [
    Shape {
        name: "smollm2-135m",
        hidden: 576,
        inner: 1536,
        vocabulary: 49_152,
        attention: AttentionShape::new(9, 3, 64),
    },
    Shape {
        name: "qwen3-0.6b",
        hidden: 1024,
        inner: 3072,
        vocabulary: 151_936,
        attention: AttentionShape::new(16, 8, 128),
    },
];

/// An operation: from inputs and weights to an output.
type Operation<'a> = dyn Fn(&[Tensor], &[Weight], Kernels) -> Result<Tensor> + 'a;

/// A kernel, its inputs and weights, and the amount of work forward and backward.
struct Bench<'a> {
    kernel: &'a str,
    shape: &'a str,
    inputs: &'a [Tensor],
    weights: &'a [Tensor],
    work: [Throughput; 2],
}

/// Ends a graph with a scalar whose gradient with respect to `x` is given, so that only the operations before it are timed.
struct End {
    gradient: Tensor,
}

impl CustomOp1 for End {
    fn name(&self) -> &'static str {
        "end"
    }

    fn cpu_fwd(&self, _x: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, TensorShape)> {
        Ok((CpuStorage::F32(vec![0.0]), ().into()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, _gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.gradient.clone()))
    }
}

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
}

impl Bench<'_> {
    /// Measures both directions in both forms.
    fn run(&self, criterion: &mut Criterion, operation: &Operation<'_>) {
        let inputs: Vec<Tensor> = (self.inputs.iter())
            .map(|input| Var::from_tensor(input).unwrap().into_inner())
            .collect();
        let weights: Vec<Weight> = (self.weights.iter())
            .map(|weight| {
                let variable = Var::from_tensor(weight).unwrap().into_inner();
                Weight::learning(variable, GradientSum::new(weight).unwrap())
            })
            .collect();
        for (form, kernels) in [("fused", Kernels::Fused), ("stock", Kernels::Stock)] {
            let forward = || operation(&inputs, &weights, kernels).unwrap();
            let mut group = criterion.benchmark_group(format!("{}/forward/{}", self.kernel, self.shape));
            group.throughput(self.work[0].clone());
            group.bench_function(form, |bencher| bencher.iter(forward));
            group.finish();

            let gradient = random(forward().dims());
            let ended = || {
                let gradient = gradient.clone();
                forward().apply_op1(End { gradient }).unwrap()
            };
            let backward = |end: Tensor| {
                let store = end.backward().unwrap();
                for weight in &weights {
                    // Fused operations have already added the gradient.
                    if let Some(gradient) = store.get(weight.tensor()) {
                        weight.gradient().unwrap().add(gradient).unwrap();
                    }
                }
                store
            };
            let mut group = criterion.benchmark_group(format!("{}/backward/{}", self.kernel, self.shape));
            group.throughput(self.work[1].clone());
            group.bench_function(form, |bencher| {
                bencher.iter_batched(ended, backward, BatchSize::PerIteration);
            });
            group.finish();
        }
    }
}

/// The bytes of `count` single-precision numbers.
fn numbers(count: usize) -> Throughput {
    Throughput::Bytes((count * size_of::<f32>()) as u64)
}

fn operations(count: usize) -> Throughput {
    Throughput::Elements(count as u64)
}

/// The rotary frequencies of a model with θ = 1e6.
fn frequencies(head_dim: usize) -> Vec<f64> {
    (0..head_dim / 2)
        .map(|index| 1e6f64.powf(-2.0 * index as f64 / head_dim as f64))
        .collect()
}

fn of_rows(criterion: &mut Criterion, shape: &Shape) {
    let rows: usize = LENGTHS.iter().sum();
    let (hidden, inner, name) = (shape.hidden, shape.inner, shape.name);
    Bench {
        kernel: "norm",
        shape: name,
        inputs: &[random(&[rows, hidden])],
        weights: &[random(&[hidden])],
        work: [numbers(2 * rows * hidden), numbers(3 * rows * hidden)],
    }
    .run(criterion, &|inputs, weights, kernels| {
        rms_norm(&inputs[0], &weights[0], 1e-6, kernels)
    });
    Bench {
        kernel: "swiglu",
        shape: name,
        inputs: &[random(&[rows, inner]), random(&[rows, inner])],
        weights: &[],
        work: [numbers(3 * rows * inner), numbers(5 * rows * inner)],
    }
    .run(criterion, &|inputs, _, kernels| swiglu(&inputs[0], &inputs[1], kernels));
    let product = 2 * rows * hidden * inner;
    Bench {
        kernel: "linear",
        shape: name,
        inputs: &[random(&[rows, hidden])],
        weights: &[random(&[inner, hidden])],
        work: [operations(product), operations(2 * product)],
    }
    .run(criterion, &|inputs, weights, kernels| {
        linear(&inputs[0], &weights[0], None, None, kernels)
    });
}

fn of_sequences(criterion: &mut Criterion, shape: &Shape) {
    let heads = shape.attention;
    let tokens = LENGTHS.map(|length| vec![0; length]);
    let packed = Packed::new(tokens.iter().map(Vec::as_slice));
    let rows = packed.tokens().len();
    let [queries, keys] = [heads.heads, heads.key_value_heads].map(|heads_of| heads_of * heads.head_dim);
    let table = RotaryTable::new(
        &frequencies(shape.attention.head_dim),
        1.0,
        4096,
        Pairing::Halves,
        &Device::Cpu,
    )
    .unwrap();
    let positions: Arc<[u32]> = LENGTHS.iter().flat_map(|&length| 0..length as u32).collect();
    Bench {
        kernel: "rotary",
        shape: shape.name,
        inputs: &[random(&[rows, queries])],
        weights: &[],
        work: [numbers(2 * rows * queries), numbers(2 * rows * queries)],
    }
    .run(criterion, &|inputs, _, kernels| {
        rotate(&inputs[0], &table, &positions, kernels)
    });
    let edges: Arc<[usize]> = packed.edges().into();
    let seen: usize = LENGTHS.iter().map(|length| length * (length + 1) / 2).sum();
    Bench {
        kernel: "attention",
        shape: shape.name,
        inputs: &[random(&[rows, queries]), random(&[rows, keys]), random(&[rows, keys])],
        weights: &[],
        work: [operations(4 * seen * queries), operations(8 * seen * queries)],
    }
    .run(criterion, &|inputs, _, kernels| {
        attention(&inputs[0], &inputs[1], &inputs[2], heads, &edges, kernels)
    });
}

/// Adding the gradients of the tokens' rows to the gradient of the embedding.
fn embedding(criterion: &mut Criterion, shape: &Shape) {
    let rows: usize = LENGTHS.iter().sum();
    let tokens: Vec<u32> = (0..rows)
        .map(|row| (row * 7919 % (shape.vocabulary / 3)) as u32)
        .collect();
    let gradient = random(&[rows, shape.hidden]);
    let zeros = Tensor::zeros((shape.vocabulary, shape.hidden), DType::F32, &Device::Cpu).unwrap();
    let mut group = criterion.benchmark_group(format!("embedding/backward/{}", shape.name));
    group.throughput(numbers(3 * rows * shape.hidden));
    let sum = GradientSum::new(&zeros).unwrap();
    group.bench_function("fused", |bencher| {
        bencher.iter(|| sum.add_rows(&gradient, &tokens, Kernels::Fused).unwrap());
    });
    drop(sum);
    let places = Tensor::from_slice(&tokens, rows, &Device::Cpu).unwrap();
    group.bench_function("stock", |bencher| {
        bencher.iter(|| {
            let sum = zeros.index_add(&places, &gradient, 0).unwrap();
            zeros.slice_set(&sum, 0, 0).unwrap();
        });
    });
    group.finish();
}

/// A product that is timed.
type Product<'a> = &'a dyn Fn() -> Tensor;

/// The three products of a weight `[out, in]` in a training step: y = x · Wᵀ, the gradient of x, and the gradient of W;
/// this crate's and the tensor library's.
fn products(criterion: &mut Criterion, name: &str, [rows, out, width]: [usize; 3]) {
    let (x, weight, gradient) = (random(&[rows, width]), random(&[out, width]), random(&[rows, out]));
    let sum = GradientSum::new(&weight).unwrap();
    let added = || {
        sum.add_product(&gradient, &x).unwrap();
        sum.get().unwrap().clone()
    };
    let stock = |left: &Tensor, right: &Tensor| left.matmul(right).unwrap();
    let benches: [(&str, Product<'_>, Product<'_>); 3] = [
        ("y", &|| project(&x, &weight).unwrap(), &|| {
            stock(&x, &weight.t().unwrap())
        }),
        ("x", &|| project_back(&gradient, &weight).unwrap(), &|| {
            stock(&gradient, &weight)
        }),
        ("w", &added, &|| stock(&gradient.t().unwrap(), &x)),
    ];
    for (of, ours, stock) in benches {
        let mut group = criterion.benchmark_group(format!("product/{of}/{name}"));
        group.throughput(operations(2 * rows * out * width));
        group.bench_function("ours", |bencher| bencher.iter(ours));
        group.bench_function("stock", |bencher| bencher.iter(stock));
        group.finish();
    }
}

fn main() {
    leadspan_memory::keep_freed_blocks();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for shape in &SHAPES {
        of_rows(&mut criterion, shape);
        of_sequences(&mut criterion, shape);
        embedding(&mut criterion, shape);
        let rows = LENGTHS.iter().sum();
        let inner = format!("feed-forward/{}", shape.name);
        products(&mut criterion, &inner, [rows, shape.inner, shape.hidden]);
        let head = format!("head/{}", shape.name);
        products(&mut criterion, &head, [rows / 4, shape.vocabulary, shape.hidden]);
    }
    criterion.final_summary();
}
