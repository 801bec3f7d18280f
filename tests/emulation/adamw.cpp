// Updates of a table of parameters against double precision, and what their masters are made of.
//
// mutation | adamw.cuh | a weight is cut, not rounded | s/(bits + 0x8000u) >> 16/bits >> 16/
// mutation | adamw.cuh | the second moment keeps its bias | s/ \* by.root_scale//
// mutation | adamw.cuh | elements beyond the end | s/i + 8 <= end; i += 8/i <= end; i += 8/
// mutation | adamw.cuh | a block of the parameter before | s/first_blocks\[middle\] <= block/first_blocks[middle] < block/
#include "adamw.cuh"

#include <memory>

#include "check.hpp"
#include "rounding.hpp"

template <class T> struct Rest;
template <> struct Rest<bf16> { typedef uint16_t Type; };
template <> struct Rest<f16> { typedef float Type; };

// A parameter with its own arrays.
template <class T> struct Stored {
    check::Array<T> weight;
    check::Array<typename Rest<T>::Type> rest;
    check::Array<float> m, v, g;
    int decays;

    Stored(int count, bool decays, check::Random& random)
        : weight(count), rest(count), m(count), v(count), g(count), decays(decays) {
        random.fill(weight), random.fill(m, 1e-3f), random.fill(g, 1e-2f);
        for (int i = 0; i < count; i++) {
            v[i] = random.uniform(0.f, 1e-4f);
            store_master(weight.data(), rest.data(), i, to_float(weight[i]) * (1 + random.uniform(-1e-3f, 1e-3f)));
        }
    }
    double master(int i) const {
        float theta;
        load_master(theta, weight.data(), rest.data(), i);
        return theta;
    }
    Parameter entry() { return {weight.data(), rest.data(), m.data(), v.data(), g.data(), (long)weight.size(), decays}; }
};

template <class T> static void updates() {
    check::Row line("adamw", std::string(check::name_of<T>()) + ", 6 parameters");
    check::Random random(4);
    const int counts[] = {8, 20000, 1, 8192, 8199, 3};
    constexpr int PARAMETERS = 6;
    std::vector<std::unique_ptr<Stored<T>>> stored;
    check::Array<Parameter> table(PARAMETERS);
    check::Array<int> first_blocks(PARAMETERS);
    int blocks = 0;
    for (int p = 0; p < PARAMETERS; p++) {
        stored.push_back(std::make_unique<Stored<T>>(counts[p], p % 2 == 1, random));
        table[p] = stored[p]->entry(), first_blocks[p] = blocks;
        blocks += (counts[p] + ADAMW_BLOCK - 1) / ADAMW_BLOCK;
    }
    const double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, rate = 1e-3, decay = 0.1, limit = 0.5;
    check::Array<double> parts(blocks), norm_and_scale(2);
    for (int step = 1; step <= 3; step++) {
        double squares = 0;
        for (const auto& parameter : stored)
            for (float g : parameter->g) squares += (double)g * g;
        emulator::launch({blocks, 1}, ADAMW_THREADS, ADAMW_SHARED_BYTES,
                         [&] { gradient_squares(table.data(), first_blocks.data(), PARAMETERS, parts.data()); });
        emulator::launch({1, 1}, ADAMW_THREADS, ADAMW_SHARED_BYTES,
                         [&] { clipping(parts.data(), blocks, limit, norm_and_scale.data()); });
        const double scale = std::min(limit / std::sqrt(squares), 1.0);
        line.error(std::abs(norm_and_scale[0] / std::sqrt(squares) - 1), 1e-12);
        line.error(std::abs(norm_and_scale[1] / scale - 1), 1e-12);
        const double bias1 = 1 - std::pow(beta1, step), bias2 = 1 - std::pow(beta2, step);
        const Update by = {beta1, beta2, (float)(rate / bias1), (float)(1 / std::sqrt(bias2)), (float)epsilon,
                           (float)(1 - rate * decay)};
        std::vector<std::vector<double>> theta, m, v;
        for (const auto& parameter : stored) {
            theta.emplace_back(), m.emplace_back(), v.emplace_back();
            for (size_t i = 0; i < parameter->g.size(); i++) {
                const double g = scale * parameter->g[i];
                m.back().push_back(beta1 * parameter->m[i] + (1 - beta1) * g);
                v.back().push_back(beta2 * parameter->v[i] + (1 - beta2) * g * g);
                const double moved = m.back()[i] / bias1 / (std::sqrt(v.back()[i] / bias2) + epsilon);
                theta.back().push_back(parameter->master((int)i) * (1 - (parameter->decays ? rate * decay : 0)) - rate * moved);
            }
        }
        emulator::launch({blocks, 1}, ADAMW_THREADS, ADAMW_SHARED_BYTES,
                         [&] { adamw<T>(table.data(), first_blocks.data(), PARAMETERS, norm_and_scale.data() + 1, by); });
        double worst = 0;
        for (int p = 0; p < PARAMETERS; p++)
            for (size_t i = 0; i < theta[p].size(); i++) {
                const Stored<T>& now = *stored[p];
                worst = worse(worst, std::abs(now.master((int)i) - theta[p][i]) / (std::abs(theta[p][i]) + rate));
                worst = worse(worst, std::abs(now.m[i] - m[p][i]) / (std::abs(m[p][i]) + 1e-3));
                worst = worse(worst, std::abs(now.v[i] - v[p][i]) / v[p][i]);
                const double nearest = std::abs(to_float(round_to<T>((float)now.master((int)i))) - now.master((int)i));
                line.exact(std::abs(to_float(now.weight[i]) - now.master((int)i)) == nearest);
            }
        line.error(worst, 5e-7);
        for (const auto& parameter : stored) random.fill(parameter->g, step == 2 ? 1e-5f : 1e-2f);  // the norm below the limit
    }
    // With a gradient that is not finite nothing moves.
    const double before = stored[1]->master(5);
    stored[4]->g[8198] = NAN;
    emulator::launch({blocks, 1}, ADAMW_THREADS, ADAMW_SHARED_BYTES,
                     [&] { gradient_squares(table.data(), first_blocks.data(), PARAMETERS, parts.data()); });
    emulator::launch({1, 1}, ADAMW_THREADS, ADAMW_SHARED_BYTES,
                     [&] { clipping(parts.data(), blocks, limit, norm_and_scale.data()); });
    emulator::launch({blocks, 1}, ADAMW_THREADS, ADAMW_SHARED_BYTES,
                     [&] { adamw<T>(table.data(), first_blocks.data(), PARAMETERS, norm_and_scale.data() + 1, Update{}); });
    line.exact(std::isnan(norm_and_scale[0]) && std::isnan(norm_and_scale[1]) && stored[1]->master(5) == before);
}

