// Backward of causal attention, with g the gradient of the outputs o: P = exp(s·q·k − lse); ∂v = Pᵀ g;
// ∂S = P ∘ (g vᵀ − delta), delta = rowsum(g ∘ o); ∂q = s · ∂S k; ∂k = s · ∂Sᵀ q.
//
// Three kernels without atomics, so that every gradient is summed by one block in one order. `attention_delta` comes first.
// A block of `attention_backward_keys` has a tile of keys and values of one key-value head and goes over the queries of all
// heads of its group. It multiplies Sᵀ = k qᵀ, so that P and ∂S stay in registers as left factors. A block of
// `attention_backward_queries` has a tile of queries and goes over the keys. Together they make seven products, not five.
#pragma once
#include "attention_tiles.cuh"

// delta[head, row] = Σ outputs · gradients; both are [rows, heads, WIDTH] with a stride in numbers between rows. A part of a
// warp does one head of one row: block x does items x · THREADS / LANES and so on, in the order of memory.
template <int WIDTH> struct DeltaShape {
    static constexpr int THREADS = 256, PIECES = WIDTH / 8;
    static constexpr int LANES = PIECES <= 8 ? 8 : PIECES <= 16 ? 16 : 32;
    static constexpr int BLOCK_ITEMS = THREADS / LANES;
};

