// Selection, compiled: without further temperatures and with up to 1, 2, 4 and 8.
#include "selection.cuh"

#define SELECTION(TEMPERATURES)                                                                                              \
    extern "C" __global__ void __launch_bounds__(SELECTION_THREADS, 2) select_rows_##TEMPERATURES(                             \
        const float* __restrict__ logits, long stride, int vocabulary, int k, int room, const int* __restrict__ targets,     \
        const float* __restrict__ temperatures, int* __restrict__ ids, float* __restrict__ values,                           \
        double* __restrict__ others, float* __restrict__ target_logits, int* __restrict__ not_finite) {                      \
        select_rows<TEMPERATURES>(logits, stride, vocabulary, k, room, targets, temperatures, ids, values, others,           \
                                  target_logits, not_finite);                                                                \
    }

SELECTION(0)
SELECTION(1)
SELECTION(2)
SELECTION(4)
SELECTION(8)