// Splitting keeps every bit of a master, and the weight is the nearest.
static void masters() {
    check::Row line("adamw", "masters are kept to the bit");
    std::vector<uint32_t> patterns = {0, 1, 0x8000, 0x7fff, 0x18000, 0x80000000, 0x80008000, 0x7f7fffff, 0x7f7f8000, 0x7f800000,
                                      0xff800000, 0xff7fffff, 0x3f808000, 0x3f818000, 0x3f807fff, 0x3f808001};
    check::Random random(5);
    while (patterns.size() < 3000) {
        const uint32_t bits = (uint32_t)random.below(1 << 30) * 4u + (uint32_t)random.below(4);
        if ((bits & 0x7f800000) != 0x7f800000) patterns.push_back(bits);
    }
    const int count = (int)patterns.size(), blocks = (count + ADAMW_THREADS - 1) / ADAMW_THREADS;
    check::Array<float> masters(count), again(count);
    check::Array<bf16> weight(count);
    check::Array<uint16_t> rest(count);
    for (int i = 0; i < count; i++) masters[i] = float_of(patterns[i]);
    emulator::launch({blocks, 1}, ADAMW_THREADS, 0, [&] { split_masters(masters.data(), count, weight.data(), rest.data()); });
    emulator::launch({blocks, 1}, ADAMW_THREADS, 0, [&] { join_masters(weight.data(), rest.data(), count, again.data()); });
    for (int i = 0; i < count; i++) {
        line.exact(bits_of(again[i]) == patterns[i]);
        const bool tie = (patterns[i] & 0xffff) == 0x8000;
        line.exact(tie || weight[i].bits == round_to<bf16>(masters[i]).bits);
    }
    masters[0] = float_of(0x7fffffff), masters[1] = float_of(0xffffffff);
    emulator::launch({1, 1}, ADAMW_THREADS, 0, [&] { split_masters(masters.data(), 2, weight.data(), rest.data()); });
    emulator::launch({1, 1}, ADAMW_THREADS, 0, [&] { join_masters(weight.data(), rest.data(), 2, again.data()); });
    for (int i = 0; i < 2; i++) line.exact(std::isnan(to_float(weight[i])) && std::isnan(again[i]));
}

int main() {
    updates<bf16>();
    updates<f16>();
    masters();
    return check::finish();
}
