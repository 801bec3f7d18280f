// Rotation of query and key heads, with and without their norm, forward and backward, against double precision.
//
// mutation | rotary.cuh | half of a group is summed | s/ROTARY_GROUP<WIDTH> \/ 2; mask/ROTARY_GROUP<WIDTH> \/ 4; mask/
// mutation | rotary.cuh | the angle of another pair | s/(j \/ 2) \* WIDTH \/ 4/(j \/ 2) * WIDTH \/ 8/
// mutation | rotary.cuh | threads without a part of a head work | s/place < WIDTH \/ 2/place <= WIDTH \/ 2/
// mutation | rotary.cuh | no barrier before groups are added | s/sync_block();//
#include "rotary.cuh"

#include "check.hpp"
#include "column_sums.cuh"
#include "rounding.hpp"

struct Shape {
    int rows, query_heads, key_heads;
};

// A row's heads, in double precision.
struct Reference {
    int width;
    bool neighbours;

    // Of pair p: the places of its two elements.
    std::pair<int, int> pair(int p) const {
        return neighbours ? std::pair{2 * p, 2 * p + 1} : std::pair{p, p + width / 2};
    }

    std::vector<double> rotated(std::vector<double> x, const float* cosines, const float* sines, double sign) const {
        std::vector<double> y(width);
        for (int p = 0; p < width / 2; p++) {
            const auto [a, b] = pair(p);
            y[a] = x[a] * cosines[p] - x[b] * sign * sines[p], y[b] = x[b] * cosines[p] + x[a] * sign * sines[p];
        }
        return y;
    }
};

template <class T, int WIDTH> struct Inputs {
    static constexpr int POSITIONS = 40;
    Shape shape;
    int stride;
    check::Array<T> heads, query_weight, key_weight;
    check::Array<float> cosines, sines;
    check::Array<int> positions;

    explicit Inputs(Shape s)
        : shape(s), stride((s.query_heads + 2 * s.key_heads) * WIDTH), heads(s.rows * stride), query_weight(WIDTH),
          key_weight(WIDTH), cosines(POSITIONS * WIDTH / 2), sines(POSITIONS * WIDTH / 2), positions(s.rows) {
        check::Random random(WIDTH + s.rows);
        random.fill(heads), random.fill(query_weight), random.fill(key_weight);
        for (size_t i = 0; i < cosines.size(); i++) {
            const double angle = (double)(i / (WIDTH / 2)) * std::pow(10000.0, -(double)(i % (WIDTH / 2)) / (WIDTH / 2));
            cosines[i] = (float)std::cos(angle), sines[i] = (float)std::sin(angle);
        }
        for (int& position : positions) position = random.below(POSITIONS);
    }

    const float* cosines_of(int row) const { return cosines.data() + positions[row] * WIDTH / 2; }
    const float* sines_of(int row) const { return sines.data() + positions[row] * WIDTH / 2; }

    std::vector<double> head(const T* of, int row, int head) const {
        std::vector<double> x(WIDTH);
        for (int i = 0; i < WIDTH; i++) x[i] = check::number(of[(long)row * stride + head * WIDTH + i]);
        return x;
    }
    const T* weight(int head) const { return head < shape.query_heads ? query_weight.data() : key_weight.data(); }
};

static double inverse_root(const std::vector<double>& x, double epsilon) {
    double squares = 0;
    for (double value : x) squares += value * value;
    return 1.0 / std::sqrt(squares / x.size() + epsilon);
}

constexpr float EPSILON = 1e-6f;

template <class T, int WIDTH, bool NORM, bool NEIGHBOURS> static void forward(Shape shape, float sign) {
    check::Row line("rotary", std::string(check::name_of<T>()) + ", width " + std::to_string(WIDTH) +
                                  (NORM ? ", norms" : "") + (NEIGHBOURS ? ", neighbours" : "") + (sign < 0 ? ", back" : ""));
    Inputs<T, WIDTH> in(shape);
    const Reference reference = {WIDTH, NEIGHBOURS};
    const std::vector<T> before(in.heads.begin(), in.heads.end());
    // In place, or into rows of query and key heads alone.
    const bool in_place = sign > 0;
    const int heads = shape.query_heads + shape.key_heads;
    const long rotated_stride = in_place ? in.stride : heads * WIDTH;
    check::Array<T> elsewhere(shape.rows * heads * WIDTH);
    T* rotated = in_place ? in.heads.data() : elsewhere.data();
    emulator::launch({shape.rows, 1}, ROTARY_THREADS, 0, [&] {
        rotary<T, WIDTH, NORM, NEIGHBOURS>(in.heads.data(), in.stride, rotated, rotated_stride, shape.query_heads,
                                           shape.key_heads, in.positions.data(), in.cosines.data(), in.sines.data(), sign,
                                           in.query_weight.data(), in.key_weight.data(), EPSILON);
    });
    Rounding<T> result;
    for (int r = 0; r < shape.rows; r++)
        for (int h = 0; h < (in_place ? heads + shape.key_heads : heads); h++) {
            std::vector<double> x = in.head(before.data(), r, h), expected = x;
            if (h < heads) {
                const double scale = NORM ? inverse_root(x, EPSILON) : 1.0;
                for (int i = 0; NORM && i < WIDTH; i++) x[i] *= scale * check::number(in.weight(h)[i]);
                expected = reference.rotated(x, in.cosines_of(r), in.sines_of(r), sign);
            }
            for (int i = 0; i < WIDTH; i++)
                result.add(rotated[r * rotated_stride + h * WIDTH + i], expected[i],
                           std::abs(x[i]) + std::abs(x[(i + WIDTH / 2) % WIDTH]) + std::abs(x[i ^ 1]));
        }
    line.error(result.relative(), result.bound());
}

