// The gradient of an embedding table, compiled for bf16 and f16.
#include "embedding.cuh"

#define EMBEDDING(T)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(EMBEDDING_THREADS) embedding_backward_##T(                                 \
        const T* __restrict__ gradient, const int* __restrict__ tokens, const int* __restrict__ starts,                      \
        const int* __restrict__ places, int width, float* __restrict__ table_gradient) {                                     \
        embedding_backward<T>(gradient, tokens, starts, places, width, table_gradient);                                      \
    }

EMBEDDING(bf16)
EMBEDDING(f16)
