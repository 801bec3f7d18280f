// What the attention kernels share: tiles of rows in shared memory, and products of tiles in registers.
//
// A tile has ROWS rows of one head, WIDTH numbers each, without padding. Its 16-byte pieces are permuted within a row, such
// that the eight rows that ldmatrix reads at a time are in different banks (an XOR swizzle).
//
// A warp owns parts of 16 rows of a product. Its accumulators are those of mma m16n8k16: c[part][j] has the columns 8j to
// 8j + 7. Of these, lane l has columns 2 (l % 4) and the next: of row l / 4 in [0] and [1], of row l / 4 + 8 in [2] and [3].
#pragma once
#include "warp.cuh"

constexpr int WARP_ROWS = 16;
constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

// The piece at which a row has its piece `piece`. Rows of a multiple of 128 bytes all start at the first bank: the permutation
// takes eight rows to eight places. Rows of 192 bytes start at the first or the middle bank in turn: four places are enough.
template <int WIDTH> DEVICE int swizzled(int row, int piece) {
    static_assert(WIDTH % 64 == 0 || WIDTH % 64 == 32, "a row is a multiple of 64 bytes");
    return piece ^ (WIDTH % 64 == 0 ? row & 7 : row >> 1 & 3);
}

template <int WIDTH, class T> DEVICE T* piece_of(T* tile, int row, int piece) {
    return tile + row * WIDTH + swizzled<WIDTH>(row, piece) * 8;
}

// The same for piece 2 pair + odd: the permutation of the row is the same for all pairs.
template <int WIDTH, class T> DEVICE T* piece_of(T* tile, int row, int odd, int pair) {
    return tile + row * WIDTH + (swizzled<WIDTH>(row, odd) ^ 2 * pair) * 8;
}

// Begins to copy rows `first..first + ROWS` of a head; rows from `length` on become zero and are not read.
template <int WIDTH, int ROWS, int THREADS, class T>
DEVICE void copy_tile(T* tile, const T* source, long stride, int first, int length) {
    // So many threads copy a row, in one or three turns.
    constexpr int PIECES = WIDTH / 8, ACROSS = PIECES % 8 == 0 ? PIECES : 4, DOWN = THREADS / ACROSS;
    static_assert(PIECES % ACROSS == 0 && ROWS % DOWN == 0, "every thread copies the same number of pieces");
    const int thread = opaque(thread_index()), row = thread / ACROSS, piece = thread % ACROSS;
    source += (first + row) * stride + piece * 8;
    UNROLL for (int i = 0; i < ROWS / DOWN; i++) {
        UNROLL for (int j = 0; j < PIECES / ACROSS; j++)
            copy_async16(piece_of<WIDTH>(tile, row + i * DOWN, piece + j * ACROSS), source + j * ACROSS * 8,
                         first + row + i * DOWN < length);
        source += DOWN * stride;
    }
}

template <int PARTS, int N> DEVICE void clear(float (&c)[PARTS][N][4]) {
    UNROLL for (int part = 0; part < PARTS; part++)
        UNROLL for (int j = 0; j < N; j++) c[part][j][0] = c[part][j][1] = c[part][j][2] = c[part][j][3] = 0.f;
}

// Rows `row..row + 16`, columns `16 step..16 step + 16` of a tile, as the left factor of mma.
template <int WIDTH, class T> DEVICE void left_factor(uint32_t (&a)[4], T* tile, int row, int step, int lane) {
    ldmatrix(a, piece_of<WIDTH>(tile, row + lane % 16, lane / 16, step));
}

// Rows `row..row + 16` of a tile as 16 columns of the right factor, for the sum over columns `16 step..16 step + 16`.
template <int WIDTH, class T> DEVICE void right_factor_of_rows(uint32_t (&b)[4], T* tile, int row, int step, int lane) {
    ldmatrix(b, piece_of<WIDTH>(tile, row + lane % 8 + lane / 16 * 8, lane / 8 % 2, step));
}

// Columns `16 column..16 column + 16` of a tile as the right factor, for the sum over rows `row..row + 16`.
template <int WIDTH, class T> DEVICE void right_factor_of_columns(uint32_t (&b)[4], T* tile, int row, int column, int lane) {
    ldmatrix_transposed(b, piece_of<WIDTH>(tile, row + lane % 8 + lane / 8 % 2 * 8, lane / 16, column));
}

