// Attention, backward, against float64. The kernels get log-sums, outputs and so deltas of float64, rounded.
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

template <class T, int WIDTH> static void test(std::vector<int> lengths, Heads heads, uint64_t seed, bool twice = false) {
    Attention<T, WIDTH> attention(lengths, heads, seed);
    const auto expected = attention.expected(true);
    const long rows = attention.rows, stride = attention.stride;
    check::Array<T> outputs(rows * attention.output_stride), found(rows * stride), again(rows * stride);
    check::Array<float> log_sums(heads.queries * rows), delta(heads.queries * rows);
    for (size_t i = 0; i < outputs.size(); i++) outputs[i] = round_to<T>((float)expected.outputs[i]);
    for (size_t i = 0; i < log_sums.size(); i++) log_sums[i] = (float)expected.log_sums[i];
    const std::string variant = std::string(check::name_of<T>()) + " " + std::to_string(WIDTH) + ", longest " +
                                std::to_string(*std::max_element(lengths.begin(), lengths.end()));
    // Rounding<T> of the weights and score gradients, of the inputs' deltas and of the result: bf16 has 8 bits, f16 has 11.
    const bool is_f16 = std::is_same<T, f16>::value;
    const double bound = is_f16 ? 1.1e-3 : 8e-3;
    T* const gradient = attention.gradient->data();
    {
        check::Row row("attention_delta", variant);
        row.most_conflicts(0);
        using Shape = DeltaShape<WIDTH>;
        const int items = (int)rows * heads.queries;
        emulator::launch({(items + Shape::BLOCK_ITEMS - 1) / Shape::BLOCK_ITEMS, 1}, Shape::THREADS, 0, [&] {
            attention_delta<T, WIDTH>(outputs.data(), gradient, delta.data(), attention.output_stride, attention.output_stride,
                                      heads.queries, (int)rows);
        });
        check::Error error;  // of the sums of the rounded outputs
        for (int h = 0; h < heads.queries; h++)
            for (int i = 0; i < rows; i++) {
                const long at = i * attention.output_stride + h * WIDTH;
                double sum = 0;
                for (int c = 0; c < WIDTH; c++) sum += check::number(outputs[at + c]) * check::number(gradient[at + c]);
                error.add(delta[h * rows + i], sum);
            }
        row.error(error.relative(), 1e-6);
    }
    const auto error_of = [&](int first_head, int last_head) {
        check::Error error;
        for (int i = 0; i < rows; i++)
            for (long c = first_head * WIDTH; c < last_head * WIDTH; c++)
                error.add(found[i * stride + c], expected.gradients[i * stride + c]);
        return error.relative();
    };
    const int keys_at = heads.queries, values_at = keys_at + heads.keys(), end = values_at + heads.keys();
    const auto run_keys = [&](T* found) {
        using Shape = KeysShape<WIDTH>;
        const auto tiles = attention.tiles(Shape::KEYS, false);
        emulator::launch({(int)tiles->size(), heads.keys()}, Shape::THREADS, Shape::SHARED_BYTES, [&] {
            attention_backward_keys<T, WIDTH>(attention.queries(), attention.keys(), attention.values(), gradient,
                                              log_sums.data(), delta.data(), found + keys_at * WIDTH, found + values_at * WIDTH,
                                              attention.edges.data(), tiles->data(), stride, stride, attention.output_stride,
                                              stride, heads.groups, (int)rows, attention.scale);
        });
    };
    const auto run_queries = [&](T* found) {
        using Shape = QueriesShape<WIDTH>;
        const auto tiles = attention.tiles(Shape::QUERIES, true);
        emulator::launch({(int)tiles->size(), heads.queries}, Shape::THREADS, Shape::SHARED_BYTES, [&] {
            attention_backward_queries<T, WIDTH>(attention.queries(), attention.keys(), attention.values(), gradient,
                                                 log_sums.data(), delta.data(), found, attention.edges.data(), tiles->data(),
                                                 stride, stride, attention.output_stride, stride, heads.groups, (int)rows,
                                                 attention.scale);
        });
    };
    {
        check::Row row("attention_backward_keys", variant);
        row.most_conflicts(0);
        run_keys(found.data());
        row.error(error_of(keys_at, values_at), bound);
        row.error(error_of(values_at, end), bound);
    }
    check::Row row("attention_backward_queries", variant);
    row.most_conflicts(0);
    run_queries(found.data());
    row.error(error_of(0, keys_at), bound);
    if (!twice) return;
    // The same bits in another order of lanes, warps and blocks.
    run_keys(again.data());
    run_queries(again.data());
    row.exact(check::same_bits(found, again));
}

template <class T> static void test_widths() {
    const std::vector<int> ragged = {1, 63, 64, 65, 200};
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
    test<bf16, 64>({1, 63, 200}, {4, 2}, 16, true);
    return check::finish();
}
