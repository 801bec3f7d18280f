// The norm, compiled for bf16 and f16, and the sums over parts that it and others need.
#include "norm.cuh"

#include "column_sums.cuh"

#define NORM(T)                                                                                                              \
    extern "C" __global__ void __launch_bounds__(NORM_THREADS)                                                               \
        rms_norm_##T(T* __restrict__ hidden, const T* __restrict__ addend, const T* __restrict__ weight, float epsilon,      \
                     int width, T* __restrict__ normalised) {                                                                \
        rms_norm<T>(hidden, addend, weight, epsilon, width, normalised);                                                     \
    }                                                                                                                        \
    extern "C" __global__ void __launch_bounds__(NORM_THREADS) rms_norm_backward_##T(                                       \
        const T* __restrict__ hidden, const T* __restrict__ gradient, const T* __restrict__ weight, float epsilon, int rows, \
        int width, int block_rows, int adds, T* __restrict__ hidden_gradient, float* __restrict__ weight_parts) {           \
        rms_norm_backward<T>(hidden, gradient, weight, epsilon, rows, width, block_rows, adds, hidden_gradient,              \
                             weight_parts);                                                                                  \
    }

NORM(bf16)
NORM(f16)

extern "C" __global__ void __launch_bounds__(COLUMN_SUM_THREADS)
    column_sums(const float* __restrict__ parts, int rows, int columns, float* __restrict__ sums) {
    add_column_sums(parts, rows, columns, sums);
}
