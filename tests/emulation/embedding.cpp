// The gradient of an embedding table against double precision.
//
// mutation | embedding.cuh | the last position of a token is left out | s/end = starts\[token + 1\]/end = starts[token + 1] - 1/
#include "embedding.cuh"

#include <map>

#include "check.hpp"
#include "rounding.hpp"

template <class T> static void backward(int rows, int width, int vocabulary) {
    check::Row line("embedding_backward", std::string(check::name_of<T>()) + ", " + std::to_string(rows) + " rows, width " +
                                              std::to_string(width));
    check::Random random(rows);
    check::Array<T> gradient(rows * width);
    check::Array<float> table(vocabulary * width);
    random.fill(gradient), random.fill(table);
    std::map<int, std::vector<int>> of_tokens;
    for (int r = 0; r < rows; r++) of_tokens[random.below(2) ? 3 : random.below(vocabulary)].push_back(r);
    const int distinct = (int)of_tokens.size();
    check::Array<int> tokens(distinct), starts(distinct + 1), places(rows);
    std::vector<double> expected(table.begin(), table.end()), size(vocabulary * width);
    for (size_t i = 0; i < size.size(); i++) size[i] = std::abs(expected[i]);
    int index = 0, place = 0;
    for (const auto& [token, rows_of_token] : of_tokens) {
        tokens[index] = token, starts[index++] = place;
        for (int row : rows_of_token) {
            places[place++] = row;
            for (int i = 0; i < width; i++) {
                expected[token * width + i] += check::number(gradient[row * width + i]);
                size[token * width + i] += std::abs(check::number(gradient[row * width + i]));
            }
        }
    }
    starts[distinct] = rows;
    emulator::launch({distinct, (width + EMBEDDING_COLUMNS - 1) / EMBEDDING_COLUMNS}, EMBEDDING_THREADS, 0, [&] {
        embedding_backward<T>(gradient.data(), tokens.data(), starts.data(), places.data(), width, table.data());
    });
    double worst = 0;
    for (size_t i = 0; i < size.size(); i++) worst = worse(worst, std::abs(table[i] - expected[i]) / size[i]);
    line.error(worst, 1e-6);
}

int main() {
    backward<bf16>(1, 64, 10);
    backward<bf16>(200, 1028, 50);
#ifndef FEW
    backward<f16>(63, 512, 7);
#endif
    return check::finish();
}