template <class T, int WIDTH>
DEVICE void attention_delta(const T* outputs, const T* gradients, float* delta, long output_stride, long gradient_stride,
                            int heads, int rows) {
    using Shape = DeltaShape<WIDTH>;
    const int part = thread_index() % Shape::LANES;
    const long item = (long)block_index_x() * Shape::BLOCK_ITEMS + thread_index() / Shape::LANES;
    const int row = (int)(item / heads), head = (int)(item % heads);
    float sum = 0.f;
    if (row < rows && part < Shape::PIECES) {
        const uint4 o = load<uint4>(outputs + row * output_stride + head * WIDTH + part * 8);
        const uint4 g = load<uint4>(gradients + row * gradient_stride + head * WIDTH + part * 8);
        const uint32_t of_o[4] = {o.x, o.y, o.z, o.w}, of_g[4] = {g.x, g.y, g.z, g.w};
        UNROLL for (int i = 0; i < 4; i++) {
            float o_low, o_high, g_low, g_high;
            unpack<T>(of_o[i], o_low, o_high);
            unpack<T>(of_g[i], g_low, g_high);
            sum += o_low * g_low + o_high * g_high;
        }
    }
    UNROLL for (int mask = Shape::LANES / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    if (row < rows && part == 0) delta[(long)head * rows + row] = sum;
}

// Heads of 256 numbers: two warps share 16 keys, each sums half of the columns, and both multiply the scores.
template <int WIDTH> struct KeysShape {
    static constexpr int KEYS = 64, QUERIES = WIDTH > 128 ? 16 : 64, SHARES = WIDTH > 128 ? 2 : 1;
    static constexpr int THREADS = KEYS / WARP_ROWS * SHARES * 32, COLUMNS = WIDTH / SHARES;
    static constexpr int SHARED_BYTES = (2 * KEYS + 4 * QUERIES) * WIDTH * 2 + 4 * QUERIES * 4;
};

// Gradients of keys and values. The tiles are of KEYS rows; block y is the key-value head. `rows` is the number of all rows:
// `log_sums` and `delta` are [heads, rows].
template <class T, int WIDTH>
DEVICE void attention_backward_keys(const T* queries, const T* keys, const T* values, const T* gradients, const float* log_sums,
                                    const float* delta, T* key_gradients, T* value_gradients, const int* edges,
                                    const int2* tiles, long query_stride, long key_stride, long gradient_stride,
                                    long key_gradient_stride, int group, int rows, float scale) {
    using Shape = KeysShape<WIDTH>;
    constexpr int QUERIES = Shape::QUERIES, KEYS = Shape::KEYS, COLUMNS = Shape::COLUMNS, TILE = QUERIES * WIDTH;
    T* const key_tile = (T*)shared_memory();
    T* const value_tile = key_tile + KEYS * WIDTH;
    T* const query_tiles = value_tile + KEYS * WIDTH;
    T* const gradient_tiles = query_tiles + 2 * TILE;
    float* const log_sum_tiles = (float*)(gradient_tiles + 2 * TILE);
    float* const delta_tiles = log_sum_tiles + 2 * QUERIES;

    const int2 tile = tiles[block_index_x()];
    const int key_head = block_index_y(), thread = thread_index(), warp = thread / 32;
    const int start = edges[tile.x], length = edges[tile.x + 1] - start, first = tile.y * KEYS;
    const int row = warp % (KEYS / WARP_ROWS) * WARP_ROWS;
    const int column = Shape::SHARES == 1 ? 0 : warp / (KEYS / WARP_ROWS) * COLUMNS / 16;  // in units of 16
    // The steps: from the first tile of queries that sees a key to the end of the sequence, for each head of the group.
    const int from = first / QUERIES * QUERIES, steps = (length - from + QUERIES - 1) / QUERIES * group;
    int next_query = from, next_head = key_head * group;

    const long key_offset = start * key_stride + key_head * WIDTH;
    copy_tile<WIDTH, KEYS, Shape::THREADS>(key_tile, keys + key_offset, key_stride, first, length);
    copy_tile<WIDTH, KEYS, Shape::THREADS>(value_tile, values + key_offset, key_stride, first, length);
    const auto copy_queries = [&](int step) {
        const T* const of_queries = queries + start * query_stride + next_head * WIDTH;
        const T* const of_gradients = gradients + start * gradient_stride + next_head * WIDTH;
        T* const query_tile = query_tiles + step % 2 * TILE;
        T* const gradient_tile = gradient_tiles + step % 2 * TILE;
        copy_tile<WIDTH, QUERIES, Shape::THREADS>(query_tile, of_queries, query_stride, next_query, length);
        copy_tile<WIDTH, QUERIES, Shape::THREADS>(gradient_tile, of_gradients, gradient_stride, next_query, length);
        // Where there is no query, all is zero: its weight is 1, and it adds nothing.
        const long at = (long)next_head * rows + start + next_query + thread;
        if (thread >= QUERIES) return;
        copy_async4(log_sum_tiles + step % 2 * QUERIES + thread, log_sums + at, next_query + thread < length);
        copy_async4(delta_tiles + step % 2 * QUERIES + thread, delta + at, next_query + thread < length);
    };
    copy_queries(0);
    copy_commit();

    float of_keys[1][COLUMNS / 8][4], of_values[1][COLUMNS / 8][4];
    clear(of_keys);
    clear(of_values);
    for (int step = 0; step < steps; step++) {
        const int query = next_query, lane = opaque(thread % 32);
        if (step + 1 < steps) {
            next_query += QUERIES;
            if (next_query >= length) next_query = from, next_head++;
            copy_queries(step + 1);
        }
        copy_commit();
        copy_wait<1>();  // All but the copies of the next step are here.
        sync_block();
        T* const query_tile = query_tiles + step % 2 * TILE;
        T* const gradient_tile = gradient_tiles + step % 2 * TILE;
        float weights[1][QUERIES / 8][4], scores[1][QUERIES / 8][4];
        clear(weights);
        clear(scores);
        multiply_rows<WIDTH, QUERIES>(weights, key_tile, row, query_tile, lane);
        multiply_rows<WIDTH, QUERIES>(scores, value_tile, row, gradient_tile, lane);
        UNROLL for (int j = 0; j < QUERIES / 8; j++) {
            const int pair = step % 2 * QUERIES + j * 8 + 2 * (lane % 4);
            const float2 log_sum = shared_load((const float2*)(log_sum_tiles + pair));
            const float2 of_delta = shared_load((const float2*)(delta_tiles + pair));
            UNROLL for (int e = 0; e < 4; e++) {
                const int at = query + j * 8 + 2 * (lane % 4) + e % 2, key = first + row + lane / 4 + 8 * (e / 2);
                const float weight = exp2_fast(weights[0][j][e] * (scale * LOG2_E) - (e % 2 ? log_sum.y : log_sum.x) * LOG2_E);
                weights[0][j][e] = key <= at ? weight : 0.f;
                scores[0][j][e] = weights[0][j][e] * (scores[0][j][e] - (e % 2 ? of_delta.y : of_delta.x));
            }
        }
        uint32_t factors[1][QUERIES / 16][4];
        left_factors_of<T>(factors[0], weights[0]);
        multiply_columns<WIDTH, COLUMNS>(of_values, factors, gradient_tile, column, lane);
        left_factors_of<T>(factors[0], scores[0]);
        multiply_columns<WIDTH, COLUMNS>(of_keys, factors, query_tile, column, lane);
        sync_block();  // Everybody is done with these tiles.
    }

    // Through the tiles of keys and values, which nobody reads any more.
    const int lane = thread % 32;
    const float by_scale[2] = {scale, scale}, by_one[2] = {1.f, 1.f};
    key_gradients += start * key_gradient_stride + key_head * WIDTH;
    value_gradients += start * key_gradient_stride + key_head * WIDTH;
    put_rows<WIDTH, COLUMNS>(key_tile, row, of_keys[0], by_scale, column, lane);
    put_rows<WIDTH, COLUMNS>(value_tile, row, of_values[0], by_one, column, lane);
    sync_warp();
    write_rows<WIDTH, COLUMNS>(key_gradients, key_gradient_stride, key_tile, row, first + row, length, column, lane);
    write_rows<WIDTH, COLUMNS>(value_gradients, key_gradient_stride, value_tile, row, first + row, length, column, lane);
}

template <int WIDTH> struct QueriesShape {
    static constexpr int QUERIES = 64, KEYS = WIDTH > 128 ? 16 : 64, THREADS = QUERIES / WARP_ROWS * 32;
    static constexpr int SHARED_BYTES = (2 * QUERIES + 4 * KEYS) * WIDTH * 2;
};

// Gradients of queries. The tiles are of QUERIES rows; block y is the head.
template <class T, int WIDTH>
DEVICE void attention_backward_queries(const T* queries, const T* keys, const T* values, const T* gradients,
                                       const float* log_sums, const float* delta, T* query_gradients, const int* edges,
                                       const int2* tiles, long query_stride, long key_stride, long gradient_stride,
                                       long query_gradient_stride, int group, int rows, float scale) {
    using Shape = QueriesShape<WIDTH>;
    constexpr int QUERIES = Shape::QUERIES, KEYS = Shape::KEYS, TILE = KEYS * WIDTH;
    T* const query_tile = (T*)shared_memory();
    T* const gradient_tile = query_tile + QUERIES * WIDTH;
    T* const key_tiles = gradient_tile + QUERIES * WIDTH;
    T* const value_tiles = key_tiles + 2 * TILE;

    const int2 tile = tiles[block_index_x()];
    const int head = block_index_y(), row = thread_index() / 32 * WARP_ROWS;
    const int start = edges[tile.x], length = edges[tile.x + 1] - start;
    const int first = tile.y * QUERIES, end = first + QUERIES < length ? first + QUERIES : length;
    const int steps = (end + KEYS - 1) / KEYS;
    keys += start * key_stride + head / group * WIDTH;
    values += start * key_stride + head / group * WIDTH;

    queries += start * query_stride + head * WIDTH;
    gradients += start * gradient_stride + head * WIDTH;
    copy_tile<WIDTH, QUERIES, Shape::THREADS>(query_tile, queries, query_stride, first, length);
    copy_tile<WIDTH, QUERIES, Shape::THREADS>(gradient_tile, gradients, gradient_stride, first, length);
    const auto copy_keys = [&](int step) {
        copy_tile<WIDTH, KEYS, Shape::THREADS>(key_tiles + step % 2 * TILE, keys, key_stride, step * KEYS, length);
        copy_tile<WIDTH, KEYS, Shape::THREADS>(value_tiles + step % 2 * TILE, values, key_stride, step * KEYS, length);
    };
    copy_keys(0);
    copy_commit();

    float log_sum[2], of_delta[2];
    UNROLL for (int half = 0; half < 2; half++) {
        const int query = first + row + thread_index() % 32 / 4 + 8 * half;
        const long at = (long)head * rows + start + query;
        log_sum[half] = query < length ? log_sums[at] * LOG2_E : infinity();
        of_delta[half] = query < length ? delta[at] : 0.f;
    }
    float of_queries[1][WIDTH / 8][4];
    clear(of_queries);
    for (int step = 0; step < steps; step++) {
        if (step + 1 < steps) copy_keys(step + 1);
        copy_commit();
        copy_wait<1>();  // All but the copies of the next step are here.
        sync_block();
        const int lane = opaque(thread_index() % 32);
        T* const key_tile = key_tiles + step % 2 * TILE;
        T* const value_tile = value_tiles + step % 2 * TILE;
        float weights[1][KEYS / 8][4], scores[1][KEYS / 8][4];
        clear(weights);
        clear(scores);
        multiply_rows<WIDTH, KEYS>(weights, query_tile, row, key_tile, lane);
        multiply_rows<WIDTH, KEYS>(scores, gradient_tile, row, value_tile, lane);
        UNROLL for (int j = 0; j < KEYS / 8; j++)
            UNROLL for (int e = 0; e < 4; e++) {
                const int query = first + row + lane / 4 + 8 * (e / 2), key = step * KEYS + j * 8 + 2 * (lane % 4) + e % 2;
                const float weight = exp2_fast(weights[0][j][e] * (scale * LOG2_E) - log_sum[e / 2]);
                scores[0][j][e] = key <= query ? weight * (scores[0][j][e] - of_delta[e / 2]) : 0.f;
            }
        uint32_t factors[1][KEYS / 16][4];
        left_factors_of<T>(factors[0], scores[0]);
        multiply_columns<WIDTH, WIDTH>(of_queries, factors, key_tile, 0, lane);
        sync_block();  // Everybody is done with these tiles.
    }

    // Through the tile of queries, of which a warp reads its own rows only.
    const int lane = thread_index() % 32;
    const float by_scale[2] = {scale, scale};
    put_rows<WIDTH, WIDTH>(query_tile, row, of_queries[0], by_scale, 0, lane);
    sync_warp();
    query_gradients += start * query_gradient_stride + head * WIDTH;
    write_rows<WIDTH, WIDTH>(query_gradients, query_gradient_stride, query_tile, row, first + row, length, 0, lane);
}
