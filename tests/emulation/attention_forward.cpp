// Attention, forward, against float64.
//
// mutation | attention_forward.cuh | it does not wait for the keys | s|copy_wait<1>();  // These keys|//|
// mutation | attention_forward.cuh | it does not wait for the values | s|copy_wait<1>();  // These values|//|
// mutation | attention_forward.cuh | no barrier before the keys | s|sync_block();    // Everybody is done with the other keys|//|
// mutation | attention_forward.cuh | no barrier before the values | s|sync_block();    // Everybody is done with the other val|//|
// mutation | attention_forward.cuh | the mask is off by one | s/key > query)/key > query + 1)/
// mutation | attention_forward.cuh | the first row of a warp counts as its last | s/first + row + Shape::BLOCK_ROWS;/first + row;/
// mutation | attention_forward.cuh | rows beyond the end are written | s/first + part_row, length, 0/first + part_row, length + 1, 0/
// mutation | attention_forward.cuh | another key-value head | s/values += \(.*\) head \/ group/values += \1 head % group/
// mutation | attention_forward.cuh | the scale is in base e | s/sum\[part\], scale \* LOG2_E/sum[part], scale/
// mutation | attention_forward.cuh | a sum is not corrected | s/sum\[half\] \* shrink + added/sum[half] + added/
// mutation | attention_forward.cuh | the result leaves before it is put together | s/sync_warp();//
// mutation | attention_tiles.cuh | four places for eight rows | s/row & 7/row \& 3/
#include "attention.hpp"
#include "attention_forward.cuh"

struct Options {
    float deviation = 1.3f;  // of queries, keys and values
    bool again = false;      // whether to run a second time, in another order
};

template <class T, int WIDTH, int QUERIES, int KEYS>
static void test(std::vector<int> lengths, Heads heads, uint64_t seed, Options options = {}) {
    using Shape = ForwardShape<WIDTH, QUERIES, KEYS>;
    Attention<T, WIDTH> attention(lengths, heads, seed, options.deviation);
    const int rows = attention.rows;
    const auto tiles = attention.tiles(QUERIES, true);
    Matrix<T> outputs(rows, heads.queries * WIDTH, 32);
    check::Array<float> log_sums(heads.queries * rows);
    check::Row row("attention_forward", std::string(check::name_of<T>()) + " " + std::to_string(WIDTH) + ", tiles " +
                                            std::to_string(QUERIES) + "x" + std::to_string(KEYS) + ", longest " +
                                            std::to_string(*std::max_element(lengths.begin(), lengths.end())));
    row.most_conflicts(0);
    const auto run = [&](Matrix<T>& outputs, check::Array<float>& log_sums) {
        emulator::launch({(int)tiles->size(), heads.queries}, Shape::THREADS, Shape::SHARED_BYTES, [&] {
            attention_forward<T, WIDTH, QUERIES, KEYS>(attention.queries.data(), attention.keys(), attention.values(),
                                                       outputs.data(), log_sums.data(), attention.edges.data(), tiles->data(),
                                                       attention.queries.stride, attention.both.stride, outputs.stride,
                                                       heads.groups, rows, attention.scale);
        });
    };
    run(outputs, log_sums);
    const auto expected = attention.expected(false);
    check::Error log_error;
    log_error.add(log_sums, expected.log_sums);
    // Weights are rounded before they are mixed, and so is the result: bf16 has 8 bits, f16 has 11.
    row.error(outputs.error(expected.outputs), std::is_same<T, f16>::value ? 8e-4 : 6e-3);
    row.error(log_error.relative(), 1e-6);
    row.exact(outputs.is_clean());
    if (!options.again) return;
    // The same bits in another order of lanes, warps and blocks.
    Matrix<T> other_outputs(rows, heads.queries * WIDTH, 32);
    check::Array<float> other_log_sums(log_sums.size());
    run(other_outputs, other_log_sums);
    row.exact(check::same_bits(outputs.array, other_outputs.array) && check::same_bits(log_sums, other_log_sums));
}

template <class T> static void test_widths() {
    const std::vector<int> ragged = {1, 63, 0, 64, 65, 200};
    const Heads grouped = {4, 2};
    test<T, 64, 128, 64>(ragged, grouped, 1);
    test<T, 64, 64, 64>(ragged, grouped, 2);
    test<T, 96, 128, 64>(ragged, grouped, 3);
    test<T, 96, 64, 64>(ragged, grouped, 4);
    test<T, 128, 128, 64>(ragged, grouped, 5);
    test<T, 128, 64, 64>(ragged, grouped, 6);
    test<T, 256, 64, 32>(ragged, grouped, 7);
}

int main() {
#ifndef FEW
    test_widths<bf16>();
    test_widths<f16>();
    test<bf16, 64, 64, 64>({1840}, {1, 1}, 8);
    test<bf16, 64, 64, 64>({65, 130}, {2, 2}, 10, {6.f, false});  // scores of some hundreds
#endif
    test<bf16, 64, 128, 64>({1, 63, 201}, {6, 3}, 9, {1.3f, true});
    return check::finish();
}
