//! The skinny product: y = x · Wᵀ for few rows of x, such as the newest token of each sample during generation.
//!
//! With few rows, packing the weight costs more than it saves. All threads together read the weight once, from start to
//! end, and multiply each of its rows with all rows of x, so the time is that of reading the weight. Every element is a sum
//! in sixteen lanes along the depth, then over the lanes: the order does not depend on the number of rows.

use leadspan_simd::on_widest_vectors;
use rayon::prelude::*;

use super::product::Disjoint;

/// The number of values in a register, and of lanes of a sum.
const LANES: usize = 16;
/// The fewest values of the weight that a task reads: waking a thread costs more than reading fewer.
const TASK_VALUES: usize = 1 << 15;

/// y `[m, out]` ← x `[m, width]` · weightᵀ on all threads, with `weight` `[out, width]`.
pub(crate) fn skinny_product(x: &[f32], weight: &[f32], width: usize, out: usize) -> Vec<f32> {
    assert!(
        width > 0 && x.len().is_multiple_of(width) && weight.len() == out * width,
        "the matrices of a product have the sizes it is told"
    );
    let rows = x.len() / width;
    let mut y = vec![0f32; rows * out];
    // The same number of blocks for each thread, each of whole strips.
    let threads = rayon::current_num_threads();
    let most = (out * width).div_ceil(TASK_VALUES).next_multiple_of(threads);
    let block = out.div_ceil(most).next_multiple_of(strip());
    let target = Disjoint::new(&mut y);
    weight
        .par_chunks(block * width)
        .enumerate()
        .for_each(|(index, weight)| {
            let count = weight.len() / width;
            let mut sums = vec![0f32; rows * count];
            multiply(x, weight, width, &mut sums);
            for (row, sums) in sums.chunks_exact(count).enumerate() {
                // SAFETY: this task alone writes these columns of any row.
                unsafe { target.slice(row * out + index * block, count) }.copy_from_slice(sums);
            }
        });
    y
}

/// `sums` `[m, n]` ← x `[m, width]` · weightᵀ on this thread, with `weight` `[n, width]`.
fn multiply(x: &[f32], weight: &[f32], width: usize, sums: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512F, as just detected.
        return unsafe { wide::multiply(x, weight, width, sums) };
    }
    multiply_in_lanes(x, weight, width, sums);
}

/// The number of rows of the weight that are multiplied together.
const fn strip() -> usize {
    3
}

