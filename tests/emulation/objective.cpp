// The objective against its definition in double precision: losses directly, gradients by central differences of the loss.
//
// mutation | objective.cuh | no barrier before logits are overwritten | s|sync_block();  // Everybody has read.*||
// mutation | objective.cuh | entries stay in the tail | s/at.z\[at.ids\[e\]\] = -infinity();/;/
// mutation | objective.cuh | a factor of the temperature is missing | s/learnt.alpha \* learnt.temperature/learnt.alpha/
// mutation | objective.cuh | a target that is an entry counts twice | s/if (at.ids\[e\] == at.target) \*at.target_is_special = 1;//
// mutation | objective.cuh | the outcomes of another row | s/(long)rows.offsets\[row\] + row,/(long)rows.offsets[row],/
// mutation | divergences.cuh | a factor of skew KL is missing | s/-(1.0 - parameter.value) \* p.value/-p.value/
#include "objective.cuh"

#include "check.hpp"
#include "rounding.hpp"

enum Policy { BUCKET, RENORMALIZE_TEACHER, RENORMALIZE_BOTH, SAMPLED };

struct Case {
    const char* name;
    int loss;
    Policy policy;
    double temperature, alpha;
    int vocabulary, padding;
    bool in_place;
};

// In a large vocabulary more entries than a block has threads.
constexpr int ROWS = 5, MANY_ENTRIES = 40, MOST_ENTRIES = 300, MOST_DRAWN = 6;
constexpr double PARAMETER = 0.3;

// One row's inputs in the simplest form.
struct Position {
    int target;
    double weight;
    std::vector<int> ids, drawn_ids;
    std::vector<double> measured, taught, drawn;  // logarithms; probabilities of drawn tokens
};

static double log_of(double x) { return x > 0 ? std::log(x) : -INFINITY; }

// D by its definition in `crates/README.md`, from probabilities.
static double divergence(int loss, const std::vector<double>& p, const std::vector<double>& q) {
    const auto kl = [](const std::vector<double>& a, const std::vector<double>& b, double floor) {
        double sum = 0;
        for (size_t i = 0; i < a.size(); i++)
            if (a[i] > 0) sum += a[i] * (std::log(a[i]) - (b[i] > 0 ? std::log(b[i]) : floor));
        return sum;
    };
    const auto mixed = [&](double weight) {
        std::vector<double> m(p.size());
        for (size_t i = 0; i < m.size(); i++) m[i] = weight * p[i] + (1 - weight) * q[i];
        return m;
    };
    switch (loss) {
        case FORWARD_KL: return kl(p, q, -INFINITY);
        case REVERSE_KL: return kl(q, p, -30);
        case JENSEN_SHANNON: return PARAMETER * kl(p, mixed(PARAMETER), 0) + (1 - PARAMETER) * kl(q, mixed(PARAMETER), 0);
        case SKEW_KL: return kl(p, mixed(PARAMETER), 0);
        case SKEW_REVERSE_KL: return kl(q, mixed(1 - PARAMETER), 0);
        case SOFT_CROSS_ENTROPY: {
            double sum = 0;
            for (size_t i = 0; i < p.size(); i++)
                if (p[i] > 0) sum -= p[i] * std::log(q[i]);
            return sum;
        }
        default: {
            double sum = 0;
            for (size_t i = 0; i < p.size(); i++) sum += 0.5 * std::abs(p[i] - q[i]);
            return sum;
        }
    }
}

// The losses of a row with these logits, times its weight.
struct Losses {
    double cross_entropy, divergence, forward_kl, soft_cross_entropy;
    double total(const Case& c) const {
        return (1 - c.alpha) * cross_entropy + c.alpha * c.temperature * c.temperature * divergence;
    }
};

// The probabilities of the outcomes at a temperature, and the log-sum-exp.
static std::vector<double> outcomes(const std::vector<double>& z, const Position& at, double temperature, bool entries_alone,
                                    double& log_sum_exp) {
    std::vector<bool> is_entry(z.size());
    for (int id : at.ids) is_entry[id] = true;
    const double top = *std::max_element(z.begin(), z.end()) / temperature;
    double entries = 0, tail = 0;
    for (size_t v = 0; v < z.size(); v++) (is_entry[v] ? entries : tail) += std::exp(z[v] / temperature - top);
    if (entries_alone) tail = 0;
    log_sum_exp = top + std::log(entries + tail);
    std::vector<double> q;
    for (int id : at.ids) q.push_back(entries + tail > 0 ? std::exp(z[id] / temperature - top) / (entries + tail) : 0);
    q.push_back(entries + tail > 0 ? tail / (entries + tail) : 0);
    return q;
}

