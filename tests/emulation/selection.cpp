// Selection against a full sort and sums in double precision.
//
// mutation | selection.cuh | no barrier before candidates are counted | s|sync_block();  // All candidates.*||
// mutation | selection.cuh | no barrier between the steps of a sort | s|sync_block();  // These pairs.*||
// mutation | selection.cuh | ties go to the higher id | s/(uint32_t)~id; }/(uint32_t)id; }/
// mutation | selection.cuh | what equals the first floor is lost | s/return floor == 0.f ? .*/return floor;/
// mutation | selection.cuh | the k-th is summed as well | s/int i = k + thread_index/int i = k - 1 + thread_index/
// mutation | selection.cuh | all keepers get one place | s/place + count_ones(keepers.*- 1))/place/
// mutation | selection.cuh | the end of a row counts as a logit | s/mine + j < vocabulary/mine + j <= vocabulary/
// mutation | tail.cuh | sums stay when a larger logit comes | s/sums.at\[t\] \*= exp2_fast.*/;/
#include "selection.cuh"

#include <numeric>

#include "check.hpp"

enum Kind { NORMAL, TIED, ASCENDING, PEAKED, MASKED, ZEROS };

static float logit(Kind kind, int id, int vocabulary, check::Random& random) {
    switch (kind) {
        case NORMAL: return random.normal(3.f);
        case TIED: return std::round(random.normal(3.f));
        case ASCENDING: return (float)id / (float)vocabulary * 20.f - 10.f;
        case PEAKED: return id == vocabulary / 3 ? 40.f : random.normal(1.f) - 60.f;
        // What a mask leaves is a few logits; some are −0.
        case MASKED: return id % 37 == 5 ? random.normal(3.f) * (float)random.below(2) : LOWEST;
        case ZEROS: return random.below(2000) == 0 ? 1.f : random.below(2) ? 0.f : -0.f;
    }
    return 0.f;
}

struct Case {
    int vocabulary, k, room;
    Kind kind;
    const char* name;
};

template <int TEMPERATURES> static void select(const Case& c, int padding, const float (&temperatures)[TEMPERATURES + 1]) {
    constexpr int ROWS = 2, SUMS = 1 + TEMPERATURES;
    check::Row line("select_rows", std::string(c.name) + ", " + std::to_string(c.k) + " of " + std::to_string(c.vocabulary) +
                                       (TEMPERATURES ? ", " + std::to_string(TEMPERATURES) + " tails" : ""));
    check::Random random(c.vocabulary + c.k);
    const long stride = c.vocabulary + padding;
    check::Array<float> logits(ROWS * stride), values(ROWS * c.k), target_logits(ROWS), of(TEMPERATURES + 1);
    check::Array<double> others(ROWS * SUMS);
    check::Array<int> ids(ROWS * c.k), targets(ROWS), not_finite(ROWS);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < c.vocabulary; i++) logits[r * stride + i] = logit(c.kind, i, c.vocabulary, random);
    for (int r = 0; r < ROWS; r++) targets[r] = random.below(c.vocabulary);
    std::copy(temperatures, temperatures + TEMPERATURES, of.data());
    emulator::launch({ROWS, 1}, SELECTION_THREADS, selection_shared_bytes(c.room), [&] {
        select_rows<TEMPERATURES>(logits.data(), stride, c.vocabulary, c.k, c.room, targets.data(), of.data(), ids.data(),
                                  values.data(), others.data(), target_logits.data(), not_finite.data());
    });
    for (int r = 0; r < ROWS; r++) {
        const float* row = logits.data() + r * stride;
        std::vector<int> order(c.vocabulary);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return row[a] > row[b]; });
        bool same = not_finite[r] == -1 && target_logits[r] == row[targets[r]];
        for (int i = 0; i < c.k; i++) same &= ids[r * c.k + i] == order[i] && values[r * c.k + i] == row[order[i]];
        line.exact(same);
        for (int t = 0; t < SUMS; t++) {
            const double temperature = t == 0 ? 1.0 : (double)temperatures[t - 1];
            if (c.k == c.vocabulary) {
                line.exact(others[r * SUMS + t] == -INFINITY);
                continue;
            }
            const double top = row[order[c.k]];
            double sum = 0;
            for (int i = c.k; i < c.vocabulary; i++) sum += std::exp((row[order[i]] - top) / temperature);
            // The sum's relative error: that of the exponentials, whose exponents are rounded relative to their size.
            line.error(std::abs(others[r * SUMS + t] - (top / temperature + std::log(sum))), 1e-6);
        }
    }
}

