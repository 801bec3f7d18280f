// AdamW (arXiv 1711.05101) of all parameters in one launch, and the norm of their gradients. The formulas are those of
// `crates/train/src/optimizer`.
//
// A parameter in bf16 is its master, the weight in f32, rounded to nearest. The other bits of the master are kept beside it: the
// difference of the bits, from −0x8000 to 0x7fff, so that both together are 32 bits. (Ties go away from zero: with ties to
// even the difference would need one value more.)
//
// A parameter has blocks of its own: a block finds its parameter in the table of first blocks.
#pragma once
#include "elements.cuh"
#include "reductions.cuh"

constexpr int ADAMW_THREADS = 256;
// Elements of one block: a parameter of n elements has n / this (rounded up) blocks.
constexpr int ADAMW_BLOCK = 8192;
constexpr size_t ADAMW_SHARED_BYTES = ADAMW_THREADS / 32 * 8;

// A parameter of `count` elements, every array 16-aligned. `rest` is what the weight lacks of its master: 16 bits for each
// element of bf16, the whole master in f32 for f16.
struct Parameter {
    void* weight;
    void* rest;
    float* first_moment;
    float* second_moment;
    const float* gradient;
    long count;
    int decays;
};

// The numbers of one update: m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; θ ← keep · θ − rate · m / (√v · root_scale + ε).
struct Update {
    double beta1, beta2;
    float rate;        // η / (1 − β₁ᵗ)
    float root_scale;  // 1 / √(1 − β₂ᵗ)
    float epsilon;
    float keep;        // 1 − η · λ, for parameters that decay
};

DEVICE int rest_bytes(const bf16*) { return 2; }
DEVICE int rest_bytes(const f16*) { return 4; }

DEVICE float joined(uint16_t weight, uint16_t rest) {
    return float_of(((uint32_t)weight << 16) + (uint32_t)(int32_t)(int16_t)rest);
}

DEVICE void split(float master, uint16_t& weight, uint16_t& rest) {
    const uint32_t bits = bits_of(master);
    const bool not_a_number = (bits & 0x7fffffffu) > 0x7f800000u;
    weight = not_a_number ? 0x7fc0 : (uint16_t)((bits + 0x8000u) >> 16);
    rest = not_a_number ? 0 : (uint16_t)bits;
}

// Masters of eight elements.
DEVICE void load_masters(float (&theta)[8], const bf16* weight, const void* rest) {
    const uint4 high = load<uint4>(weight), low = load<uint4>(rest);
    const uint32_t highs[4] = {high.x, high.y, high.z, high.w}, lows[4] = {low.x, low.y, low.z, low.w};
    UNROLL for (int i = 0; i < 4; i++) {
        theta[2 * i] = joined((uint16_t)highs[i], (uint16_t)lows[i]);
        theta[2 * i + 1] = joined((uint16_t)(highs[i] >> 16), (uint16_t)(lows[i] >> 16));
    }
}

DEVICE void store_masters(bf16* weight, void* rest, const float (&theta)[8]) {
    uint32_t highs[4], lows[4];
    UNROLL for (int i = 0; i < 4; i++) {
        uint16_t high[2], low[2];
        split(theta[2 * i], high[0], low[0]), split(theta[2 * i + 1], high[1], low[1]);
        highs[i] = high[0] | (uint32_t)high[1] << 16, lows[i] = low[0] | (uint32_t)low[1] << 16;
    }
    uint4 words;
    words.x = highs[0], words.y = highs[1], words.z = highs[2], words.w = highs[3];
    store(weight, words);
    words.x = lows[0], words.y = lows[1], words.z = lows[2], words.w = lows[3];
    store(rest, words);
}

DEVICE void load_masters(float (&theta)[8], const f16*, const void* rest) { load_eight(theta, (const float*)rest); }
DEVICE void store_masters(f16* weight, void* rest, const float (&theta)[8]) {
    store_eight(weight, theta), store_eight((float*)rest, theta);
}

DEVICE void load_master(float& theta, const bf16* weight, const void* rest, long i) {
    theta = joined(weight[i].bits, ((const uint16_t*)rest)[i]);
}
DEVICE void store_master(bf16* weight, void* rest, long i, float theta) {
    split(theta, weight[i].bits, ((uint16_t*)rest)[i]);
}
DEVICE void load_master(float& theta, const f16*, const void* rest, long i) { theta = ((const float*)rest)[i]; }
DEVICE void store_master(f16* weight, void* rest, long i, float theta) {
    weight[i] = round_to<f16>(theta), ((float*)rest)[i] = theta;
}

// The parameter of this block: the last that does not begin after it.
DEVICE int parameter_of_block(const int* first_blocks, int parameters) {
    int low = 0, high = parameters;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (first_blocks[middle] <= block_index_x()) low = middle;
        else high = middle;
    }
    return low;
}

