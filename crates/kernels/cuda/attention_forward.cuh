// Causal attention of packed sequences with grouped key-value heads, forward: o_i = Σ_{j ≤ i} softmax_j(s · q_i · k_j) v_j
// within each sequence (FlashAttention-2's algorithm, arXiv 2307.08691).
//
// One block: QUERIES rows of one head. It goes over the keys of its sequence from the diagonal to the first, KEYS at a time,
// with a softmax in base 2 whose maximum and sum are corrected on the way. Keys and values are double-buffered by cp.async:
// the next keys are on their way while the scores of these are multiplied, the next values while these are mixed.
#pragma once
#include "attention_tiles.cuh"

template <int WIDTH, int QUERIES, int KEYS> struct ForwardShape {
    static constexpr int WARPS = 4, THREADS = WARPS * 32;
    static constexpr int BLOCK_ROWS = QUERIES / WARPS;        // of a warp
    static constexpr int PARTS = BLOCK_ROWS / WARP_ROWS;      // of 16 rows; each factor from shared memory serves all
    static constexpr int SHARED_BYTES = (QUERIES + 4 * KEYS) * WIDTH * 2;
    static_assert(KEYS % BLOCK_ROWS == 0, "every row of a warp has a key in each tile that the warp multiplies");
};

// Removes the keys behind each query. `row` and `column` are the first of the warp and of the tile, in the sequence.
template <int KEYS, int PARTS>
DEVICE void forward_mask(float (&scores)[PARTS][KEYS / 8][4], int row, int column, int lane) {
    UNROLL for (int part = 0; part < PARTS; part++)
        UNROLL for (int j = 0; j < KEYS / 8; j++)
            UNROLL for (int e = 0; e < 4; e++) {
                const int query = row + part * WARP_ROWS + lane / 4 + 8 * (e / 2);
                const int key = column + j * 8 + 2 * (lane % 4) + e % 2;
                if (key > query) scores[part][j][e] = -infinity();
            }
}

