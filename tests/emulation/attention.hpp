// Attention in float64, forward and backward, and the packed inputs of its tests.
#pragma once
#include <memory>
#include <vector>

#include "check.hpp"

struct Heads {
    int queries, groups;  // query heads, and how many of them share a key-value head
    int keys() const { return queries / groups; }
};

// Packed sequences. A row of `numbers` has the heads of queries, then of keys, then of values.
template <class T, int WIDTH> class Attention {
  public:
    Attention(std::vector<int> lengths, Heads heads, uint64_t seed)
        : heads(heads), lengths(std::move(lengths)), edges(this->lengths.size() + 1) {
        edges[0] = 0;
        for (size_t i = 0; i < this->lengths.size(); i++) edges[i + 1] = edges[i] + this->lengths[i];
        rows = edges[this->lengths.size()];
        stride = (heads.queries + 2 * heads.keys()) * WIDTH;
        output_stride = heads.queries * WIDTH;
        scale = 1.f / std::sqrt((float)WIDTH);
        numbers = std::make_unique<check::Array<T>>(rows * stride);
        gradient = std::make_unique<check::Array<T>>(rows * output_stride);
        check::Random random(seed);
        random.fill(*numbers, 1.3f);
        random.fill(*gradient);
    }

    const Heads heads;
    const std::vector<int> lengths;
    check::Array<int> edges;
    long rows, stride, output_stride;
    float scale;
    std::unique_ptr<check::Array<T>> numbers, gradient;

    T* queries() { return numbers->data(); }
    T* keys() { return numbers->data() + heads.queries * WIDTH; }
    T* values() { return keys() + heads.keys() * WIDTH; }

    // The tiles of all sequences, those with the most work first.
    std::unique_ptr<check::Array<int2>> tiles(int tile_rows, bool last_first) const {
        std::vector<int2> all;
        for (size_t s = 0; s < lengths.size(); s++)
            for (int t = 0; t * tile_rows < lengths[s]; t++) all.push_back({(int)s, t});
        const auto work = [&](int2 tile) {
            return last_first ? tile.y : (lengths[tile.x] + tile_rows - 1) / tile_rows - tile.y;
        };
        std::stable_sort(all.begin(), all.end(), [&](int2 a, int2 b) { return work(a) > work(b); });
        auto array = std::make_unique<check::Array<int2>>(all.size());
        std::copy(all.begin(), all.end(), array->begin());
        return array;
    }

    // What float64 says: outputs [rows, heads, WIDTH] and log-sums [heads, rows]; with a gradient of the outputs also `delta`
    // [heads, rows] and the gradient of all numbers, as they lie in `numbers`.
    struct Expected {
        std::vector<double> outputs, log_sums, delta, gradients;
    };

    Expected expected(bool backward) const {
        Expected all;
        all.outputs.resize(rows * output_stride), all.log_sums.resize(heads.queries * rows);
        if (backward) all.delta.resize(heads.queries * rows), all.gradients.resize(rows * stride);
        const std::vector<double> x(in_double(*numbers)), g(in_double(*gradient));
        for (size_t s = 0; s < lengths.size(); s++)
            for (int h = 0; h < heads.queries; h++)
                for (int i = edges[s]; i < edges[s + 1]; i++) add_row(all, x, g, h, edges[s], i, backward);
        return all;
    }

  private:
    static std::vector<double> in_double(const check::Array<T>& array) {
        std::vector<double> all(array.size());
        for (size_t i = 0; i < all.size(); i++) all[i] = check::number(array[i]);
        return all;
    }

    static double dot(const double* a, const double* b) {
        double sum = 0;
        for (int c = 0; c < WIDTH; c++) sum += a[c] * b[c];
        return sum;
    }

    static void add(double* to, double factor, const double* from) {
        for (int c = 0; c < WIDTH; c++) to[c] += factor * from[c];
    }

    // Query i of head h, with the keys from `first` to i.
    void add_row(Expected& all, const std::vector<double>& x, const std::vector<double>& g, int h, int first, int i,
                 bool backward) const {
        const long query = i * stride + h * WIDTH, output = i * output_stride + h * WIDTH;
        const auto key = [&](int j) { return j * stride + (heads.queries + h / heads.groups) * WIDTH; };
        const auto value = [&](int j) { return key(j) + heads.keys() * WIDTH; };
        std::vector<double> p(i - first + 1);
        double top = -INFINITY, sum = 0;
        for (int j = first; j <= i; j++) {
            p[j - first] = scale * dot(&x[query], &x[key(j)]);
            top = std::max(top, p[j - first]);
        }
        for (double score : p) sum += std::exp(score - top);
        all.log_sums[h * rows + i] = top + std::log(sum);
        for (int j = first; j <= i; j++) {
            p[j - first] = std::exp(p[j - first] - top) / sum;
            add(&all.outputs[output], p[j - first], &x[value(j)]);
        }
        if (!backward) return;
        const double delta = dot(&all.outputs[output], &g[output]);
        all.delta[h * rows + i] = delta;
        for (int j = first; j <= i; j++) {
            const double weight = p[j - first];
            const double score = scale * weight * (dot(&g[output], &x[value(j)]) - delta);
            add(&all.gradients[value(j)], weight, &g[output]);
            add(&all.gradients[query], score, &x[key(j)]);
            add(&all.gradients[key(j)], score, &x[query]);
        }
    }
};