// The first of some logits that are not finite is named, wherever it is and whatever it is.
static void name_not_finite() {
    check::Row line("select_rows", "not finite");
    const int vocabulary = 9001, k = 5, rows = 8, room = 8192;
    check::Random random(1);
    check::Array<float> logits(rows * vocabulary), values(rows * k), target_logits(rows);
    check::Array<double> others(rows);
    check::Array<int> ids(rows * k), targets(rows), not_finite(rows);
    random.fill(logits);
    std::fill(targets.begin(), targets.end(), 3);
    const int places[rows] = {-1, 0, 1, 4097, 9000, 8999, 77, 5000};
    const float bad[3] = {NAN, INFINITY, -INFINITY};
    for (int r = 1; r < rows; r++) {
        logits[r * vocabulary + places[r]] = bad[r % 3];
        logits[r * vocabulary + std::min(vocabulary - 1, places[r] + 700)] = bad[(r + 1) % 3];
    }
    emulator::launch({rows, 1}, SELECTION_THREADS, selection_shared_bytes(room), [&] {
        select_rows<0>(logits.data(), vocabulary, vocabulary, k, room, targets.data(), nullptr, ids.data(), values.data(),
                       others.data(), target_logits.data(), not_finite.data());
    });
    for (int r = 0; r < rows; r++) line.exact(not_finite[r] == places[r]);
}

// Two runs give the same bits, though the threads of the second run in other orders.
static void repeat() {
    check::Row line("select_rows", "the same bits from run to run");
    const int vocabulary = 20000, k = 64, room = 8192;
    check::Random random(2);
    check::Array<float> logits(vocabulary), values(k), target_logits(1), temperatures(1);
    check::Array<double> others(2);
    check::Array<int> ids(k), targets(1), not_finite(1);
    for (float& z : logits) z = random.normal(4.f);
    targets[0] = 5, temperatures[0] = 2.f;
    std::vector<double> first;
    for (int run = 0; run < 3; run++) {
        emulator::launch({1, 1}, SELECTION_THREADS, selection_shared_bytes(room), [&] {
            select_rows<1>(logits.data(), vocabulary, vocabulary, k, room, targets.data(), temperatures.data(), ids.data(),
                           values.data(), others.data(), target_logits.data(), not_finite.data());
        });
        std::vector<double> found(ids.begin(), ids.end());
        found.insert(found.end(), others.begin(), others.end());
        if (run == 0) first = found;
        line.exact(found == first);
    }
}

int main() {
    const Case cases[] = {
        {70, 64, 4096, NORMAL, "normal"},
        {70, 70, 4096, NORMAL, "all"},
        {1, 1, 4096, NORMAL, "one"},
        {2048, 64, 4096, TIED, "tied"},
        {2049, 512, 4096, NORMAL, "normal"},
        {5003, 64, 4096, TIED, "tied"},
#ifndef FEW
        {30011, 64, 4096, ASCENDING, "ascending"},
        {20001, 1, 8192, PEAKED, "peaked"},
        {20001, 64, 8192, PEAKED, "peaked"},
        {10000, 512, 8192, MASKED, "masked"},
        {30011, 100, 8192, ZEROS, "zeros"},
        {30011, 700, 8192, NORMAL, "normal"},
        {12000, 2048, 8192, NORMAL, "normal"},
        {151936, 64, 8192, NORMAL, "normal"},
        {262144, 512, 8192, NORMAL, "normal"},
#endif
    };
    for (const Case& c : cases) select<0>(c, 0, {});
    select<2>(cases[5], 3, {2.f, 0.5f});
    name_not_finite();
#ifndef FEW
    select<1>(cases[4], 0, {2.f});
    select<4>(cases[8], 4, {2.f, 0.7f, 4.f, 0.25f});
    select<8>(cases[11], 1, {2.f, 0.7f, 4.f, 0.25f, 1.5f, 8.f, 3.f, 0.9f});
    repeat();
#endif
    return check::finish();
}
