// The nonlinearity of the gated feed-forward block (arXiv 2002.05202): y = silu(a) · b with silu(a) = a · σ(a), where a and b
// are the halves of each row of one product.
//
// Backward, with g the gradient of y and s = σ(a): ∂a = g · b · s · (1 + a · (1 − s)); ∂b = g · a · s.
#pragma once
#include "elements.cuh"

constexpr int SWIGLU_THREADS = 256;
// Columns of one block: the grid has a row for each row, and columns / this (rounded up) in y.
constexpr int SWIGLU_COLUMNS = 8 * SWIGLU_THREADS;

// 1 / (1 + exp(−x)), without overflow.
DEVICE float sigmoid(float x) {
    const float small = expf(-fabsf(x)), positive = 1.f / (1.f + small);
    return x >= 0.f ? positive : small * positive;
}

// `gate_up` [N, 2, width] → `y` [N, width]. Width is a multiple of 8.
template <class T> DEVICE void swiglu(const T* gate_up, int width, T* y) {
    const long row = block_index_x();
    const int column = block_index_y() * SWIGLU_COLUMNS + 8 * thread_index();
    if (column >= width) return;
    float a[8], b[8];
    load_eight(a, gate_up + row * 2 * width + column), load_eight(b, gate_up + (row * 2 + 1) * width + column);
    UNROLL for (int j = 0; j < 8; j++) a[j] = a[j] * sigmoid(a[j]) * b[j];
    store_eight(y + row * width + column, a);
}

// `gradient` [N, width] of y → `gate_up_gradient` [N, 2, width], which may be `gate_up`. Where `y` is not null, it is computed
// again, so that it need not be kept for the gradient of the product that follows.
template <class T> DEVICE void swiglu_backward(const T* gate_up, const T* gradient, int width, T* gate_up_gradient, T* y) {
    const long row = block_index_x();
    const int column = block_index_y() * SWIGLU_COLUMNS + 8 * thread_index();
    if (column >= width) return;
    float a[8], b[8], g[8];
    load_eight(a, gate_up + row * 2 * width + column), load_eight(b, gate_up + (row * 2 + 1) * width + column);
    load_eight(g, gradient + row * width + column);
    float again[8];
    UNROLL for (int j = 0; j < 8; j++) {
        const float s = sigmoid(a[j]), silu = a[j] * s;
        again[j] = silu * b[j];
        a[j] = g[j] * b[j] * s * (1.f + a[j] * (1.f - s));
        b[j] = g[j] * silu;
    }
    store_eight(gate_up_gradient + row * 2 * width + column, a);
    store_eight(gate_up_gradient + (row * 2 + 1) * width + column, b);
    if (y) store_eight(y + row * width + column, again);
}
