// Rows by their indices, compiled.
#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(ROWS_THREADS) rows_gather(
    const uint4* __restrict__ rows, const int* __restrict__ indices, int pieces, uint4* __restrict__ selected) {
    gather_rows(rows, indices, pieces, selected);
}

extern "C" __global__ void __launch_bounds__(ROWS_THREADS) rows_scatter(
    const uint4* __restrict__ selected, const int* __restrict__ indices, int pieces, uint4* __restrict__ rows) {
    scatter_rows(selected, indices, pieces, rows);
}
