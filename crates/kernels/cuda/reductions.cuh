// Sums and maxima over the threads of a block, in an order that never changes: a tree in each warp, then warp after warp.
//
// All threads of the block call them, and all get the same bits. `scratch` has N · THREADS / 32 places; it may be used again
// at once.
#pragma once
#include "warp.cuh"

// A loop over warps that stays one: unrolled, it would hold the values of all warps in registers.
#ifdef __CUDACC__
#define ROLLED _Pragma("unroll 1")
#else
#define ROLLED
#endif

// Σ over the threads of each of N values.
template <int THREADS, int N, class T> DEVICE void block_sum(T (&values)[N], T* scratch) {
    const int warp = thread_index() / 32;
    UNROLL for (int i = 0; i < N; i++) {
        UNROLL for (int mask = 16; mask > 0; mask >>= 1) values[i] += shuffle_xor(values[i], mask);
        if (thread_index() % 32 == 0) shared_store(scratch + warp * N + i, values[i]);
    }
    sync_block();
    UNROLL for (int i = 0; i < N; i++) values[i] = shared_load(scratch + i);
    ROLLED for (int other = 1; other < THREADS / 32; other++)
        UNROLL for (int i = 0; i < N; i++) values[i] += shared_load(scratch + other * N + i);
    sync_block();  // Everybody has added
}

// The largest of each of N values.
template <int THREADS, int N> DEVICE void block_max(float (&values)[N], float* scratch) {
    const int warp = thread_index() / 32;
    UNROLL for (int i = 0; i < N; i++) {
        values[i] = warp_max(values[i]);
        if (thread_index() % 32 == 0) shared_store(scratch + warp * N + i, values[i]);
    }
    sync_block();
    UNROLL for (int i = 0; i < N; i++) values[i] = shared_load(scratch + i);
    ROLLED for (int other = 1; other < THREADS / 32; other++)
        UNROLL for (int i = 0; i < N; i++) values[i] = fmaxf(values[i], shared_load(scratch + other * N + i));
    sync_block();  // Everybody has compared
}
