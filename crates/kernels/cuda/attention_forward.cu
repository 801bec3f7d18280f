// Attention, forward: a kernel for each kind of number, head width and number of queries of a tile.
// attention_forward_bf16_128_64: heads of 128 numbers, tiles of 64 queries.
#include "attention_forward.cuh"

#define ATTENTION_FORWARD(T, WIDTH, QUERIES, KEYS)                                                                             \
    extern "C" __global__ void __launch_bounds__(ForwardShape<WIDTH, QUERIES, KEYS>::THREADS)                                 \
        attention_forward_##T##_##WIDTH##_##QUERIES(                                                                          \
            const T* __restrict__ queries, const T* __restrict__ keys, const T* __restrict__ values, T* __restrict__ outputs, \
            float* __restrict__ log_sums, const int* __restrict__ edges, const int2* __restrict__ tiles, long query_stride,   \
            long key_stride, long output_stride, int group, int rows, float scale) {                                          \
        attention_forward<T, WIDTH, QUERIES, KEYS>(queries, keys, values, outputs, log_sums, edges, tiles, query_stride,      \
                                                   key_stride, output_stride, group, rows, scale);                            \
    }

#define ATTENTION_FORWARD_WIDTHS(T)     \
    ATTENTION_FORWARD(T, 64, 128, 64)   \
    ATTENTION_FORWARD(T, 64, 64, 64)    \
    ATTENTION_FORWARD(T, 96, 128, 64)   \
    ATTENTION_FORWARD(T, 96, 64, 64)    \
    ATTENTION_FORWARD(T, 128, 128, 64)  \
    ATTENTION_FORWARD(T, 128, 64, 64)   \
    ATTENTION_FORWARD(T, 256, 64, 32)

ATTENTION_FORWARD_WIDTHS(bf16)
ATTENTION_FORWARD_WIDTHS(f16)
