// Rows by their indices, of any type, in pieces of 16 bytes: an embedding, the rows that go through the head, and the way back.
#pragma once
#include "warp.cuh"

constexpr int ROWS_THREADS = 128;
// Pieces of one block: the grid has the rows of `indices` in x, and pieces / this (rounded up) in y.
constexpr int ROWS_PIECES = 4 * ROWS_THREADS;

// The block's pieces of one row.
DEVICE void copy_row(const uint4* from, uint4* to, int pieces) {
    const int first = block_index_y() * ROWS_PIECES, end = pieces - first < ROWS_PIECES ? pieces : first + ROWS_PIECES;
    for (int i = first + thread_index(); i < end; i += ROWS_THREADS) store(to + i, load<uint4>(from + i));
}

// `selected` [n, pieces] ← the rows `indices` [n] of `rows`.
DEVICE void gather_rows(const uint4* rows, const int* indices, int pieces, uint4* selected) {
    copy_row(rows + (long)indices[block_index_x()] * pieces, selected + (long)block_index_x() * pieces, pieces);
}

// The rows `indices` [n], each another, of `rows` ← `selected` [n, pieces].
DEVICE void scatter_rows(const uint4* selected, const int* indices, int pieces, uint4* rows) {
    copy_row(selected + (long)block_index_x() * pieces, rows + (long)indices[block_index_x()] * pieces, pieces);
}