// Accumulators, rounded, as left factors of the next product, each of 16 columns.
template <class T, int N> DEVICE void left_factors_of(uint32_t (&a)[N / 2][4], const float (&c)[N][4]) {
    UNROLL for (int i = 0; i < N / 2; i++)
        UNROLL for (int e = 0; e < 4; e++) a[i][e] = pack<T>(c[2 * i + e / 2][e % 2 * 2], c[2 * i + e / 2][e % 2 * 2 + 1]);
}

// c[part] += (16 rows of a tile, from `left_row + 16 part` on) · (COLUMNS rows of another tile)ᵀ. Each right factor that is
// loaded serves all parts.
template <int WIDTH, int COLUMNS, int PARTS, class T>
DEVICE void multiply_rows(float (&c)[PARTS][COLUMNS / 8][4], T* left, int left_row, T* right, int lane) {
    UNROLL for (int step = 0; step < WIDTH / 16; step++) {
        uint32_t a[PARTS][4];
        UNROLL for (int part = 0; part < PARTS; part++)
            left_factor<WIDTH>(a[part], left, left_row + part * WARP_ROWS, step, lane);
        UNROLL for (int j = 0; j < COLUMNS / 16; j++) {
            uint32_t b[4];
            right_factor_of_rows<WIDTH>(b, right, j * 16, step, lane);
            UNROLL for (int part = 0; part < PARTS; part++) {
                mma<T>(c[part][2 * j], a[part], b[0], b[1]);
                mma<T>(c[part][2 * j + 1], a[part], b[2], b[3]);
            }
        }
    }
}

// c[part] += (16 x 16 STEPS left factors) · (COLUMNS columns, from `16 first` on, of 16 STEPS rows of a tile)
template <int WIDTH, int COLUMNS, int PARTS, int STEPS, class T>
DEVICE void multiply_columns(float (&c)[PARTS][COLUMNS / 8][4], const uint32_t (&a)[PARTS][STEPS][4], T* right, int first,
                             int lane) {
    UNROLL for (int step = 0; step < STEPS; step++)
        UNROLL for (int j = 0; j < COLUMNS / 16; j++) {
            uint32_t b[4];
            right_factor_of_columns<WIDTH>(b, right, step * 16, first + j, lane);
            UNROLL for (int part = 0; part < PARTS; part++) {
                mma<T>(c[part][2 * j], a[part][step], b[0], b[1]);
                mma<T>(c[part][2 * j + 1], a[part][step], b[2], b[3]);
            }
        }
}

// Puts 16 x COLUMNS accumulators, times a factor for each of the lane's two rows, into a tile, columns from `16 first` on.
template <int WIDTH, int COLUMNS, class T>
DEVICE void put_rows(T* tile, int row, const float (&c)[COLUMNS / 8][4], const float (&factor)[2], int first, int lane) {
    UNROLL for (int half = 0; half < 2; half++)
        UNROLL for (int j = 0; j < COLUMNS / 8; j++) {
            T* piece = piece_of<WIDTH>(tile, row + lane / 4 + 8 * half, 2 * first + j);
            const uint32_t both = pack<T>(c[j][2 * half] * factor[half], c[j][2 * half + 1] * factor[half]);
            shared_store((uint32_t*)piece + lane % 4, both);
        }
}

// Writes 16 rows of a tile, columns from `16 first` on, to the rows `to..` of a head that lie before `length`: 16 bytes a lane.
template <int WIDTH, int COLUMNS, class T>
DEVICE void write_rows(T* target, long stride, T* tile, int row, int to, int length, int first, int lane) {
    constexpr int PIECES = COLUMNS / 8;
    UNROLL for (int i = 0; i < WARP_ROWS * PIECES / 32; i++) {
        const int item = lane + i * 32, of = item / PIECES, piece = 2 * first + item % PIECES;
        const uint4 numbers = shared_load((const uint4*)piece_of<WIDTH>(tile, row + of, piece));
        if (to + of < length) store(target + (to + of) * stride + piece * 8, numbers);
    }
}
