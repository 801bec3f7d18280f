// Attention in float64, forward and backward, and the packed inputs of its tests.
#pragma once
#include <memory>
#include <numeric>
#include <vector>

#include "check.hpp"

struct Heads {
    int queries, groups;  // query heads, and how many of them share a key-value head
    int keys() const { return queries / groups; }
};

// [rows, width] numbers of the device, with some numbers between the rows.
template <class T> struct Matrix {
    Matrix(long rows, long width, long between) : rows(rows), width(width), stride(width + between), array(rows * stride) {}

    const long rows, width, stride;
    check::Array<T> array;

    T* data() { return array.data(); }
    std::vector<double> in_double() const {
        std::vector<double> all;
        for (long i = 0; i < rows; i++)
            for (long c = 0; c < width; c++) all.push_back(check::number(array[i * stride + c]));
        return all;
    }
    double error(const std::vector<double>& expected) const {
        check::Error error;
        error.add(in_double(), expected);
        return error.relative();
    }
    // Whether the numbers between the rows are as they were at first: nobody may write there.
    bool is_clean() const {
        T untouched;
        memset((void*)&untouched, 0xff, sizeof untouched);
        for (long i = 0; i < rows; i++)
            for (long c = width; c < stride; c++)
                if (memcmp(&array[i * stride + c], &untouched, sizeof untouched)) return false;
        return true;
    }
};

// Packed sequences, with other strides for queries, keys and gradients. Keys and values share rows.
template <class T, int WIDTH> class Attention {
  public:
    Attention(std::vector<int> of_lengths, Heads heads, uint64_t seed, float deviation = 1.3f)
        : heads(heads), lengths(std::move(of_lengths)), rows(std::accumulate(lengths.begin(), lengths.end(), 0)),
          edges(lengths.size() + 1), queries(rows, heads.queries * WIDTH, 8), both(rows, 2 * heads.keys() * WIDTH, 16),
          gradients(rows, heads.queries * WIDTH, 24) {
        edges[0] = 0;
        for (size_t i = 0; i < lengths.size(); i++) edges[i + 1] = edges[i] + lengths[i];
        check::Random random(seed);
        random.fill(queries.array, deviation);
        random.fill(both.array, deviation);
        random.fill(gradients.array);
    }

    const Heads heads;
    const std::vector<int> lengths;
    const int rows;
    check::Array<int> edges;
    Matrix<T> queries, both, gradients;
    const float scale = 0.9f / std::sqrt((float)WIDTH);

    T* keys() { return both.data(); }
    T* values() { return both.data() + heads.keys() * WIDTH; }

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

    // What float64 says, [rows, heads, WIDTH]; log-sums and deltas [heads, rows].
    struct Expected {
        std::vector<double> outputs, log_sums, delta, of_queries, of_keys, of_values;
    };

    Expected expected(bool backward) const {
        Expected all;
        const long of_query = (long)rows * heads.queries, of_key = (long)rows * heads.keys() * WIDTH;
        all.outputs.resize(of_query * WIDTH), all.log_sums.resize(of_query), all.delta.resize(of_query);
        all.of_queries.resize(of_query * WIDTH), all.of_keys.resize(of_key), all.of_values.resize(of_key);
        const std::vector<double> q(queries.in_double()), kv(both.in_double()), g(gradients.in_double());
        for (size_t s = 0; s < lengths.size(); s++)
            for (int h = 0; h < heads.queries; h++)
                for (int i = edges[s]; i < edges[s + 1]; i++) add_row(all, q, kv, g, h, edges[s], i, backward);
        return all;
    }

  private:
    static double dot(const double* a, const double* b) {
        double sum = 0;
        for (int c = 0; c < WIDTH; c++) sum += a[c] * b[c];
        return sum;
    }

    static void add(double* to, double factor, const double* from) {
        for (int c = 0; c < WIDTH; c++) to[c] += factor * from[c];
    }

    // Query i of head h, with the keys from `first` to i.
    void add_row(Expected& all, const std::vector<double>& q, const std::vector<double>& kv, const std::vector<double>& g, int h,
                 int first, int i, bool backward) const {
        const long query = ((long)i * heads.queries + h) * WIDTH;
        const auto key = [&](int j) { return (2L * j * heads.keys() + h / heads.groups) * WIDTH; };
        const auto value = [&](int j) { return key(j) + heads.keys() * WIDTH; };
        std::vector<double> p(i - first + 1);
        double top = -INFINITY, sum = 0;
        for (int j = first; j <= i; j++) {
            p[j - first] = scale * dot(&q[query], &kv[key(j)]);
            top = std::max(top, p[j - first]);
        }
        for (double score : p) sum += std::exp(score - top);
        all.log_sums[(long)h * rows + i] = top + std::log(sum);
        for (int j = first; j <= i; j++) {
            p[j - first] = std::exp(p[j - first] - top) / sum;
            add(&all.outputs[query], p[j - first], &kv[value(j)]);
        }
        if (!backward) return;
        const double delta = dot(&all.outputs[query], &g[query]);
        all.delta[(long)h * rows + i] = delta;
        for (int j = first; j <= i; j++) {
            const long at = ((long)j * heads.keys() + h / heads.groups) * WIDTH;
            const double weight = p[j - first];
            const double score = scale * weight * (dot(&g[query], &kv[value(j)]) - delta);
            add(&all.of_values[at], weight, &g[query]);
            add(&all.of_queries[query], score, &kv[key(j)]);
            add(&all.of_keys[at], score, &q[query]);
        }
    }
};