// Turns scores into 2^(scale · (score - largest)), and corrects what was summed with an earlier largest score.
template <int WIDTH, int KEYS>
DEVICE void forward_softmax(float (&scores)[KEYS / 8][4], float (&mixed)[WIDTH / 8][4], float (&largest)[2], float (&sum)[2],
                            float scale) {
    UNROLL for (int half = 0; half < 2; half++) {
        float top = largest[half];
        UNROLL for (int j = 0; j < KEYS / 8; j++) top = fmaxf(top, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
        top = fmaxf(top, shuffle_xor(top, 1));
        top = fmaxf(top, shuffle_xor(top, 2));
        const float shrink = exp2_fast((largest[half] - top) * scale), scaled_top = top * scale;
        largest[half] = top;
        float added = 0.f;
        UNROLL for (int j = 0; j < KEYS / 8; j++)
            UNROLL for (int e = 2 * half; e < 2 * half + 2; e++) {
                scores[j][e] = exp2_fast(scores[j][e] * scale - scaled_top);
                added += scores[j][e];
            }
        sum[half] = sum[half] * shrink + added;
        UNROLL for (int j = 0; j < WIDTH / 8; j++) mixed[j][2 * half] *= shrink, mixed[j][2 * half + 1] *= shrink;
    }
}

// Sequence b has the rows edges[b]..edges[b + 1]. Block x does tile tiles[x].y of sequence tiles[x].x, block y is the head.
// Strides are in numbers, from one row to the next; head h starts h · WIDTH numbers from the start of a row. `log_sums` is
// [heads, rows]: the natural logarithm of the sum of the exponentials, for the backward pass.
template <class T, int WIDTH, int QUERIES, int KEYS>
DEVICE void attention_forward(const T* queries, const T* keys, const T* values, T* outputs, float* log_sums, const int* edges,
                              const int2* tiles, long query_stride, long key_stride, long output_stride, int group, int rows,
                              float scale) {
    using Shape = ForwardShape<WIDTH, QUERIES, KEYS>;
    constexpr int PARTS = Shape::PARTS, TILE = KEYS * WIDTH;
    T* const query_tile = (T*)shared_memory();
    T* const key_tiles = query_tile + QUERIES * WIDTH;
    T* const value_tiles = key_tiles + 2 * TILE;

    const int2 tile = tiles[block_index_x()];
    const int head = block_index_y(), warp = thread_index() / 32;
    const int start = edges[tile.x], length = edges[tile.x + 1] - start;
    const int first = tile.y * QUERIES, end = first + QUERIES < length ? first + QUERIES : length;
    const int row = warp * Shape::BLOCK_ROWS;  // the warp's first, in the tile
    queries += start * query_stride + head * WIDTH;
    keys += start * key_stride + head / group * WIDTH;
    values += start * key_stride + head / group * WIDTH;

    const auto copy_keys = [&](int step) {
        copy_tile<WIDTH, KEYS, Shape::THREADS>(key_tiles + step % 2 * TILE, keys, key_stride, step * KEYS, length);
    };
    const auto copy_values = [&](int step) {
        copy_tile<WIDTH, KEYS, Shape::THREADS>(value_tiles + step % 2 * TILE, values, key_stride, step * KEYS, length);
    };
    const int steps = (end + KEYS - 1) / KEYS;
    copy_tile<WIDTH, QUERIES, Shape::THREADS>(query_tile, queries, query_stride, first, length);
    copy_keys(steps - 1);
    copy_commit();
    copy_values(steps - 1);
    copy_commit();

    float mixed[PARTS][WIDTH / 8][4], largest[PARTS][2], sum[PARTS][2];
    clear(mixed);
    UNROLL for (int part = 0; part < PARTS; part++) {
        largest[part][0] = largest[part][1] = -infinity();
        sum[part][0] = sum[part][1] = 0.f;
    }
    for (int step = steps - 1; step >= 0; step--) {
        const int lane = opaque(thread_index() % 32);
        // Near the diagonal a tile can lie behind all rows of a warp.
        const bool sees = step * KEYS < first + row + Shape::BLOCK_ROWS;
        uint32_t weights[PARTS][KEYS / 16][4];
        copy_wait<1>();  // These keys are here; the values may be on their way.
        sync_block();    // Everybody is done with the other keys.
        if (step > 0) copy_keys(step - 1);
        copy_commit();
        if (sees) {
            float scores[PARTS][KEYS / 8][4];
            clear(scores);
            multiply_rows<WIDTH, KEYS>(scores, query_tile, row, key_tiles + step % 2 * TILE, lane);
            if ((step + 1) * KEYS > first + row + 1) forward_mask<KEYS, PARTS>(scores, first + row, step * KEYS, lane);
            UNROLL for (int part = 0; part < PARTS; part++) {
                forward_softmax<WIDTH, KEYS>(scores[part], mixed[part], largest[part], sum[part], scale * LOG2_E);
                left_factors_of<T>(weights[part], scores[part]);
            }
        }
        copy_wait<1>();  // These values are here; the next keys may be on their way.
        sync_block();    // Everybody is done with the other values.
        if (step > 0) copy_values(step - 1);
        copy_commit();
        if (sees) multiply_columns<WIDTH, WIDTH>(mixed, weights, value_tiles + step % 2 * TILE, 0, lane);
    }

    const int lane = thread_index() % 32;
    outputs += start * output_stride + head * WIDTH;
    log_sums += (long)head * rows + start;
    UNROLL for (int part = 0; part < PARTS; part++) {
        const int part_row = row + part * WARP_ROWS;
        float inverse[2];
        UNROLL for (int half = 0; half < 2; half++) {
            float total = sum[part][half];
            total += shuffle_xor(total, 1);
            total += shuffle_xor(total, 2);
            inverse[half] = 1.f / total;
            const int query = first + part_row + lane / 4 + 8 * half;
            if (lane % 4 == 0 && query < length) log_sums[query] = largest[part][half] * scale + logf(total);
        }
        // Through the tile of queries, of which a warp reads its own rows only.
        put_rows<WIDTH, WIDTH>(query_tile, part_row, mixed[part], inverse, 0, lane);
        sync_warp();
        write_rows<WIDTH, WIDTH>(outputs, output_stride, query_tile, part_row, first + part_row, length, 0, lane);
    }
}
