// The bias of a product: added to its rows, and its gradient, the sum over rows.
#pragma once
#include "elements.cuh"

constexpr int BIAS_THREADS = 128;
// Columns of one block, in y.
constexpr int BIAS_COLUMNS = 8 * BIAS_THREADS;

// `rows` [N, width], `stride` elements apart, += `bias` [width]. The grid has a row for each row.
template <class T> DEVICE void add_bias(T* rows, long stride, const T* bias, int width) {
    const int column = block_index_y() * BIAS_COLUMNS + 8 * thread_index();
    if (column >= width) return;
    T* at = rows + block_index_x() * stride + column;
    float x[8], b[8];
    load_eight(x, at), load_eight(b, bias + column);
    UNROLL for (int j = 0; j < 8; j++) x[j] += b[j];
    store_eight(at, x);
}

// `parts` [blocks, width] ← the sums over the rows of each block, for `add_column_sums`. `gradient` [N, width], `stride` elements
// apart. Block b in x has the rows b · `block_rows` and on.
template <class T>
DEVICE void bias_backward(const T* gradient, long stride, int rows, int width, int block_rows, float* parts) {
    const int column = block_index_y() * BIAS_COLUMNS + 8 * thread_index();
    if (column >= width) return;
    const int first = block_index_x() * block_rows, end = rows - first < block_rows ? rows : first + block_rows;
    float sums[8] = {};
    for (int row = first; row < end; row++) {
        float g[8];
        load_eight(g, gradient + row * stride + column);
        UNROLL for (int j = 0; j < 8; j++) sums[j] += g[j];
    }
    store_eight(parts + (long)block_index_x() * width + column, sums);
}
