// Attention, backward: three kernels for each kind of number and head width, such as attention_backward_keys_bf16_128.
#include "attention_backward.cuh"

#define ATTENTION_BACKWARD(T, WIDTH)                                                                                          \
    extern "C" __global__ void __launch_bounds__(DeltaShape<WIDTH>::THREADS) attention_delta_##T##_##WIDTH(                   \
        const T* __restrict__ outputs, const T* __restrict__ gradients, float* __restrict__ delta, long output_stride,        \
        long gradient_stride, int heads, int rows) {                                                                          \
        attention_delta<T, WIDTH>(outputs, gradients, delta, output_stride, gradient_stride, heads, rows);                    \
    }                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(KeysShape<WIDTH>::THREADS) attention_backward_keys_##T##_##WIDTH(            \
        const T* __restrict__ queries, const T* __restrict__ keys, const T* __restrict__ values,                              \
        const T* __restrict__ gradients, const float* __restrict__ log_sums, const float* __restrict__ delta,                 \
        T* __restrict__ key_gradients, T* __restrict__ value_gradients, const int* __restrict__ edges,                        \
        const int2* __restrict__ tiles, long query_stride, long key_stride, long gradient_stride, long key_gradient_stride,   \
        int group, int rows, float scale) {                                                                                   \
        attention_backward_keys<T, WIDTH>(queries, keys, values, gradients, log_sums, delta, key_gradients, value_gradients,  \
                                          edges, tiles, query_stride, key_stride, gradient_stride, key_gradient_stride,       \
                                          group, rows, scale);                                                                \
    }                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(QueriesShape<WIDTH>::THREADS) attention_backward_queries_##T##_##WIDTH(      \
        const T* __restrict__ queries, const T* __restrict__ keys, const T* __restrict__ values,                              \
        const T* __restrict__ gradients, const float* __restrict__ log_sums, const float* __restrict__ delta,                 \
        T* __restrict__ query_gradients, const int* __restrict__ edges, const int2* __restrict__ tiles, long query_stride,    \
        long key_stride, long gradient_stride, long query_gradient_stride, int group, int rows, float scale) {                \
        attention_backward_queries<T, WIDTH>(queries, keys, values, gradients, log_sums, delta, query_gradients, edges,       \
                                             tiles, query_stride, key_stride, gradient_stride, query_gradient_stride, group,  \
                                             rows, scale);                                                                    \
    }

#define ATTENTION_BACKWARD_WIDTHS(T) \
    ATTENTION_BACKWARD(T, 64)        \
    ATTENTION_BACKWARD(T, 96)        \
    ATTENTION_BACKWARD(T, 128)       \
    ATTENTION_BACKWARD(T, 256)

ATTENTION_BACKWARD_WIDTHS(bf16)
ATTENTION_BACKWARD_WIDTHS(f16)
