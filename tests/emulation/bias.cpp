// The bias of a product and its gradient against double precision.
//
// mutation | bias.cuh | rows beyond the last | s/rows - first < block_rows ? rows : //
// mutation | bias.cuh | the bias of other columns | s/bias + column)/bias)/
#include "bias.cuh"

#include "check.hpp"
#include "column_sums.cuh"
#include "rounding.hpp"

template <class T> static void both(int rows, int width, int padding, int block_rows) {
    check::Row line("bias", std::string(check::name_of<T>()) + ", " + std::to_string(rows) + " rows, width " + std::to_string(width));
    check::Random random(rows);
    const long stride = width + padding;
    const int blocks = (rows + block_rows - 1) / block_rows, in_y = (width + BIAS_COLUMNS - 1) / BIAS_COLUMNS;
    check::Array<T> x((rows - 1) * stride + width), bias(width);
    check::Array<float> parts(blocks * width), sums(width);
    random.fill(x), random.fill(bias);
    std::fill(sums.begin(), sums.end(), 0.25f);
    const std::vector<T> before(x.begin(), x.end());
    emulator::launch({blocks, in_y}, BIAS_THREADS, 0,
                     [&] { bias_backward<T>(x.data(), stride, rows, width, block_rows, parts.data()); });
    emulator::launch({(width + COLUMN_SUM_COLUMNS - 1) / COLUMN_SUM_COLUMNS, 1}, COLUMN_SUM_THREADS, COLUMN_SUM_SHARED_BYTES,
                     [&] { add_column_sums(parts.data(), blocks, width, sums.data()); });
    emulator::launch({rows, in_y}, BIAS_THREADS, 0, [&] { add_bias<T>(x.data(), stride, bias.data(), width); });
    Rounding<T> added;
    double worst = 0;
    for (int i = 0; i < width; i++) {
        double sum = 0.25, size = 0.25;
        for (int r = 0; r < rows; r++) {
            const double value = check::number(before[r * stride + i]), b = check::number(bias[i]);
            sum += value, size += std::abs(value);
            added.add(x[r * stride + i], value + b, std::abs(value) + std::abs(b));
        }
        worst = worse(worst, std::abs(sums[i] - sum) / size);
    }
    line.error(added.relative(), added.bound());
    line.error(worst, 1e-6);
}

int main() {
    both<bf16>(70, 1032, 8, 9);
    both<bf16>(1, 8, 0, 16);
    both<f16>(130, 512, 0, 64);
    return check::finish();
}