static Losses losses_of(const std::vector<double>& z, const Position& at, const Case& c) {
    const auto values = [](std::vector<double> logs) {
        for (double& x : logs) x = std::exp(x);
        return logs;
    };
    double log_sum_exp, learnt_log_sum_exp;
    const std::vector<double> q = outcomes(z, at, 1, false, log_sum_exp);
    const std::vector<double> learnt = outcomes(z, at, c.temperature, c.policy == RENORMALIZE_BOTH, learnt_log_sum_exp);
    Losses losses;
    losses.cross_entropy = at.weight * (log_sum_exp - z[at.target]);
    losses.divergence = divergence(c.loss, values(at.taught), learnt);
    for (size_t d = 0; d < at.drawn.size(); d++)
        losses.divergence -= at.drawn[d] * (z[at.drawn_ids[d]] / c.temperature - learnt_log_sum_exp);
    losses.divergence *= at.weight;
    losses.forward_kl = at.weight * divergence(FORWARD_KL, values(at.measured), q);
    losses.soft_cross_entropy = at.weight * divergence(SOFT_CROSS_ENTROPY, values(at.measured), q);
    return losses;
}

// Outcomes with random probabilities that sum to one, some of them 0, in descending order but for the bucket.
static std::vector<double> teacher(int entries, bool with_bucket, check::Random& random) {
    std::vector<double> p(entries + 1);
    for (double& x : p) x = std::exp(random.normal(2.f));
    std::sort(p.begin(), p.begin() + entries, std::greater<double>());
    if (entries > 4) p[entries - 1] = 0;
    if (!with_bucket) p[entries] = 0;
    double sum = 0;
    for (double x : p) sum += x;
    for (double& x : p) x = log_of(sum > 0 ? x / sum : 0);
    return p;
}

static Position position(int row, const Case& c, check::Random& random) {
    Position at;
    // Without entries, with a few, with many; in the last row all tokens of a small vocabulary.
    int entries = row == 0 ? 0 : row == 1 ? 3 : row == 2 ? 8 : c.vocabulary == 5003 ? MOST_ENTRIES : MANY_ENTRIES;
    std::vector<int> shuffled(c.vocabulary);
    for (int v = 0; v < c.vocabulary; v++) shuffled[v] = v;
    for (int v = 0; v < std::min(c.vocabulary, MOST_ENTRIES + MOST_DRAWN); v++)
        std::swap(shuffled[v], shuffled[v + random.below(c.vocabulary - v)]);
    entries = std::min(entries, c.vocabulary);
    at.ids.assign(shuffled.begin(), shuffled.begin() + entries);
    at.weight = 0.1 * (1 + row);
    const bool bucket = entries < c.vocabulary;
    at.measured = teacher(entries, bucket, random);
    at.taught = c.policy == BUCKET && c.temperature == 1 ? at.measured : teacher(entries, c.policy == BUCKET && bucket, random);
    if (c.policy == SAMPLED)
        for (int d = 0; d < std::min(MOST_DRAWN, c.vocabulary - entries); d++)
            at.drawn_ids.push_back(shuffled[entries + d]), at.drawn.push_back(0.02 * (d + 1));
    // An entry, a drawn token or any.
    at.target = row == 2 ? at.ids[3] : row == 3 && !at.drawn_ids.empty() ? at.drawn_ids[2] : random.below(c.vocabulary);
    return at;
}

