// Query and key of each token in their rows of one product: each head normalised if the family does so, then rotated by its
// token's position (arXiv 2104.09864), all in f32 with one rounding. May work in place.
//
// A row has the query heads, then the key heads, then what stays as it is (the values). A group of threads has a head; thread
// g of the group has the elements 4g and on of its first half, and the same of its second half: both sides of its pairs.
// A block has one token at a time.
//
// Backward, with ρ the rotation, r = 1 / √(mean(x²) + ε) and g = ρ⁻¹(gradient): ∂w = Σ g · x · r and
// ∂x = r · (g · w) − x · r³ · mean(x · g · w); without a norm ∂x = g.
#pragma once
#include "elements.cuh"

constexpr int ROTARY_THREADS = 128;

// Threads of a group: a power of two, so that shuffles stay within it.
template <int WIDTH> constexpr int ROTARY_GROUP = WIDTH <= 64 ? 8 : WIDTH <= 128 ? 16 : 32;

// Backward with norms: the parts of each group.
template <int WIDTH> constexpr size_t ROTARY_BACKWARD_SHARED_BYTES = ROTARY_THREADS / ROTARY_GROUP<WIDTH> * 2 * WIDTH * 4;

// Angles: the pair of element j of a thread's first half and, with NEIGHBOURS, of its second.
struct Turn {
    float cosine[4], sine[4];
};

// `cosines` and `sines` [positions, WIDTH / 2] in f32; `sign` −1 turns back.
template <int WIDTH, bool NEIGHBOURS>
DEVICE Turn turn_of(const float* cosines, const float* sines, int position, int place, float sign) {
    Turn turn;
    UNROLL for (int j = 0; j < 4; j++) {
        // Halves: pair 4g + j. Neighbours: two pairs in the first half and two in the second.
        const int pair = NEIGHBOURS ? (j / 2) * WIDTH / 4 + place / 2 + j % 2 : place + j;
        const long angle = (long)position * (WIDTH / 2) + pair;
        turn.cosine[j] = cosines[angle], turn.sine[j] = sign * sines[angle];
    }
    return turn;
}

template <bool NEIGHBOURS> DEVICE void rotate(float (&x)[8], const Turn& turn) {
    UNROLL for (int j = 0; j < 4; j++) {
        const int first = NEIGHBOURS ? 2 * j : j, second = NEIGHBOURS ? 2 * j + 1 : j + 4;
        const float a = x[first], b = x[second];
        x[first] = a * turn.cosine[j] - b * turn.sine[j];
        x[second] = b * turn.cosine[j] + a * turn.sine[j];
    }
}

// The eight elements of a thread of a head.
template <int WIDTH, class T> DEVICE void load_sides(float (&x)[8], const T* head, int place) {
    float sides[2][4];
    load_four(sides[0], head + place), load_four(sides[1], head + WIDTH / 2 + place);
    UNROLL for (int j = 0; j < 8; j++) x[j] = sides[j / 4][j % 4];
}

template <int WIDTH, class T> DEVICE void store_sides(T* head, int place, const float (&x)[8]) {
    float sides[2][4];
    UNROLL for (int j = 0; j < 8; j++) sides[j / 4][j % 4] = x[j];
    store_four(head + place, sides[0]), store_four(head + WIDTH / 2 + place, sides[1]);
}

// Σ over the threads of a group.
template <int WIDTH> DEVICE float group_sum(float value) {
    UNROLL for (int mask = ROTARY_GROUP<WIDTH> / 2; mask > 0; mask >>= 1) value += shuffle_xor(value, mask);
    return value;
}

