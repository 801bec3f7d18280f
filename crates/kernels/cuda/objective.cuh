// The objective: each row of logits becomes the gradient of its loss w · ((1 − α) · CE + α · τ² · D), in place, and leaves its
// losses. One block a row, two passes over it. The formulas are those of `crates/train/src/objective`.
//
// D compares teacher and student over outcomes: the entries of the row and, last, one bucket for all other tokens, the tail.
// Entries are taken out of the row first, so that the tail's log-sum-exp is a sum over exactly the tail. Numbers of outcomes are
// few and in double precision; the tail's exponentials are in f32.
//
// In place: a row of gradients begins where its row of logits does, with half the bytes (or as many) for each number. The block
// goes from the start to the end, and writes behind what it has read.
#pragma once
#include "divergences.cuh"
#include "elements.cuh"
#include "reductions.cuh"
#include "tail.cuh"

constexpr int OBJECTIVE_THREADS = 512;
constexpr int OBJECTIVE_STEP = 4 * OBJECTIVE_THREADS;
constexpr int OBJECTIVE_WARPS = OBJECTIVE_THREADS / 32;

// The numbers that each row leaves, each times the row's weight.
enum RowLoss { CROSS_ENTROPY, DISTILLATION, FORWARD_KL_AT_ONE, SOFT_CROSS_ENTROPY_AT_ONE, WEIGHT, TOP_1_AGREEMENT, ROW_LOSSES };

// Shared bytes for rows of at most so many entries and drawn tokens.
constexpr size_t objective_shared_bytes(int entries, int drawn) {
    return (size_t)(entries + 1) * 3 * 8 + 4 * OBJECTIVE_WARPS * 8 + (size_t)(entries + drawn) * 4 + 2 * OBJECTIVE_WARPS * 4 + 4;
}

// What is learnt.
struct Objective {
    int loss;               // of `Loss`
    int on_entries_alone;   // the student, too, is conditioned on the entries
    double parameter;       // β or λ
    double temperature;     // τ
    double alpha;           // α
};

// Supervised positions. Row r has the entries `token_ids[offsets[r]]` to `token_ids[offsets[r + 1] − 1]`, and the logarithms of
// the teacher's probabilities of its outcomes, one more than entries, from `offsets[r] + r` on: `measured` at temperature 1 with
// a bucket, `taught` as they are learnt (null if those are the same). Drawn tokens are distinct and no entries; without them
// `drawn_offsets` is null.
struct SupervisedRows {
    const int* targets;
    const float* weights;
    const int* offsets;
    const int* token_ids;
    const double* measured;
    const double* taught;
    const int* drawn_offsets;
    const int* drawn_ids;
    const double* drawn_probabilities;
};

// The factor from exponentials of the tail to their part of the bucket's gradient.
DEVICE float tail_share(double gradient, double sum) { return sum > 0.0 ? (float)(gradient / sum) : 0.f; }

// The gradient of a token of the tail.
template <int TEMPERATURES>
DEVICE float tail_gradient(float z, float top, const float (&factors)[TEMPERATURES], const float (&shares)[TEMPERATURES]) {
    float gradient = 0.f;
    UNROLL for (int t = 0; t < TEMPERATURES; t++) gradient += exp2_fast((z - top) * factors[t]) * shares[t];
    return gradient;
}