template <class T> static void run(const Case& c) {
    check::Row line("objective", std::string(check::name_of<T>()) + ", " + c.name + (c.policy == RENORMALIZE_BOTH ? ", both" : "") +
                                     (c.temperature == 1 ? "" : " at " + std::to_string(c.temperature).substr(0, 3)));
    check::Random random(c.vocabulary + c.loss);
    std::vector<Position> positions;
    int entries = 0, drawn = 0;
    for (int r = 0; r < ROWS; r++) {
        positions.push_back(position(r, c, random));
        entries += (int)positions[r].ids.size(), drawn += (int)positions[r].drawn.size();
    }
    const long stride = c.vocabulary + c.padding;
    check::Array<float> logits(ROWS * stride), weights(ROWS);
    check::Array<int> targets(ROWS), offsets(ROWS + 1), ids(entries), drawn_offsets(ROWS + 1), drawn_ids(drawn);
    check::Array<double> measured(entries + ROWS), taught(entries + ROWS), drawn_probabilities(drawn), losses(ROWS * ROW_LOSSES);
    check::Array<double> totals(ROW_LOSSES);
    check::Array<T> elsewhere(ROWS * stride);
    random.fill(logits, 3.f);
    int entry = 0, draw = 0;
    std::vector<std::vector<double>> z;
    for (int r = 0; r < ROWS; r++) {
        Position& at = positions[r];
        z.emplace_back(logits.begin() + r * stride, logits.begin() + r * stride + c.vocabulary);
        targets[r] = at.target, weights[r] = (float)at.weight, at.weight = weights[r];
        offsets[r] = entry, drawn_offsets[r] = draw;
        std::copy(at.measured.begin(), at.measured.end(), measured.data() + entry + r);
        std::copy(at.taught.begin(), at.taught.end(), taught.data() + entry + r);
        for (int id : at.ids) ids[entry++] = id;
        for (size_t d = 0; d < at.drawn.size(); d++, draw++) drawn_ids[draw] = at.drawn_ids[d], drawn_probabilities[draw] = at.drawn[d];
    }
    offsets[ROWS] = entry, drawn_offsets[ROWS] = draw;
    const bool same = c.policy == BUCKET && c.temperature == 1, sampled = c.policy == SAMPLED;
    const SupervisedRows rows = {targets.data(), weights.data(), offsets.data(), ids.data(), measured.data(), same ? nullptr : taught.data(),
                       sampled ? drawn_offsets.data() : nullptr, drawn_ids.data(), drawn_probabilities.data()};
    const Objective learnt = {c.loss, c.policy == RENORMALIZE_BOTH, {PARAMETER, std::log(PARAMETER), std::log(1 - PARAMETER)},
                                c.temperature, c.alpha};
    T* gradients = c.in_place ? (T*)logits.data() : elsewhere.data();
    const long gradient_stride = c.in_place ? stride * 4 / sizeof(T) : stride;
    const std::vector<float> before(logits.begin(), logits.end());
    // Twice, in other orders of threads and in other chunks of rows: the bits are the same.
    std::vector<T> found[2];
    std::vector<double> found_losses[2];
    for (int run = 0; run < 2; run++) {
        std::copy(before.begin(), before.end(), logits.data());
        for (int first = 0, chunk = 3 - run; first < ROWS; first += chunk)
            emulator::launch({std::min(chunk, ROWS - first), 1}, OBJECTIVE_THREADS,
                             objective_shared_bytes(MOST_ENTRIES, MOST_DRAWN), [&] {
                                 const auto one = c.temperature == 1 ? objective<T, false> : objective<T, true>;
                                 one(logits.data() + first * stride, stride, gradients + first * gradient_stride,
                                     gradient_stride, c.vocabulary, first, rows, learnt, MOST_ENTRIES, MOST_DRAWN, losses.data());
                             });
        for (int r = 0; r < ROWS; r++)
            found[run].insert(found[run].end(), gradients + r * gradient_stride, gradients + r * gradient_stride + c.vocabulary);
        found_losses[run].assign(losses.begin(), losses.end());
    }
    line.exact(memcmp(found[0].data(), found[1].data(), found[0].size() * sizeof(T)) == 0);
    line.exact(memcmp(found_losses[0].data(), found_losses[1].data(), losses.size() * 8) == 0);
    std::fill(totals.begin(), totals.end(), 0.0);
    emulator::launch({1, 1}, LOSS_SUM_THREADS, LOSS_SUM_SHARED_BYTES, [&] { add_row_losses(losses.data(), ROWS, totals.data()); });

    Rounding<T> rounding;
    double sum[ROW_LOSSES] = {};
    for (int r = 0; r < ROWS; r++) {
        const Position& at = positions[r];
        const Losses exact = losses_of(z[r], at, c);
        const int first = at.ids.empty() ? -1 : at.ids[0];
        const bool agrees = std::max_element(z[r].begin(), z[r].end()) - z[r].begin() == first;
        const double expected[ROW_LOSSES] = {exact.cross_entropy, exact.divergence, exact.forward_kl, exact.soft_cross_entropy,
                                             at.weight, agrees ? at.weight : 0};
        for (int i = 0; i < ROW_LOSSES; i++) {
            sum[i] += expected[i];
            if (std::isinf(expected[i])) line.exact(losses[r * ROW_LOSSES + i] == expected[i]);
            else line.error(std::abs(losses[r * ROW_LOSSES + i] - expected[i]) / (at.weight + std::abs(expected[i])), 1e-6);
        }
        // Every token of a small vocabulary, or else those that are special, and some.
        std::vector<int> tokens = at.ids;
        tokens.insert(tokens.end(), at.drawn_ids.begin(), at.drawn_ids.end());
        tokens.push_back(at.target);
        for (int v = 0; v < c.vocabulary; v += c.vocabulary < 200 ? 1 : c.vocabulary / 20 + 1) tokens.push_back(v);
        for (int v : tokens) {
            const double step = 1e-4, before = z[r][v];
            double ends[2];
            for (int side = 0; side < 2; side++) {
                z[r][v] = before + (side ? step : -step);
                ends[side] = losses_of(z[r], at, c).total(c);
            }
            z[r][v] = before;
            const double slope = (ends[1] - ends[0]) / (2 * step), scale = at.weight * std::max(1.0, c.temperature);
            // Differences are exact to 1e-9 of the weight; the exponentials in f32 to 2e-6 of what they are.
            rounding.add(gradients[r * gradient_stride + v], slope, 4 * std::abs(slope) + 4e-3 * scale);
        }
    }
    line.error(rounding.relative(), rounding.bound());
    for (int i = 0; i < ROW_LOSSES; i++)
        if (std::isfinite(sum[i])) line.error(std::abs(totals[i] - sum[i]) / (1 + std::abs(sum[i])), 1e-6);
}

