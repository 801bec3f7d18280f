// The last step of sums over rows: parts that blocks have left, added in the order of the blocks.
#pragma once
#include "warp.cuh"

constexpr int COLUMN_SUM_COLUMNS = 32;
constexpr int COLUMN_SUM_GROUPS = 32;
constexpr int COLUMN_SUM_THREADS = COLUMN_SUM_COLUMNS * COLUMN_SUM_GROUPS;
constexpr size_t COLUMN_SUM_SHARED_BYTES = COLUMN_SUM_THREADS * 4;

// `sums` [columns] += Σ over the rows of `parts` [rows, columns]. One block for 32 columns: each warp adds every 32nd row,
// then one adds what the warps have.
DEVICE void add_column_sums(const float* parts, int rows, int columns, float* sums) {
    float* shared = (float*)shared_memory();
    const int lane = thread_index() % 32, group = thread_index() / 32;
    const int column = block_index_x() * COLUMN_SUM_COLUMNS + lane;
    float sum = 0.f;
    if (column < columns)
        for (int row = group; row < rows; row += COLUMN_SUM_GROUPS) sum += parts[(long)row * columns + column];
    shared_store(shared + thread_index(), sum);
    sync_block();
    if (group == 0 && column < columns) {
        for (int other = 1; other < COLUMN_SUM_GROUPS; other++) sum += shared_load(shared + other * 32 + lane);
        sums[column] += sum;
    }
}