// The first element of this block, and the end.
DEVICE long block_elements(const Parameter& parameter, int first_block, long& end) {
    const long first = (long)(block_index_x() - first_block) * ADAMW_BLOCK;
    end = first + ADAMW_BLOCK < parameter.count ? first + ADAMW_BLOCK : parameter.count;
    return first;
}

struct Blend {
    float keep1, add1, keep2, add2;
};

DEVICE void update_one(float& theta, float& m, float& v, float g, const Blend& blend, const Update& by, float keep) {
    m = blend.keep1 * m + blend.add1 * g;
    v = blend.keep2 * v + blend.add2 * (g * g);
    theta = keep * theta - by.rate * m / (sqrtf(v) * by.root_scale + by.epsilon);
}

// One update of all `parameters`, whose weights are of type T. `first_blocks` [parameters] has the first block of each; the
// gradients are multiplied by `*scale` first. If that is not a finite number, nothing is changed.
template <class T>
DEVICE void adamw(const Parameter* table, const int* first_blocks, int parameters, const double* scale, Update by) {
    const double factor = *scale;
    if (!(fabs(factor) < (double)infinity())) return;
    const Blend blend = {(float)by.beta1, (float)((1.0 - by.beta1) * factor), (float)by.beta2,
                         (float)((1.0 - by.beta2) * factor * factor)};
    const int index = parameter_of_block(first_blocks, parameters);
    const Parameter parameter = table[index];
    const float keep = parameter.decays ? by.keep : 1.f;
    T* weight = (T*)parameter.weight;
    long end;
    long i = block_elements(parameter, first_blocks[index], end) + 8 * thread_index();
    for (; i + 8 <= end; i += 8 * ADAMW_THREADS) {
        void* rest = (char*)parameter.rest + i * rest_bytes(weight);
        float theta[8], m[8], v[8], g[8];
        load_masters(theta, weight + i, rest);
        load_eight(m, parameter.first_moment + i), load_eight(v, parameter.second_moment + i);
        load_eight(g, parameter.gradient + i);
        UNROLL for (int j = 0; j < 8; j++) update_one(theta[j], m[j], v[j], g[j], blend, by, keep);
        store_masters(weight + i, rest, theta);
        store_eight(parameter.first_moment + i, m), store_eight(parameter.second_moment + i, v);
    }
    for (; i < end; i++) {  // the last elements, fewer than eight
        float theta;
        load_master(theta, weight, parameter.rest, i);
        update_one(theta, parameter.first_moment[i], parameter.second_moment[i], parameter.gradient[i], blend, by, keep);
        store_master(weight, parameter.rest, i, theta);
    }
}

// `masters` ← the whole masters of a parameter in bf16, for a checkpoint. A thread for each element.
DEVICE void join_masters(const bf16* weight, const uint16_t* rest, long count, float* masters) {
    const long i = (long)block_index_x() * ADAMW_THREADS + thread_index();
    if (i < count) masters[i] = joined(weight[i].bits, rest[i]);
}

// The reverse.
DEVICE void split_masters(const float* masters, long count, bf16* weight, uint16_t* rest) {
    const long i = (long)block_index_x() * ADAMW_THREADS + thread_index();
    if (i < count) split(masters[i], weight[i].bits, rest[i]);
}

// `parts` [blocks] ← Σ g² over the elements of each block, in double precision; blocks as in `adamw`.
DEVICE void gradient_squares(const Parameter* table, const int* first_blocks, int parameters, double* parts) {
    const int index = parameter_of_block(first_blocks, parameters);
    const Parameter parameter = table[index];
    double squares[1] = {0.0};
    long end;
    long i = block_elements(parameter, first_blocks[index], end) + 8 * thread_index();
    for (; i + 8 <= end; i += 8 * ADAMW_THREADS) {
        float g[8];
        load_eight(g, parameter.gradient + i);
        UNROLL for (int j = 0; j < 8; j++) squares[0] += (double)g[j] * g[j];
    }
    for (; i < end; i++) squares[0] += (double)parameter.gradient[i] * parameter.gradient[i];
    block_sum<ADAMW_THREADS>(squares, (double*)shared_memory());
    if (thread_index() == 0) parts[block_index_x()] = squares[0];
}

// `norm_and_scale` ← the norm of all gradients, and min(limit / norm, 1), what they are to be multiplied by. If the norm is not
// finite, the scale is not a number. One block.
DEVICE void clipping(const double* parts, int blocks, double limit, double* norm_and_scale) {
    double squares[1] = {0.0};
    for (int i = thread_index(); i < blocks; i += ADAMW_THREADS) squares[0] += parts[i];
    block_sum<ADAMW_THREADS>(squares, (double*)shared_memory());
    if (thread_index() > 0) return;
    const double norm = sqrt(squares[0]), scale = limit / norm;
    norm_and_scale[0] = norm;
    norm_and_scale[1] = norm < (double)infinity() ? (scale < 1.0 ? scale : 1.0) : norm - norm;
}