// A logit that is not finite makes the loss of its row not a number, and of no other row.
static void refuse() {
    check::Row line("objective", "not finite");
    const int vocabulary = 3000, rows = 4;
    const float bad[rows] = {NAN, INFINITY, 0.f, NAN};
    check::Array<float> logits(rows * vocabulary), weights(rows);
    check::Array<int> targets(rows), offsets(rows + 1), ids(2 * rows);
    check::Array<double> measured(3 * rows), losses(rows * ROW_LOSSES);
    check::Random(8).fill(logits);
    for (int r = 0; r <= rows; r++) offsets[r] = 2 * r;
    for (int r = 0; r < rows; r++) {
        weights[r] = 1.f, targets[r] = 7, ids[2 * r] = 11, ids[2 * r + 1] = 2999;
        for (int o = 0; o < 3; o++) measured[3 * r + o] = std::log(1.0 / 3);
        if (r != 2) logits[r * vocabulary + (r == 3 ? 2999 : 1234)] = bad[r];
    }
    const SupervisedRows supervised = {targets.data(), weights.data(), offsets.data(), ids.data(), measured.data(), nullptr,
                                       nullptr, nullptr, nullptr};
    const Objective learnt = {FORWARD_KL, 0, {}, 1, 0.5};
    emulator::launch({rows, 1}, OBJECTIVE_THREADS, objective_shared_bytes(2, 0), [&] {
        objective<bf16, false>(logits.data(), vocabulary, (bf16*)logits.data(), 2 * vocabulary, vocabulary, 0, supervised, learnt, 2, 0,
                               losses.data());
    });
    for (int r = 0; r < rows; r++) line.exact(std::isnan(losses[r * ROW_LOSSES + CROSS_ENTROPY]) == (r != 2));
}

int main() {
    const char* const names[] = {"forward KL", "reverse KL", "Jensen-Shannon", "skew KL", "skew reverse KL", "total variation"};
    for (int loss = FORWARD_KL; loss <= TOTAL_VARIATION; loss++) {
        run<bf16>({names[loss], loss, BUCKET, 2, 0.7, 151, 2, true});
#ifndef FEW
        run<float>({names[loss], loss, BUCKET, 1, 0.7, 150, 0, false});
        run<bf16>({names[loss], loss, RENORMALIZE_BOTH, 1, 0.5, 152, 4, true});
        run<float>({names[loss], loss, RENORMALIZE_BOTH, 0.5, 1, 40, 0, true});
#endif
    }
#ifndef FEW
    run<bf16>({"teacher renormalised", FORWARD_KL, RENORMALIZE_TEACHER, 1, 0.5, 160, 0, true});
    run<bf16>({"teacher renormalised", FORWARD_KL, RENORMALIZE_TEACHER, 3, 1, 160, 0, true});
    run<bf16>({"sampled", SOFT_CROSS_ENTROPY, SAMPLED, 1, 0.6, 170, 2, true});
    run<bf16>({"cross-entropy alone", FORWARD_KL, BUCKET, 1, 0, 180, 0, true});
    run<f16>({"forward KL, 300 entries", FORWARD_KL, BUCKET, 1, 1, 5003, 1, true});
    refuse();
    run<bf16>({"forward KL", FORWARD_KL, BUCKET, 2, 0.5, 20000, 0, false});
#endif
    run<bf16>({"forward KL, 20,000 logits", FORWARD_KL, BUCKET, 1, 1, 20000, 0, true});
    return check::finish();
}
