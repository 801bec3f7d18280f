// Rows by their indices: exact.
//
// mutation | rows.cuh | pieces beyond the end | s/pieces - first < ROWS_PIECES ? pieces : //
// mutation | rows.cuh | a piece is left out | s/i < end/i < end - 1/
#include "rows.cuh"

#include "check.hpp"

static void there_and_back(int rows, int pieces, const std::vector<int>& chosen) {
    check::Row line("rows", std::to_string(chosen.size()) + " of " + std::to_string(rows) + ", " + std::to_string(16 * pieces) + " bytes");
    const int count = (int)chosen.size();
    check::Array<uint4> all(rows * pieces), selected(count * pieces), back(rows * pieces);
    check::Array<int> indices(count);
    std::copy(chosen.begin(), chosen.end(), indices.data());
    check::Random random(rows);
    for (uint4& piece : all) piece = {(uint32_t)random.below(1 << 30), 1, 2, (uint32_t)random.below(1 << 30)};
    const emulator::Grid grid = {count, (pieces + ROWS_PIECES - 1) / ROWS_PIECES};
    emulator::launch(grid, ROWS_THREADS, 0, [&] { gather_rows(all.data(), indices.data(), pieces, selected.data()); });
    emulator::launch(grid, ROWS_THREADS, 0, [&] { scatter_rows(selected.data(), indices.data(), pieces, back.data()); });
    for (int i = 0; i < count; i++) {
        const size_t bytes = (size_t)pieces * 16;
        line.exact(memcmp(selected.data() + i * pieces, all.data() + chosen[i] * pieces, bytes) == 0);
        line.exact(memcmp(back.data() + chosen[i] * pieces, all.data() + chosen[i] * pieces, bytes) == 0);
    }
}

int main() {
    there_and_back(9, 515, {8, 0, 3});
    there_and_back(5, 1, {4, 1});
    return check::finish();
}
