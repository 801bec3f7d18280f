// The objective, compiled for gradients in bf16 and f16, at temperature 1 and at others.
#include "objective.cuh"

// Logits and gradients may be the same memory.
#define OBJECTIVE(NAME, T, TEMPERED)                                                                                         \
    extern "C" __global__ void __launch_bounds__(OBJECTIVE_THREADS, 3)                                                          \
        NAME##_##T(float* logits, long stride, T* gradients, long gradient_stride, int vocabulary, int first_row,            \
                   SupervisedRows rows, Objective learnt, int room_entries, int room_drawn, double* __restrict__ losses) {   \
        objective<T, TEMPERED>(logits, stride, gradients, gradient_stride, vocabulary, first_row, rows, learnt,              \
                               room_entries, room_drawn, losses);                                                            \
    }

OBJECTIVE(objective, bf16, false)
OBJECTIVE(objective, f16, false)
OBJECTIVE(objective_tempered, bf16, true)
OBJECTIVE(objective_tempered, f16, true)

extern "C" __global__ void __launch_bounds__(LOSS_SUM_THREADS) row_losses(const double* losses, int rows, double* totals) {
    add_row_losses(losses, rows, totals);
}
