// The bias of a product, compiled for bf16 and f16.
#include "bias.cuh"

#define BIAS(T)                                                                                                              \
    extern "C" __global__ void __launch_bounds__(BIAS_THREADS)                                                               \
        add_bias_##T(T* __restrict__ rows, long stride, const T* __restrict__ bias, int width) {                             \
        add_bias<T>(rows, stride, bias, width);                                                                              \
    }                                                                                                                        \
    extern "C" __global__ void __launch_bounds__(BIAS_THREADS)                                                               \
        bias_backward_##T(const T* __restrict__ gradient, long stride, int rows, int width, int block_rows,                  \
                          float* __restrict__ parts) {                                                                       \
        bias_backward<T>(gradient, stride, rows, width, block_rows, parts);                                                  \
    }

BIAS(bf16)
BIAS(f16)
