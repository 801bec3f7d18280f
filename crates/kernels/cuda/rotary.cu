// Rotation of query and key heads, compiled for bf16 and f16, head widths 64, 96, 128 and 256, both pairings, with and without
// norms.
#include "rotary.cuh"

#define ROTARY(NAME, T, WIDTH, NORM, NEIGHBOURS)                                                                             \
    extern "C" __global__ void __launch_bounds__(ROTARY_THREADS) NAME##_##T##_##WIDTH(                                      \
        const T* heads, long stride, T* rotated, long rotated_stride, int query_heads, int key_heads,                        \
        const int* __restrict__ positions, const float* __restrict__ cosines, const float* __restrict__ sines, float sign,   \
        const T* __restrict__ query_weight, const T* __restrict__ key_weight, float epsilon) {                               \
        rotary<T, WIDTH, NORM, NEIGHBOURS>(heads, stride, rotated, rotated_stride, query_heads, key_heads, positions,        \
                                           cosines, sines, sign, query_weight, key_weight, epsilon);                         \
    }

#define BACKWARD(NAME, T, WIDTH, NEIGHBOURS)                                                                                 \
    extern "C" __global__ void __launch_bounds__(ROTARY_THREADS) NAME##_##T##_##WIDTH(                                      \
        const T* __restrict__ heads, long stride, T* __restrict__ gradient, long gradient_stride, int rows, int query_heads, \
        int key_heads, const int* __restrict__ positions, const float* __restrict__ cosines,                                 \
        const float* __restrict__ sines, const T* __restrict__ query_weight, const T* __restrict__ key_weight,               \
        float epsilon, int block_rows, float* __restrict__ weight_parts) {                                                   \
        head_norm_rotary_backward<T, WIDTH, NEIGHBOURS>(heads, stride, gradient, gradient_stride, rows, query_heads,         \
                                                        key_heads, positions, cosines, sines, query_weight, key_weight,      \
                                                        epsilon, block_rows, weight_parts);                                  \
    }

#define ALL(T, WIDTH)                                    \
    ROTARY(rotary, T, WIDTH, false, false)               \
    ROTARY(rotary_neighbours, T, WIDTH, false, true)     \
    ROTARY(head_norm_rotary, T, WIDTH, true, false)      \
    ROTARY(head_norm_rotary_neighbours, T, WIDTH, true, true) \
    BACKWARD(head_norm_rotary_backward, T, WIDTH, false) \
    BACKWARD(head_norm_rotary_backward_neighbours, T, WIDTH, true)

ALL(bf16, 64)
ALL(bf16, 96)
ALL(bf16, 128)
ALL(bf16, 256)
ALL(f16, 64)
ALL(f16, 96)
ALL(f16, 128)
ALL(f16, 256)
