// Root-mean-square normalisation (arXiv 1910.07467) with the residual stream: y = x / √(mean(x²) + ε) · w. One block a row.
//
// Backward, with r = 1 / √(mean(x²) + ε), g the gradient of y and W the width: ∂w = Σ_rows g · x · r;
// ∂x = r · (g · w) − x · r³ · mean(x · g · w).
#pragma once
#include "elements.cuh"
#include "reductions.cuh"

constexpr int NORM_THREADS = 128;
constexpr size_t NORM_SHARED_BYTES = NORM_THREADS / 32 * 2 * 4;
// Backward: the gradient of the weight besides.
constexpr size_t norm_backward_shared_bytes(int width) { return NORM_SHARED_BYTES + (size_t)width * 4; }

// `hidden` [N, width] += `addend` [N, width] if there is one; `normalised` [N, width] is the norm of the sum as it is stored.
// Width is a multiple of 8; rows are contiguous.
template <class T>
DEVICE void rms_norm(T* hidden, const T* addend, const T* weight, float epsilon, int width, T* normalised) {
    float* scratch = (float*)shared_memory();
    const long row = (long)block_index_x() * width;
    float squares[1] = {0.f};
    for (int i = 8 * thread_index(); i < width; i += 8 * NORM_THREADS) {
        float x[8];
        load_eight(x, hidden + row + i);
        if (addend) {
            float more[8];
            load_eight(more, addend + row + i);
            UNROLL for (int j = 0; j < 8; j++) x[j] += more[j];
            store_eight(hidden + row + i, x);
            load_eight(x, hidden + row + i);  // rounded
        }
        UNROLL for (int j = 0; j < 8; j++) squares[0] += x[j] * x[j];
    }
    block_sum<NORM_THREADS>(squares, scratch);
    const float inverse_root = 1.f / sqrtf(squares[0] / (float)width + epsilon);
    for (int i = 8 * thread_index(); i < width; i += 8 * NORM_THREADS) {
        float x[8], w[8];
        load_eight(x, hidden + row + i), load_eight(w, weight + i);
        UNROLL for (int j = 0; j < 8; j++) x[j] = x[j] * inverse_root * w[j];
        store_eight(normalised + row + i, x);
    }
}

// The gradient of the residual stream: `hidden_gradient` [N, width] += ∂x of the norm, where it `adds`, or else becomes it.
// `hidden` is what was normalised, `gradient` that of the result; both [N, width]. The block's part of the weight's gradient
// goes into its row of `weight_parts` [blocks, width], for `add_column_sums`. Block b has the rows b · `block_rows` and on.
template <class T>
DEVICE void rms_norm_backward(const T* hidden, const T* gradient, const T* weight, float epsilon, int rows, int width,
                              int block_rows, int adds, T* hidden_gradient, float* weight_parts) {
    float* scratch = (float*)shared_memory();
    // Each thread has its own columns: the first four of its eight in the first half, the others in the second, so that
    // neighbours touch neighbouring banks.
    float* weight_gradient = scratch + NORM_SHARED_BYTES / 4;
    const int half = width / 2;
    for (int i = 8 * thread_index(); i < width; i += 8 * NORM_THREADS) {
        const float4 zeros = {0.f, 0.f, 0.f, 0.f};
        shared_store((float4*)(weight_gradient + i / 2), zeros), shared_store((float4*)(weight_gradient + half + i / 2), zeros);
    }
    const int first = block_index_x() * block_rows;
    for (int n = first; n < rows && n < first + block_rows; n++) {
        const long row = (long)n * width;
        float sums[2] = {0.f, 0.f};  // Σ x², Σ x · g · w
        for (int i = 8 * thread_index(); i < width; i += 8 * NORM_THREADS) {
            float x[8], g[8], w[8];
            load_eight(x, hidden + row + i), load_eight(g, gradient + row + i), load_eight(w, weight + i);
            UNROLL for (int j = 0; j < 8; j++) sums[0] += x[j] * x[j], sums[1] += x[j] * (g[j] * w[j]);
        }
        block_sum<NORM_THREADS>(sums, scratch);
        const float inverse_root = 1.f / sqrtf(sums[0] / (float)width + epsilon);
        const float pull = sums[1] * inverse_root * inverse_root * inverse_root / (float)width;
        for (int i = 8 * thread_index(); i < width; i += 8 * NORM_THREADS) {
            float x[8], g[8], w[8], d[8];
            load_eight(x, hidden + row + i), load_eight(g, gradient + row + i), load_eight(w, weight + i);
            UNROLL for (int j = 0; j < 8; j++) d[j] = 0.f;
            if (adds) load_eight(d, hidden_gradient + row + i);
            UNROLL for (int j = 0; j < 8; j++) {
                d[j] += g[j] * w[j] * inverse_root - x[j] * pull;
                x[j] *= g[j] * inverse_root;  // for the weight
            }
            store_eight(hidden_gradient + row + i, d);
            float4 low = shared_load((float4*)(weight_gradient + i / 2));
            float4 high = shared_load((float4*)(weight_gradient + half + i / 2));
            low.x += x[0], low.y += x[1], low.z += x[2], low.w += x[3];
            high.x += x[4], high.y += x[5], high.z += x[6], high.w += x[7];
            shared_store((float4*)(weight_gradient + i / 2), low);
            shared_store((float4*)(weight_gradient + half + i / 2), high);
        }
    }
    for (int i = 8 * thread_index(); i < width; i += 8 * NORM_THREADS) {
        float* to = weight_parts + (long)block_index_x() * width + i;
        store(to, shared_load((float4*)(weight_gradient + i / 2)));
        store(to + 4, shared_load((float4*)(weight_gradient + half + i / 2)));
    }
}
