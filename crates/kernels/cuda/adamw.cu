// The optimizer, compiled for weights in bf16 and f16.
#include "adamw.cuh"

#define ADAMW(T)                                                                                                             \
    extern "C" __global__ void __launch_bounds__(ADAMW_THREADS)                                                              \
        adamw_##T(const Parameter* __restrict__ table, const int* __restrict__ first_blocks, int parameters,                 \
                  const double* __restrict__ scale, Update by) {                                                             \
        adamw<T>(table, first_blocks, parameters, scale, by);                                                                \
    }

ADAMW(bf16)
ADAMW(f16)

extern "C" __global__ void __launch_bounds__(ADAMW_THREADS)
    adamw_gradient_squares(const Parameter* __restrict__ table, const int* __restrict__ first_blocks, int parameters,
                           double* __restrict__ parts) {
    gradient_squares(table, first_blocks, parameters, parts);
}

extern "C" __global__ void __launch_bounds__(ADAMW_THREADS)
    adamw_clipping(const double* __restrict__ parts, int blocks, double limit, double* __restrict__ norm_and_scale) {
    clipping(parts, blocks, limit, norm_and_scale);
}

extern "C" __global__ void __launch_bounds__(ADAMW_THREADS)
    adamw_join_masters(const bf16* weight, const uint16_t* rest, long count, float* masters) {
    join_masters(weight, rest, count, masters);
}

extern "C" __global__ void __launch_bounds__(ADAMW_THREADS)
    adamw_split_masters(const float* masters, long count, bf16* weight, uint16_t* rest) {
    split_masters(masters, count, weight, rest);
}
