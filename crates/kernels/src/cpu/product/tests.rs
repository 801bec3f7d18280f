use super::*;

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 100.0 - 5.0)
        .collect()
}

/// Every layout of the operands, with sizes at the edges of tiles, blocks and slices.
#[test]
fn our_products_are_the_sums_that_they_stand_for() {
    if !is_x86_feature_detected!("avx512f") {
        return;
    }
    let sizes = [
        (1, 1, 1),
        (14, 32, 16),
        (15, 33, 17),
        (13, 31, 15),
        (37, 100, 40),
        (300, 70, 1700),
        (5, 49, 800),
        (600, 200, 129),
        (20, 3000, 769),
    ];
    for (m, n, k) in sizes {
        for (left_transposed, right_transposed) in [(false, false), (false, true), (true, false), (true, true)] {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            let left = if left_transposed {
                Matrix::rows(&a, m).transposed()
            } else {
                Matrix::rows(&a, k)
            };
            let right = if right_transposed {
                Matrix::rows(&b, k).transposed()
            } else {
                Matrix::rows(&b, n)
            };
            let mut destination = new_product(Sizes { m, n, k }, left, right);
            product(
                &mut destination,
                Sizes { m, n, k },
                left,
                right,
                (Write::Add, 1.0, Threads::All),
            );
            let element = |matrix: &Matrix<'_>, row: usize, column: usize| {
                f64::from(matrix.values[row * matrix.row_stride + column * matrix.column_stride])
            };
            for (i, found) in destination.iter().enumerate() {
                let terms = (0..k).map(|p| element(&left, i / n, p) * element(&right, p, i % n));
                let (sum, size) = terms.fold((0.0, 1e-9), |(sum, size): (f64, f64), term| {
                    (sum + term, size + term.abs())
                });
                let error = (f64::from(*found) - 2.0 * sum).abs() / (2.0 * size);
                assert!(error < 1e-6, "[{m}, {k}] · [{k}, {n}] at {i}: {found}, not twice {sum}");
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_whatever_rows_are_beside_it() {
    if !is_x86_feature_detected!("avx512f") {
        return;
    }
    for (n, k) in [(192, 576), (576, 1536), (40, 1000)] {
        let (a, b) = (values(1000 * k, 3), values(n * k, 4));
        let of = |first: usize, m: usize| {
            let left = Matrix::rows(&a[first * k..(first + m) * k], k);
            new_product(Sizes { m, n, k }, left, Matrix::rows(&b, k).transposed())
        };
        let all = of(0, 1000);
        for (first, m) in [(0, 1), (7, 3), (500, 13), (3, 600), (986, 14)] {
            assert!(all[first * n..(first + m) * n] == of(first, m)[..], "{first} {m}");
        }
    }
}