on_widest_vectors! {
    /// [`multiply`] for processors without AVX-512.
    fn multiply_in_lanes(x: &[f32], weight: &[f32], width: usize, sums: &mut [f32]) {
        let count = weight.len() / width;
        for (column, weight) in weight.chunks_exact(width).enumerate() {
            for (row, x) in x.chunks_exact(width).enumerate() {
                let ((x_lanes, x_rest), (w_lanes, w_rest)) = (x.as_chunks::<LANES>(), weight.as_chunks::<LANES>());
                let mut lanes = [0f32; LANES];
                for (x, w) in x_lanes.iter().zip(w_lanes) {
                    for lane in 0..LANES {
                        lanes[lane] += x[lane] * w[lane];
                    }
                }
                for (lane, (x, w)) in lanes.iter_mut().zip(x_rest.iter().zip(w_rest)) {
                    *lane += x * w;
                }
                sums[row * count + column] = lanes.iter().sum();
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    //! The product with AVX-512.

    use std::arch::x86_64::{
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_reduce_add_ps, _mm512_setzero_ps,
    };

    use super::{LANES, strip};

    /// The number of rows of x that are multiplied together. With a strip of the weight, 24 registers hold sums and 4 hold
    /// factors.
    const ROWS: usize = 8;
    const STRIP: usize = strip();

    #[target_feature(enable = "avx512f")]
    pub(super) fn multiply(x: &[f32], weight: &[f32], width: usize, sums: &mut [f32]) {
        let count = weight.len() / width;
        for first in (0..count).step_by(STRIP) {
            let strip = &weight[first * width..count.min(first + STRIP) * width];
            for (group, x) in x.chunks(ROWS * width).enumerate() {
                let sums = &mut sums[group * ROWS * count + first..];
                macro_rules! of_rows {
                    ($($rows:literal)*) => {
                        match (x.len() / width, strip.len() / width) {
                            $(($rows, STRIP) => multiply_strip::<$rows, STRIP>(x, strip, width, count, sums),
                            ($rows, 2) => multiply_strip::<$rows, 2>(x, strip, width, count, sums),
                            ($rows, 1) => multiply_strip::<$rows, 1>(x, strip, width, count, sums),)*
                            _ => debug_assert!(false, "a group has 1 to {ROWS} rows, a strip 1 to {STRIP}"),
                        }
                    };
                }
                of_rows!(8 7 6 5 4 3 2 1);
            }
        }
    }

    /// `sums[row · stride + column]` of M rows of x and N rows of the weight.
    #[target_feature(enable = "avx512f")]
    fn multiply_strip<const M: usize, const N: usize>(
        x: &[f32],
        weight: &[f32],
        width: usize,
        stride: usize,
        sums: &mut [f32],
    ) {
        assert!(x.len() == M * width && weight.len() == N * width, "so many rows");
        let mut lanes = [[_mm512_setzero_ps(); N]; M];
        let whole = width - width % LANES;
        // SAFETY: `whole` is a multiple of the lanes and at most the width, so full registers lie inside a row; the mask
        // keeps the last register inside the row.
        unsafe {
            for depth in (0..whole).step_by(LANES) {
                let mut columns = [_mm512_setzero_ps(); N];
                for (column, values) in columns.iter_mut().enumerate() {
                    *values = _mm512_loadu_ps(weight.as_ptr().add(column * width + depth));
                }
                for (row, lanes) in lanes.iter_mut().enumerate() {
                    let values = _mm512_loadu_ps(x.as_ptr().add(row * width + depth));
                    for (lanes, &column) in lanes.iter_mut().zip(&columns) {
                        *lanes = _mm512_fmadd_ps(values, column, *lanes);
                    }
                }
            }
            if whole < width {
                let mask = (1u16 << (width - whole)) - 1;
                for (row, lanes) in lanes.iter_mut().enumerate() {
                    let values = _mm512_maskz_loadu_ps(mask, x.as_ptr().add(row * width + whole));
                    for (column, lanes) in lanes.iter_mut().enumerate() {
                        let column = _mm512_maskz_loadu_ps(mask, weight.as_ptr().add(column * width + whole));
                        *lanes = _mm512_fmadd_ps(values, column, *lanes);
                    }
                }
            }
        }
        for (row, lanes) in lanes.iter().enumerate() {
            for (column, &lanes) in lanes.iter().enumerate() {
                sums[row * stride + column] = _mm512_reduce_add_ps(lanes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(seed: usize, count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 506.5 - 1.0)
            .collect()
    }

    #[test]
    fn every_size_gives_the_sums_of_a_plain_loop() {
        for (rows, width, out) in [
            (1, 1, 1),
            (1, 16, 5),
            (3, 17, 7),
            (8, 31, 3),
            (9, 48, 100),
            (17, 100, 700),
            (24, 576, 64),
        ] {
            let (x, weight) = (values(1, rows * width), values(2, out * width));
            let mut in_lanes = vec![0f32; rows * out];
            multiply_in_lanes(&x, &weight, width, &mut in_lanes);
            let y = skinny_product(&x, &weight, width, out);
            for (index, (&y, &in_lanes)) in y.iter().zip(&in_lanes).enumerate() {
                let (x, w) = (
                    &x[index / out * width..][..width],
                    &weight[index % out * width..][..width],
                );
                let plain: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                // Terms are at most 1, and every addition rounds once.
                let close = |sum: f32| (f64::from(sum) - plain).abs() < 1e-6 * width as f64;
                assert!(
                    close(y) && close(in_lanes),
                    "{rows} {width} {out} {index}: {y} {in_lanes} {plain}"
                );
            }
        }
    }

    #[test]
    fn a_row_gets_the_same_bits_whatever_shares_its_product() {
        let (width, out) = (75, 130);
        let (x, weight) = (values(3, 20 * width), values(4, out * width));
        let whole = skinny_product(&x, &weight, width, out);
        for rows in 1..20 {
            for first in [0, 20 - rows] {
                let some = skinny_product(&x[first * width..(first + rows) * width], &weight, width, out);
                let same = some
                    .iter()
                    .zip(&whole[first * out..])
                    .all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{rows} rows from {first} on");
            }
        }
    }
}