// Block b works on row `first_row + b` of `rows`; its logits are row b of `logits`, `stride` numbers apart. `gradients` may be
// the same memory; its rows are `gradient_stride` apart. `losses` [rows, ROW_LOSSES] is indexed by the row of `rows`. TEMPERED if
// τ is not 1. `room` is what the shared bytes were computed for.
template <class T, bool TEMPERED>
DEVICE void objective(float* logits, long stride, T* gradients, long gradient_stride, int vocabulary, int first_row, SupervisedRows rows,
                      Objective learnt, int room_entries, int room_drawn, double* losses) {
    constexpr int TEMPERATURES = TEMPERED ? 2 : 1;
    constexpr int LAST = TEMPERATURES - 1;  // the temperature of the divergence
    const int row = first_row + block_index_x(), target = rows.targets[row];
    float* z = logits + block_index_x() * stride;
    T* gradient = gradients + block_index_x() * gradient_stride;
    const int* ids = rows.token_ids + rows.offsets[row];
    const int entries = rows.offsets[row + 1] - rows.offsets[row];
    const long outcomes_at = (long)rows.offsets[row] + row;
    const int drawn_at = rows.drawn_offsets ? rows.drawn_offsets[row] : 0;
    const int drawn = rows.drawn_offsets ? rows.drawn_offsets[row + 1] - drawn_at : 0;
    const double weight = rows.weights[row], hard = weight * (1.0 - learnt.alpha);
    const double soft = weight * learnt.alpha * learnt.temperature;

    double* at_one = (double*)shared_memory();          // the gradient of cross-entropy at the scores, without the target
    double* student = at_one + room_entries + 1;        // q of the outcomes, as they are learnt
    double* derivatives = student + room_entries + 1;   // ∂D/∂log q
    double* scratch = derivatives + room_entries + 1;   // [4 · WARPS]
    float* entry_logits = (float*)(scratch + 4 * OBJECTIVE_WARPS);
    float* drawn_logits = entry_logits + room_entries;
    float* float_scratch = drawn_logits + room_drawn;   // [2 · WARPS]
    int* target_is_special = (int*)(float_scratch + 2 * OBJECTIVE_WARPS);

    // Entries out of the row.
    if (thread_index() == 0) *target_is_special = 0;
    const float target_logit = z[target];
    sync_block();
    float tops[2] = {LOWEST, LOWEST};  // of entries, of the tail
    for (int e = thread_index(); e < entries; e += OBJECTIVE_THREADS) {
        entry_logits[e] = z[ids[e]];
        tops[0] = fmaxf(tops[0], entry_logits[e]);
        if (ids[e] == target) *target_is_special = 1;
    }
    for (int d = thread_index(); d < drawn; d += OBJECTIVE_THREADS) {
        drawn_logits[d] = z[rows.drawn_ids[drawn_at + d]];
        if (rows.drawn_ids[drawn_at + d] == target) *target_is_special = 1;
    }
    sync_block();
    for (int e = thread_index(); e < entries; e += OBJECTIVE_THREADS) z[ids[e]] = -infinity();
    sync_block();

    // The tail's exponentials.
    float factors[TEMPERATURES];
    factors[0] = LOG2_E;
    if (TEMPERED) factors[LAST] = (float)(1.4426950408889634 / learnt.temperature);
    ExponentialSums<TEMPERATURES> tail = no_exponentials<TEMPERATURES>();
    for (int i = 4 * thread_index(); i < vocabulary; i += OBJECTIVE_STEP) {
        float four[4];
        load_logits(four, z, i, vocabulary);
        add_logits(tail, factors, four);
    }
    tops[1] = tail.top;
    block_max<OBJECTIVE_THREADS>(tops, float_scratch);
    const float tail_top = tops[1];
    raise(tail, factors, tail_top);

    // Log-sum-exps of the scores at temperature 1 and as they are learnt.
    const double tau = learnt.temperature, top = fmaxf(tops[0], tops[1]), learnt_top = learnt.on_entries_alone ? tops[0] : top;
    double sums[4] = {tail.at[0], tail.at[LAST], 0.0, 0.0};
    for (int e = thread_index(); e < entries; e += OBJECTIVE_THREADS) {
        sums[2] += exp(entry_logits[e] - top);
        sums[3] += exp((entry_logits[e] - learnt_top) / tau);
    }
    block_sum<OBJECTIVE_THREADS>(sums, scratch);
    const double bucket = sums[0] > 0.0 ? tail_top + log(sums[0]) : log_of_zero();
    double learnt_bucket = sums[1] > 0.0 ? tail_top / tau + log(sums[1]) : log_of_zero();
    if (learnt.on_entries_alone) learnt_bucket = log_of_zero();
    const double log_sum_exp = top + log(sums[2] + sums[0] * exp(tail_top - top));
    const double learnt_log_sum_exp =
        learnt_top / tau + log(sums[3] + (learnt.on_entries_alone ? 0.0 : sums[1] * exp((tail_top - top) / tau)));

    // The outcomes: terms of the divergences and their derivatives.
    double terms[4] = {0.0, 0.0, 0.0, 0.0};  // D, Σ ∂D/∂log q, forward KL and soft cross-entropy at temperature 1
    for (int o = thread_index(); o <= entries; o += OBJECTIVE_THREADS) {
        const bool is_bucket = o == entries;
        const Probability q = probability_of_score(is_bucket ? bucket : (double)entry_logits[o], log_sum_exp);
        const Probability measured = probability_of(rows.measured[outcomes_at + o]);
        at_one[o] = hard * q.value;
        terms[2] += times_log_ratio(measured.value, measured.log, q.log);
        terms[3] += times_log_ratio(measured.value, 0.0, q.log);
        const double score = is_bucket ? learnt_bucket : entry_logits[o] / tau;
        const Probability learnt_q = probability_of_score(score, learnt_log_sum_exp);
        const Probability taught = rows.taught ? probability_of(rows.taught[outcomes_at + o]) : measured;
        const Term term = term_of(learnt.loss, learnt.parameter, taught, learnt_q);
        student[o] = learnt_q.value, derivatives[o] = term.derivative;
        terms[0] += term.value, terms[1] += term.derivative;
    }
    for (int d = thread_index(); d < drawn; d += OBJECTIVE_THREADS) {
        const double p = rows.drawn_probabilities[drawn_at + d];
        terms[0] -= p * (drawn_logits[d] / tau - learnt_log_sum_exp), terms[1] -= p;
    }
    block_sum<OBJECTIVE_THREADS>(terms, scratch);
    const double derivative_sum = terms[1];

    // The gradient of the tail, over the whole row; it is 0 at the entries.
    const double slope = soft * (derivatives[entries] - student[entries] * derivative_sum);
    float shares[TEMPERATURES];
    shares[0] = tail_share(at_one[entries] + (TEMPERED ? 0.0 : slope), sums[0]);
    if (TEMPERED) shares[LAST] = tail_share(slope, sums[1]);
    const bool whole_fours = (uintptr_t)gradient % (4 * sizeof(T)) == 0;
    float next[4];
    load_logits(next, z, 4 * thread_index(), vocabulary);
    for (int first = 0; first < vocabulary; first += OBJECTIVE_STEP) {
        const int i = first + 4 * thread_index();
        float four[4];
        UNROLL for (int j = 0; j < 4; j++) four[j] = tail_gradient(next[j], tail_top, factors, shares);
        load_logits(next, z, i + OBJECTIVE_STEP, vocabulary);
        sync_block();  // everybody has read what is about to be overwritten
        if (whole_fours && i + 4 <= vocabulary) {
            store_four(gradient + i, four);
        } else {
            UNROLL for (int j = 0; j < 4; j++)
                if (i + j < vocabulary) store_one(gradient + i + j, four[j]);
        }
    }
    sync_block();

    // The tokens with more than the tail's gradient.
    for (int e = thread_index(); e < entries; e += OBJECTIVE_THREADS) {
        const double value = at_one[e] + soft * (derivatives[e] - student[e] * derivative_sum);
        store_one(gradient + ids[e], (float)(ids[e] == target ? value - hard : value));
    }
    for (int d = thread_index(); d < drawn; d += OBJECTIVE_THREADS) {
        const int id = rows.drawn_ids[drawn_at + d];
        const double value = tail_gradient(drawn_logits[d], tail_top, factors, shares) -
                             soft * rows.drawn_probabilities[drawn_at + d];
        store_one(gradient + id, (float)(id == target ? value - hard : value));
    }
    if (thread_index() > 0) return;
    if (!*target_is_special)
        store_one(gradient + target, (float)(tail_gradient(target_logit, tail_top, factors, shares) - hard));
    double* mine = losses + (long)row * ROW_LOSSES;
    mine[CROSS_ENTROPY] = weight * (log_sum_exp - target_logit);
    mine[DISTILLATION] = weight * terms[0];
    mine[FORWARD_KL_AT_ONE] = weight * terms[2];
    mine[SOFT_CROSS_ENTROPY_AT_ONE] = weight * terms[3];
    mine[WEIGHT] = weight;
    mine[TOP_1_AGREEMENT] = entries > 0 && entry_logits[0] >= fmaxf(tops[0], tops[1]) ? weight : 0.0;
}

constexpr int LOSS_SUM_THREADS = 256;
constexpr size_t LOSS_SUM_SHARED_BYTES = LOSS_SUM_THREADS / 32 * ROW_LOSSES * 8;

// `totals` [ROW_LOSSES] += Σ over the rows of `losses` [rows, ROW_LOSSES]. One block.
DEVICE void add_row_losses(const double* losses, int rows, double* totals) {
    double sums[ROW_LOSSES] = {};
    for (int row = thread_index(); row < rows; row += LOSS_SUM_THREADS)
        UNROLL for (int i = 0; i < ROW_LOSSES; i++) sums[i] += losses[(long)row * ROW_LOSSES + i];
    block_sum<LOSS_SUM_THREADS>(sums, (double*)shared_memory());
    if (thread_index() == 0)
        UNROLL for (int i = 0; i < ROW_LOSSES; i++) totals[i] += sums[i];
}
