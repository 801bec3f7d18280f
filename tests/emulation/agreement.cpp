// What kernels and launchers must agree on, against the list `crates/kernels/cuda/agreement.txt`. The launchers' side is compared
// with it by a test of `crates/kernels/src/agreement.rs`.
//
// mutation | adamw.cuh | a parameter has its fields in another order | s/    int decays;//; s/    void\* weight;/    int decays; void* weight;/
// mutation | objective.cuh | more shared memory than is asked for | s/\* 3 + 2 + 4/* 3 + 3 + 4/
#include "adamw.cuh"
#include "column_sums.cuh"
#include "embedding.cuh"
#include "norm.cuh"
#include "objective.cuh"
#include "rotary.cuh"
#include "selection.cuh"
#include "swiglu.cuh"
// Both kinds of kernels have a constant of this name.
#define LOG2_E ATTENTION_LOG2_E
#include "attention_backward.cuh"
#include "attention_forward.cuh"
#undef LOG2_E

#include <cstddef>
#include <cstdio>
#include <fstream>
#include <map>

#include "check.hpp"

typedef std::map<std::string, long> List;

#define SIZE(S) here[#S] = sizeof(S)
#define FIELD(S, F) here[#S "." #F] = offsetof(S, F)
#define CONSTANT(NAME) here[#NAME] = NAME

static List layouts() {
    List here;
    SIZE(SupervisedRows);
    FIELD(SupervisedRows, targets), FIELD(SupervisedRows, weights), FIELD(SupervisedRows, offsets);
    FIELD(SupervisedRows, token_ids), FIELD(SupervisedRows, measured), FIELD(SupervisedRows, taught);
    FIELD(SupervisedRows, drawn_offsets), FIELD(SupervisedRows, drawn_ids), FIELD(SupervisedRows, drawn_probabilities);
    SIZE(Share), FIELD(Share, value), FIELD(Share, log), FIELD(Share, log_of_rest);
    SIZE(Objective), FIELD(Objective, loss), FIELD(Objective, on_entries_alone), FIELD(Objective, parameter);
    FIELD(Objective, temperature), FIELD(Objective, alpha);
    SIZE(Parameter), FIELD(Parameter, weight), FIELD(Parameter, rest), FIELD(Parameter, first_moment);
    FIELD(Parameter, second_moment), FIELD(Parameter, gradient), FIELD(Parameter, count), FIELD(Parameter, decays);
    SIZE(Update), FIELD(Update, beta1), FIELD(Update, beta2), FIELD(Update, rate), FIELD(Update, root_scale);
    FIELD(Update, epsilon), FIELD(Update, keep);
    return here;
}

static List constants() {
    List here;
    here["ForwardKl"] = FORWARD_KL, here["ReverseKl"] = REVERSE_KL, here["JensenShannon"] = JENSEN_SHANNON;
    here["SkewKl"] = SKEW_KL, here["SkewReverseKl"] = SKEW_REVERSE_KL, here["TotalVariation"] = TOTAL_VARIATION;
    here["SoftCrossEntropy"] = SOFT_CROSS_ENTROPY;
    CONSTANT(ROW_LOSSES), CONSTANT(OBJECTIVE_THREADS), CONSTANT(LOSS_SUM_THREADS), CONSTANT(LOSS_SUM_SHARED_BYTES);
    CONSTANT(objective_shared_bytes(0,0)), CONSTANT(objective_shared_bytes(64,0)), CONSTANT(objective_shared_bytes(300,7));
    CONSTANT(ADAMW_THREADS), CONSTANT(ADAMW_BLOCK), CONSTANT(ADAMW_SHARED_BYTES);
    CONSTANT(NORM_THREADS), CONSTANT(NORM_SHARED_BYTES), CONSTANT(norm_backward_shared_bytes(2048));
    CONSTANT(COLUMN_SUM_COLUMNS), CONSTANT(COLUMN_SUM_THREADS), CONSTANT(COLUMN_SUM_SHARED_BYTES);
    CONSTANT(ROTARY_THREADS), CONSTANT(SWIGLU_THREADS), CONSTANT(SWIGLU_COLUMNS);
    CONSTANT(EMBEDDING_THREADS), CONSTANT(EMBEDDING_COLUMNS);
    CONSTANT(SELECTION_THREADS), CONSTANT(SELECTION_STEP);
    CONSTANT(selection_shared_bytes(4096)), CONSTANT(selection_shared_bytes(8192));
    return here;
}

template <int WIDTH, int QUERIES, int KEYS> static void add_forward(List& here) {
    typedef ForwardShape<WIDTH, QUERIES, KEYS> Shape;
    const std::string of = "(" + std::to_string(WIDTH) + "," + std::to_string(QUERIES) + ")";
    here["forward.threads" + of] = Shape::THREADS, here["forward.shared_bytes" + of] = Shape::SHARED_BYTES;
}

template <int WIDTH> static void add_width(List& here) {
    const std::string of = "(" + std::to_string(WIDTH) + ")";
    add_forward<WIDTH, 64, WIDTH <= 128 ? 64 : 32>(here);
    here["delta.threads" + of] = DeltaShape<WIDTH>::THREADS, here["delta.rows" + of] = DeltaShape<WIDTH>::BLOCK_ITEMS;
    here["keys.tile" + of] = KeysShape<WIDTH>::KEYS, here["keys.threads" + of] = KeysShape<WIDTH>::THREADS;
    here["keys.shared_bytes" + of] = KeysShape<WIDTH>::SHARED_BYTES;
    here["queries.tile" + of] = QueriesShape<WIDTH>::QUERIES, here["queries.threads" + of] = QueriesShape<WIDTH>::THREADS;
    here["queries.shared_bytes" + of] = QueriesShape<WIDTH>::SHARED_BYTES;
    here["rotary_backward.shared_bytes" + of] = ROTARY_BACKWARD_SHARED_BYTES<WIDTH>;
}

static void compare() {
    check::Row line("agreement", "layouts, threads, tiles, bytes");
    List here = layouts();
    here.merge(constants());
    add_width<64>(here), add_width<96>(here), add_width<128>(here), add_width<256>(here);
    add_forward<64, 128, 64>(here), add_forward<96, 128, 64>(here), add_forward<128, 128, 64>(here);

    std::ifstream file("crates/kernels/cuda/agreement.txt");
    List listed;
    for (std::string text; std::getline(file, text);) {
        if (text.empty() || text[0] == '#') continue;
        const size_t space = text.find(' ');
        listed[text.substr(0, space)] = std::stol(text.substr(space + 1));
    }
    for (const auto& [name, value] : here)
        if (!listed.count(name) || listed[name] != value) {
            fprintf(stderr, "%s %ld: the list has another number\n", name.c_str(), value);
            line.exact(false);
        }
    line.exact(here.size() == listed.size());
}

int main() {
    compare();
    return check::finish();
}
