// The gradient of an embedding table, without atomics: the rows of one token are added in the order of their positions.
//
// The tokens of a batch come as a list of the distinct ones, and the positions of each.
#pragma once
#include "elements.cuh"

constexpr int EMBEDDING_THREADS = 128;
// Columns of one block: the grid has a row for each distinct token, and width / this (rounded up) in y.
constexpr int EMBEDDING_COLUMNS = 4 * EMBEDDING_THREADS;

// `table_gradient` [vocabulary, width] in f32: the row of each token += Σ of the rows of `gradient` [N, width] at its positions.
// Distinct token t is `tokens[t]` and has the positions `places[starts[t]]` to `places[starts[t + 1] − 1]`. Width is a multiple
// of 4.
template <class T>
DEVICE void embedding_backward(const T* gradient, const int* tokens, const int* starts, const int* places, int width,
                               float* table_gradient) {
    const int token = block_index_x(), column = block_index_y() * EMBEDDING_COLUMNS + 4 * thread_index();
    if (column >= width) return;
    float sum[4] = {0.f, 0.f, 0.f, 0.f};
    const int end = starts[token + 1];
    for (int i = starts[token]; i < end; i++) {
        float g[4];
        load_four(g, gradient + (long)places[i] * width + column);
        UNROLL for (int j = 0; j < 4; j++) sum[j] += g[j];
    }
    float* to = table_gradient + (long)tokens[token] * width + column;
    float before[4];
    load_four(before, to);
    UNROLL for (int j = 0; j < 4; j++) sum[j] += before[j];
    store_four(to, sum);
}
