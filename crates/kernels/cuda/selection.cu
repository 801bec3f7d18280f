// Selection, compiled: without further temperatures and with up to 1, 2, 4 and 8.
#include "selection.cuh"

// `BLOCKS` of them share a multiprocessor, without spills.
#define SELECTION(TEMPERATURES, BLOCKS)                                                                                      \
    extern "C" __global__ void __launch_bounds__(SELECTION_THREADS, BLOCKS) select_rows_##TEMPERATURES(                             \
        const float* __restrict__ logits, long stride, int vocabulary, int k, int room, const int* __restrict__ targets,     \
        const float* __restrict__ temperatures, int* __restrict__ ids, float* __restrict__ values,                           \
        double* __restrict__ others, float* __restrict__ target_logits, int* __restrict__ not_finite) {                      \
        select_rows<TEMPERATURES>(logits, stride, vocabulary, k, room, targets, temperatures, ids, values, others,           \
                                  target_logits, not_finite);                                                                \
    }

SELECTION(0, 3)
SELECTION(1, 2)
SELECTION(2, 2)
SELECTION(4, 2)
SELECTION(8, 2)
