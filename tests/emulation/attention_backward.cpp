// Attention, backward, against float64. The kernels get log-sums and outputs of float64, rounded.
//
// mutation | attention_backward.cuh | keys: it does not wait | /_backward_keys(/,/^}/s|copy_wait<1>();|//|
// mutation | attention_backward.cuh | keys: no barrier before a step | /_backward_keys(/,/^}/s|^        sync_block();$||
// mutation | attention_backward.cuh | keys: no barrier after a step | /_backward_keys(/,/^}/s|sync_block();  // Everybody|//|
// mutation | attention_backward.cuh | keys: the mask is off by one | s/key <= at ? weight/key < at ? weight/
// mutation | attention_backward.cuh | keys: deltas of other queries | s/delta + at, next_query/delta + at - 1, next_query/
// mutation | attention_backward.cuh | keys: another head of queries | s/next_head = key_head \* group/next_head = key_head/
// mutation | attention_backward.cuh | keys: queries beyond the end count | s/delta + at, next_query + thread < length/delta + at, true/
// mutation | attention_backward.cuh | keys: without the scale | s/by_scale\[2\] = {scale, scale}, by/by_scale[2] = {1.f, 1.f}, by/
// mutation | attention_backward.cuh | queries: it does not wait | /_backward_queries(/,/^}/s|copy_wait<1>();|//|
// mutation | attention_backward.cuh | queries: no barrier before a step | /_backward_queries(/,/^}/s|^        sync_block();$||
// mutation | attention_backward.cuh | queries: no barrier after a step | /_backward_queries(/,/^}/s|sync_block();  // Every|//|
// mutation | attention_backward.cuh | queries: the mask is off by one | s/key <= query ? weight \*/key <= query + 1 ? weight */
// mutation | attention_backward.cuh | queries: one delta for two rows | s/- of_delta\[e \/ 2\]/- of_delta[0]/
// mutation | attention_backward.cuh | delta: half of a row | s/mask = Shape::LANES \/ 2/mask = Shape::LANES \/ 4/
#include "attention.hpp"
#include "attention_backward.cuh"

template <class T, int WIDTH>
static void test(std::vector<int> lengths, Heads heads, uint64_t seed, bool twice = false) {
    Attention<T, WIDTH> attention(lengths, heads, seed);
    const auto expected = attention.expected(true);
    const int rows = attention.rows;
    Matrix<T> outputs(rows, heads.queries * WIDTH, 40);
    check::Array<float> log_sums(heads.queries * rows), delta(heads.queries * rows);
    for (int i = 0; i < rows; i++)
        for (long c = 0; c < outputs.width; c++)
            outputs.array[i * outputs.stride + c] = round_to<T>((float)expected.outputs[i * outputs.width + c]);
    for (size_t i = 0; i < log_sums.size(); i++) log_sums[i] = (float)expected.log_sums[i];
    const std::string variant = std::string(check::name_of<T>()) + " " + std::to_string(WIDTH) + ", longest " +
                                std::to_string(*std::max_element(lengths.begin(), lengths.end()));
    // Rounding of the weights and score gradients, of the outputs in the deltas and of the result: bf16 has 8 bits, f16 has 11.
    const double bound = std::is_same<T, f16>::value ? 1.1e-3 : 8e-3;
    {
        check::Row row("attention_delta", variant);
        row.most_conflicts(0);
        using Shape = DeltaShape<WIDTH>;
        emulator::launch({(rows * heads.queries + Shape::BLOCK_ITEMS - 1) / Shape::BLOCK_ITEMS, 1}, Shape::THREADS, 0, [&] {
            attention_delta<T, WIDTH>(outputs.data(), attention.gradients.data(), delta.data(), outputs.stride,
                                      attention.gradients.stride, heads.queries, rows);
        });
        check::Error error;  // of the sums of the rounded outputs
        const std::vector<double> o(outputs.in_double()), g(attention.gradients.in_double());
        for (int h = 0; h < heads.queries; h++)
            for (int i = 0; i < rows; i++) {
                double sum = 0;
                for (long c = i * outputs.width + h * WIDTH; c < i * outputs.width + (h + 1) * WIDTH; c++) sum += o[c] * g[c];
                error.add(delta[h * rows + i], sum);
            }
        row.error(error.relative(), 1e-6);
    }
    struct Gradients {
        Matrix<T> queries, keys, values;
        Gradients(int rows, Heads heads)
            : queries(rows, heads.queries * WIDTH, 48), keys(rows, heads.keys() * WIDTH, 56), values(rows, heads.keys() * WIDTH, 56) {}
    };
    const auto run_keys = [&](Gradients& found) {
        using Shape = KeysShape<WIDTH>;
        const auto tiles = attention.tiles(Shape::KEYS, false);
        emulator::launch({(int)tiles->size(), heads.keys()}, Shape::THREADS, Shape::SHARED_BYTES, [&] {
            attention_backward_keys<T, WIDTH>(attention.queries.data(), attention.keys(), attention.values(),
                                              attention.gradients.data(), log_sums.data(), delta.data(), found.keys.data(),
                                              found.values.data(), attention.edges.data(), tiles->data(),
                                              attention.queries.stride, attention.both.stride, attention.gradients.stride,
                                              found.keys.stride, heads.groups, rows, attention.scale);
        });
    };
    const auto run_queries = [&](Gradients& found) {
        using Shape = QueriesShape<WIDTH>;
        const auto tiles = attention.tiles(Shape::QUERIES, true);
        emulator::launch({(int)tiles->size(), heads.queries}, Shape::THREADS, Shape::SHARED_BYTES, [&] {
            attention_backward_queries<T, WIDTH>(attention.queries.data(), attention.keys(), attention.values(),
                                                 attention.gradients.data(), log_sums.data(), delta.data(),
                                                 found.queries.data(), attention.edges.data(), tiles->data(),
                                                 attention.queries.stride, attention.both.stride, attention.gradients.stride,
                                                 found.queries.stride, heads.groups, rows, attention.scale);
        });
    };
    Gradients found(rows, heads), again(rows, heads);
    {
        check::Row row("attention_backward_keys", variant);
        row.most_conflicts(0);
        run_keys(found);
        row.error(found.keys.error(expected.of_keys), bound);
        row.error(found.values.error(expected.of_values), bound);
        row.exact(found.keys.is_clean() && found.values.is_clean());
    }
    check::Row row("attention_backward_queries", variant);
    row.most_conflicts(0);
    run_queries(found);
    row.error(found.queries.error(expected.of_queries), bound);
    row.exact(found.queries.is_clean());
    if (!twice) return;
    // The same bits in another order of lanes, warps and blocks.
    run_keys(again);
    run_queries(again);
    row.exact(check::same_bits(found.queries.array, again.queries.array) && check::same_bits(found.keys.array, again.keys.array) &&
              check::same_bits(found.values.array, again.values.array));
}

template <class T> static void test_widths() {
    const std::vector<int> ragged = {1, 63, 0, 64, 65, 200};
    const Heads grouped = {4, 2};
    test<T, 64>(ragged, grouped, 11);
    test<T, 96>(ragged, grouped, 12);
    test<T, 128>(ragged, grouped, 13);
    test<T, 256>(ragged, grouped, 14);
}

int main() {
#ifndef FEW
    test_widths<bf16>();
    test_widths<f16>();
    test<bf16, 64>({1840}, {1, 1}, 15);
#endif
    test<bf16, 64>({1, 63, 201}, {6, 3}, 16, true);
    return check::finish();
}
