// The norm with its residual stream, forward and backward, against double precision.
//
// mutation | norm.cuh | a power of the root is missing | s/sums\[1\] \* inverse_root \* inverse_root/sums[1] * inverse_root/
// mutation | norm.cuh | rows beyond the last | s/n < rows \&\& n < first/n < first/
// mutation | reductions.cuh | no barrier before places are used again | s|sync_block();  // Everybody has added||
// mutation | column_sums.cuh | no barrier before groups are added | s/sync_block();//
#include "norm.cuh"

#include "check.hpp"
#include "column_sums.cuh"
#include "rounding.hpp"

// 1 / √(mean(x²) + ε) of a row.
template <class T> static double inverse_root(const T* x, int width, double epsilon) {
    double squares = 0;
    for (int i = 0; i < width; i++) squares += check::number(x[i]) * check::number(x[i]);
    return 1.0 / std::sqrt(squares / width + epsilon);
}

template <class T> static void forward(int rows, int width, bool with_addend) {
    check::Row line("rms_norm", std::string(check::name_of<T>()) + ", width " + std::to_string(width) +
                                    (with_addend ? ", with residual" : ""));
    const float epsilon = 1e-5f;
    check::Random random(width);
    check::Array<T> hidden(rows * width), addend(rows * width), weight(width), normalised(rows * width);
    random.fill(hidden, 2.f), random.fill(addend), random.fill(weight);
    std::vector<T> before(hidden.begin(), hidden.end());
    emulator::launch({rows, 1}, NORM_THREADS, NORM_SHARED_BYTES, [&] {
        rms_norm<T>(hidden.data(), with_addend ? addend.data() : nullptr, weight.data(), epsilon, width, normalised.data());
    });
    Rounding<T> stream, result;
    for (int r = 0; r < rows; r++) {
        const double scale = inverse_root(hidden.data() + r * width, width, epsilon);
        for (int i = r * width; i < (r + 1) * width; i++) {
            stream.add(hidden[i], check::number(before[i]) + (with_addend ? check::number(addend[i]) : 0));
            result.add(normalised[i], check::number(hidden[i]) * scale * check::number(weight[i % width]));
        }
    }
    line.error(stream.relative(), stream.bound());
    line.error(result.relative(), result.bound());
}

template <class T> static void backward(int rows, int width, int block_rows, bool adds) {
    check::Row line("rms_norm_backward", std::string(check::name_of<T>()) + ", width " + std::to_string(width) +
                                             (adds ? ", with residual" : ""));
    const float epsilon = 1e-5f;
    const int blocks = (rows + block_rows - 1) / block_rows;
    check::Random random(width + rows);
    check::Array<T> hidden(rows * width), gradient(rows * width), weight(width), hidden_gradient(rows * width);
    check::Array<float> parts(blocks * width), weight_gradient(width);
    random.fill(hidden), random.fill(gradient), random.fill(weight), random.fill(weight_gradient);
    if (adds) random.fill(hidden_gradient);
    const std::vector<T> hidden_before(hidden_gradient.begin(), hidden_gradient.end());
    const std::vector<float> weight_before(weight_gradient.begin(), weight_gradient.end());
    const auto launch = [&](check::Array<float>& into) {
        emulator::launch({blocks, 1}, NORM_THREADS, norm_backward_shared_bytes(width), [&] {
            rms_norm_backward<T>(hidden.data(), gradient.data(), weight.data(), epsilon, rows, width, block_rows, adds,
                                 hidden_gradient.data(), into.data());
        });
    };
    launch(parts);
    const std::vector<T> found(hidden_gradient.begin(), hidden_gradient.end());
    // The same bits in another order of threads.
    check::Array<float> parts_again(blocks * width);
    std::copy(hidden_before.begin(), hidden_before.end(), hidden_gradient.data());
    launch(parts_again);
    line.exact(check::same_bits(parts, parts_again));
    line.exact(memcmp(found.data(), hidden_gradient.data(), found.size() * sizeof(T)) == 0);
    emulator::launch({(width + COLUMN_SUM_COLUMNS - 1) / COLUMN_SUM_COLUMNS, 1}, COLUMN_SUM_THREADS, COLUMN_SUM_SHARED_BYTES,
                     [&] { add_column_sums(parts.data(), blocks, width, weight_gradient.data()); });
    std::vector<double> of_weight(weight_before.begin(), weight_before.end()), size(width);
    Rounding<T> result;
    for (int r = 0; r < rows; r++) {
        const T *x = hidden.data() + r * width, *g = gradient.data() + r * width;
        const double scale = inverse_root(x, width, epsilon);
        double mean = 0;
        for (int i = 0; i < width; i++)
            mean += check::number(x[i]) * check::number(g[i]) * check::number(weight[i]) / width;
        for (int i = 0; i < width; i++) {
            const double through = scale * check::number(g[i]) * check::number(weight[i]);
            const double pull = check::number(x[i]) * scale * scale * scale * mean;
            const double before = adds ? check::number(hidden_before[r * width + i]) : 0;
            result.add(hidden_gradient[r * width + i], before + through - pull, std::abs(before) + std::abs(through) + std::abs(pull));
            of_weight[i] += check::number(g[i]) * check::number(x[i]) * scale;
            size[i] += std::abs(check::number(g[i]) * check::number(x[i]) * scale);
        }
    }
    line.error(result.relative(), result.bound());
    double worst = 0;
    for (int i = 0; i < width; i++)
        worst = worse(worst, std::abs(weight_gradient[i] - of_weight[i]) / (size[i] + std::abs(weight_before[i])));
    line.error(worst, 1e-6);
}

template <class T> static void all() {
    for (int width : {8, 96, 1024, 2560}) forward<T>(5, width, width != 1024);
    forward<T>(3, 4104, true);
    backward<T>(1, 64, 4, false);
    backward<T>(13, 1024, 4, true);
    backward<T>(200, 96, 3, true);
    backward<T>(6, 2560, 4, false);
}

int main() {
    all<bf16>();
#ifndef FEW
    all<f16>();
#endif
    return check::finish();
}