// `rotated` ← the rotated, with NORM normalised, heads of `heads`; row n at `positions[n]`. Rows are `stride` elements apart, in
// `rotated` `rotated_stride`, both multiples of 4. `query_weight` and `key_weight` [WIDTH] with NORM. One block a row.
template <class T, int WIDTH, bool NORM, bool NEIGHBOURS>
DEVICE void rotary(const T* heads, long stride, T* rotated, long rotated_stride, int query_heads, int key_heads,
                   const int* positions, const float* cosines, const float* sines, float sign, const T* query_weight,
                   const T* key_weight, float epsilon) {
    constexpr int GROUP = ROTARY_GROUP<WIDTH>, GROUPS = ROTARY_THREADS / GROUP;
    const long row = block_index_x();
    const int place = 4 * (thread_index() % GROUP);
    const bool works = place < WIDTH / 2;
    Turn turn = {};
    if (works) turn = turn_of<WIDTH, NEIGHBOURS>(cosines, sines, positions[row], place, sign);
    for (int first = 0; first < query_heads + key_heads; first += GROUPS) {
        const int head = first + thread_index() / GROUP;
        const bool mine = works && head < query_heads + key_heads;
        float x[8] = {};
        if (mine) load_sides<WIDTH>(x, heads + row * stride + head * WIDTH, place);
        if (NORM) {
            float squares = 0.f;
            UNROLL for (int j = 0; j < 8; j++) squares += x[j] * x[j];
            const float inverse_root = 1.f / sqrtf(group_sum<WIDTH>(squares) / WIDTH + epsilon);
            float w[8] = {};
            if (mine) load_sides<WIDTH>(w, head < query_heads ? query_weight : key_weight, place);
            UNROLL for (int j = 0; j < 8; j++) x[j] = x[j] * inverse_root * w[j];
        }
        rotate<NEIGHBOURS>(x, turn);
        if (mine) store_sides<WIDTH>(rotated + row * rotated_stride + head * WIDTH, place, x);
    }
}

// `gradient`, that of the rotated heads, becomes that of `heads`, which are the heads before their norm; both as above. Each
// block's part of the gradients of both weights goes into its row of `weight_parts` [blocks, 2, WIDTH], for `add_column_sums`.
// Block b has the rows b · `block_rows` and on.
template <class T, int WIDTH, bool NEIGHBOURS>
DEVICE void head_norm_rotary_backward(const T* heads, long stride, T* gradient, long gradient_stride, int rows,
                                      int query_heads, int key_heads, const int* positions, const float* cosines,
                                      const float* sines, const T* query_weight, const T* key_weight, float epsilon,
                                      int block_rows, float* weight_parts) {
    constexpr int GROUP = ROTARY_GROUP<WIDTH>, GROUPS = ROTARY_THREADS / GROUP;
    float* shared = (float*)shared_memory();  // [GROUPS, 2, WIDTH]
    const int place = 4 * (thread_index() % GROUP), group = thread_index() / GROUP;
    const bool works = place < WIDTH / 2;
    float parts[2][8] = {};  // of the query weight, of the key weight
    const int end = rows - block_index_x() * block_rows < block_rows ? rows : (block_index_x() + 1) * block_rows;
    for (int row = block_index_x() * block_rows; row < end; row++) {
        Turn back = {};
        if (works) back = turn_of<WIDTH, NEIGHBOURS>(cosines, sines, positions[row], place, -1.f);
        for (int first = 0; first < query_heads + key_heads; first += GROUPS) {
            const int head = first + group;
            const bool mine = works && head < query_heads + key_heads, is_query = head < query_heads;
            T* const at = gradient + row * gradient_stride + head * WIDTH;
            float x[8] = {}, g[8] = {}, w[8] = {};
            if (mine) {
                load_sides<WIDTH>(x, heads + row * stride + head * WIDTH, place);
                load_sides<WIDTH>(g, at, place);
                load_sides<WIDTH>(w, is_query ? query_weight : key_weight, place);
            }
            rotate<NEIGHBOURS>(g, back);
            float squares = 0.f, product = 0.f;
            UNROLL for (int j = 0; j < 8; j++) squares += x[j] * x[j], product += x[j] * (g[j] * w[j]);
            const float inverse_root = 1.f / sqrtf(group_sum<WIDTH>(squares) / WIDTH + epsilon);
            const float pull = group_sum<WIDTH>(product) * inverse_root * inverse_root * inverse_root / WIDTH;
            UNROLL for (int j = 0; j < 8; j++) {
                const float of_weight = g[j] * x[j] * inverse_root;
                parts[0][j] += is_query ? of_weight : 0.f, parts[1][j] += is_query ? 0.f : of_weight;
                g[j] = g[j] * w[j] * inverse_root - x[j] * pull;
            }
            if (mine) store_sides<WIDTH>(at, place, g);
        }
    }
    // The groups of the block, one after the other.
    if (works)
        UNROLL for (int side = 0; side < 2; side++)
            store_sides<WIDTH>(shared + (group * 2 + side) * WIDTH, place, parts[side]);
    sync_block();
    for (int i = thread_index(); i < 2 * WIDTH; i += ROTARY_THREADS) {
        float sum = 0.f;
        for (int other = 0; other < GROUPS; other++) sum += shared_load(shared + other * 2 * WIDTH + i);
        weight_parts[(long)block_index_x() * 2 * WIDTH + i] = sum;
    }
}
