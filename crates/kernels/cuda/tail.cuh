// Rows of logits in f32, four at a time, and sums of exponentials over them.
#pragma once
#include "warp.cuh"

constexpr float LOG2_E = 1.4426950408889634f;
// The lowest finite number. Unlike minus infinity it can be subtracted from minus infinity.
constexpr float LOWEST = -3.402823466e38f;

// A row of logits. It need not be aligned.
struct LogitRow {
    const float* z;
    int vocabulary;
    bool aligned;
};

DEVICE LogitRow logit_row(const float* z, int vocabulary) {
    LogitRow row;
    row.z = z, row.vocabulary = vocabulary, row.aligned = (uintptr_t)z % 16 == 0;
    return row;
}

// The logits `first` to `first + 3`, `first` being a multiple of 4; −∞ beyond the end.
DEVICE void load_logits(float (&z)[4], const LogitRow& row, int first) {
    if (row.aligned && first + 4 <= row.vocabulary) {
        const float4 four = load<float4>(row.z + first);
        z[0] = four.x, z[1] = four.y, z[2] = four.z, z[3] = four.w;
    } else {
        UNROLL for (int j = 0; j < 4; j++) z[j] = first + j < row.vocabulary ? row.z[first + j] : -infinity();
    }
}

// Σ exp((z − top) / τ) over some logits z, for N temperatures τ. `top` is the largest logit, or LOWEST.
template <int N> struct ExponentialSums {
    float top;
    float at[N];
};

template <int N> DEVICE ExponentialSums<N> no_exponentials() {
    ExponentialSums<N> sums;
    sums.top = LOWEST;
    UNROLL for (int t = 0; t < N; t++) sums.at[t] = 0.f;
    return sums;
}

// Makes `top` at least this. `factors` are log2(e) / τ.
template <int N> DEVICE void raise(ExponentialSums<N>& sums, const float (&factors)[N], float top) {
    if (top > sums.top) {
        UNROLL for (int t = 0; t < N; t++) sums.at[t] *= exp2_fast((sums.top - top) * factors[t]);
        sums.top = top;
    }
}

// Adds four logits. Those that are −∞ add nothing.
template <int N> DEVICE void add_logits(ExponentialSums<N>& sums, const float (&factors)[N], const float (&z)[4]) {
    raise(sums, factors, fmaxf(fmaxf(z[0], z[1]), fmaxf(z[2], z[3])));
    UNROLL for (int t = 0; t < N; t++) {
        float e[4];
        UNROLL for (int j = 0; j < 4; j++) e[j] = exp2_fast((z[j] - sums.top) * factors[t]);
        sums.at[t] += (e[0] + e[1]) + (e[2] + e[3]);
    }
}