template <class T, int WIDTH, bool NEIGHBOURS> static void backward(Shape shape, int block_rows) {
    check::Row line("rotary_backward", std::string(check::name_of<T>()) + ", width " + std::to_string(WIDTH) + ", norms" + (NEIGHBOURS ? ", neighbours" : ""));
    Inputs<T, WIDTH> in(shape);
    const Reference reference = {WIDTH, NEIGHBOURS};
    const int blocks = (shape.rows + block_rows - 1) / block_rows;
    check::Array<T> gradient(in.heads.size());
    check::Array<float> parts(blocks * 2 * WIDTH), sums(2 * WIDTH);
    check::Random(7).fill(gradient);
    for (float& sum : sums) sum = 0.5f;
    const std::vector<T> before(gradient.begin(), gradient.end());
    const auto launch = [&](check::Array<float>& into) {
        emulator::launch({blocks, 1}, ROTARY_THREADS, ROTARY_BACKWARD_SHARED_BYTES<WIDTH>, [&] {
            head_norm_rotary_backward<T, WIDTH, NEIGHBOURS>(in.heads.data(), in.stride, gradient.data(), in.stride, shape.rows,
                                                            shape.query_heads, shape.key_heads, in.positions.data(),
                                                            in.cosines.data(), in.sines.data(), in.query_weight.data(),
                                                            in.key_weight.data(), EPSILON, block_rows, into.data());
        });
    };
    launch(parts);
    const std::vector<T> found(gradient.begin(), gradient.end());
    // The same bits in another order of threads.
    check::Array<float> parts_again(blocks * 2 * WIDTH);
    std::copy(before.begin(), before.end(), gradient.data());
    launch(parts_again);
    line.exact(check::same_bits(parts, parts_again));
    line.exact(memcmp(found.data(), gradient.data(), found.size() * sizeof(T)) == 0);
    emulator::launch({2 * WIDTH / COLUMN_SUM_COLUMNS, 1}, COLUMN_SUM_THREADS, COLUMN_SUM_SHARED_BYTES,
                     [&] { add_column_sums(parts.data(), blocks, 2 * WIDTH, sums.data()); });
    std::vector<double> of_weight(2 * WIDTH, 0.5), size(2 * WIDTH, 0.5);
    Rounding<T> result;
    for (int r = 0; r < shape.rows; r++)
        for (int h = 0; h < shape.query_heads + 2 * shape.key_heads; h++) {
            std::vector<double> g = in.head(before.data(), r, h), expected = g, terms(WIDTH);
            if (h < shape.query_heads + shape.key_heads) {
                const std::vector<double> x = in.head(in.heads.data(), r, h);
                g = reference.rotated(g, in.cosines_of(r), in.sines_of(r), -1);
                const double scale = inverse_root(x, EPSILON);
                const int side = h < shape.query_heads ? 0 : WIDTH;
                double mean = 0;
                for (int i = 0; i < WIDTH; i++) mean += x[i] * g[i] * check::number(in.weight(h)[i]) / WIDTH;
                for (int i = 0; i < WIDTH; i++) {
                    const double w = check::number(in.weight(h)[i]), pull = x[i] * scale * scale * scale * mean;
                    expected[i] = scale * g[i] * w - pull;
                    terms[i] = 4 * std::abs(scale * w) + std::abs(pull);
                    of_weight[side + i] += g[i] * x[i] * scale, size[side + i] += std::abs(g[i] * x[i] * scale);
                }
            }
            for (int i = 0; i < WIDTH; i++)
                result.add(gradient[(long)r * in.stride + h * WIDTH + i], expected[i], terms[i]);
        }
    line.error(result.relative(), result.bound());
    double worst = 0;
    for (int i = 0; i < 2 * WIDTH; i++) worst = worse(worst, std::abs(sums[i] - of_weight[i]) / size[i]);
    line.error(worst, 1e-6);
}

template <class T, int WIDTH> static void all(Shape shape) {
    forward<T, WIDTH, true, false>(shape, 1.f);
    forward<T, WIDTH, false, false>(shape, -1.f);
    forward<T, WIDTH, false, true>(shape, 1.f);
    backward<T, WIDTH, false>(shape, 3);
}

int main() {
    all<bf16, 96>({5, 5, 1});
#ifndef FEW
    all<bf16, 64>({7, 9, 3});
    all<bf16, 128>({5, 16, 8});
    all<f16, 128>({4, 4, 2});
    all<bf16, 256>({3, 2, 1});
    forward<bf16, 64, true, true>({2, 9, 3}, 1.f);
    backward<bf16, 96, true>({4, 3, 1}, 2);
#endif
    return check::finish();
}
