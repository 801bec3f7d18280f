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

constexpr int OBJECTIVE_THREADS = 256;
constexpr int OBJECTIVE_STEP = 4 * OBJECTIVE_THREADS;
constexpr int OBJECTIVE_WARPS = OBJECTIVE_THREADS / 32;

// The numbers that each row leaves, each times the row's weight.
enum RowLoss { CROSS_ENTROPY, DISTILLATION, FORWARD_KL_AT_ONE, SOFT_CROSS_ENTROPY_AT_ONE, WEIGHT, TOP_1_AGREEMENT, ROW_LOSSES };

// Shared bytes for rows of at most so many entries and drawn tokens.
constexpr size_t objective_shared_bytes(int entries, int drawn) {
    return ((size_t)(entries + 1) * 3 + 2 + 4 * OBJECTIVE_WARPS) * 8 + ((size_t)entries + drawn + 2 * OBJECTIVE_WARPS + 2) * 4;
}

// What is learnt.
struct Objective {
    int loss;              // of `Loss`
    int on_entries_alone;  // the student, too, is conditioned on the entries
    Share parameter;       // β or λ, for the losses that have it
    double temperature;    // τ
    double alpha;          // α
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

// One row, and the block's shared memory for it.
template <class T> struct ObjectiveRow {
    float* z;
    T* gradient;
    int vocabulary, target;
    const int* ids;  // of the entries
    int entries;
    int first_drawn, drawn;
    double* at_one;             // q of the outcomes at temperature 1
    double* student;            // q of the outcomes as they are learnt
    double* derivatives;        // ∂D/∂log q
    double* tail_sums;          // of the tail's exponentials, at temperature 1 and as they are learnt
    double* scratch;            // [4 · WARPS]
    float* entry_logits;
    float* drawn_logits;
    float* float_scratch;       // [2 · WARPS]
    float* target_logit;
    int* target_is_special;     // whether it is an entry or a drawn token
};

template <class T>
DEVICE ObjectiveRow<T> objective_row(float* z, T* gradient, int vocabulary, int row, const SupervisedRows& rows, int room_entries,
                                     int room_drawn) {
    ObjectiveRow<T> at;
    at.z = z, at.gradient = gradient, at.vocabulary = vocabulary, at.target = rows.targets[row];
    at.ids = rows.token_ids + rows.offsets[row];
    at.entries = rows.offsets[row + 1] - rows.offsets[row];
    at.first_drawn = rows.drawn_offsets ? rows.drawn_offsets[row] : 0;
    at.drawn = rows.drawn_offsets ? rows.drawn_offsets[row + 1] - at.first_drawn : 0;
    at.at_one = (double*)shared_memory();
    at.student = at.at_one + room_entries + 1;
    at.derivatives = at.student + room_entries + 1;
    at.tail_sums = at.derivatives + room_entries + 1;
    at.scratch = at.tail_sums + 2;
    at.entry_logits = (float*)(at.scratch + 4 * OBJECTIVE_WARPS);
    at.drawn_logits = at.entry_logits + room_entries;
    at.float_scratch = at.drawn_logits + room_drawn;
    at.target_logit = at.float_scratch + 2 * OBJECTIVE_WARPS;
    at.target_is_special = (int*)(at.target_logit + 1);
    return at;
}

// Copies the logits of target, entries and drawn tokens, and puts −∞ in the places of entries. The largest logit of the thread's entries.
template <class T> DEVICE float take_out_entries(const ObjectiveRow<T>& at, const SupervisedRows& rows) {
    if (thread_index() == 0) *at.target_is_special = 0, *at.target_logit = at.z[at.target];
    sync_block();
    float top = LOWEST;
    for (int e = thread_index(); e < at.entries; e += OBJECTIVE_THREADS) {
        at.entry_logits[e] = at.z[at.ids[e]];
        top = fmaxf(top, at.entry_logits[e]);
        if (at.ids[e] == at.target) *at.target_is_special = 1;
    }
    for (int d = thread_index(); d < at.drawn; d += OBJECTIVE_THREADS) {
        const int id = rows.drawn_ids[at.first_drawn + d];
        at.drawn_logits[d] = at.z[id];
        if (id == at.target) *at.target_is_special = 1;
    }
    sync_block();
    for (int e = thread_index(); e < at.entries; e += OBJECTIVE_THREADS) at.z[at.ids[e]] = -infinity();
    sync_block();
    return top;
}

// The thread's part of the tail's exponentials.
template <int N, class T> DEVICE ExponentialSums<N> sum_tail(const ObjectiveRow<T>& at, const float (&factors)[N]) {
    ExponentialSums<N> tail = no_exponentials<N>();
    const LogitRow row = logit_row(at.z, at.vocabulary);
    float next[4];
    load_logits(next, row, 4 * thread_index());
    for (int i = 4 * thread_index(); i < at.vocabulary; i += OBJECTIVE_STEP) {
        float four[4];
        UNROLL for (int j = 0; j < 4; j++) four[j] = next[j];
        load_logits(next, row, i + OBJECTIVE_STEP);
        add_logits(tail, factors, four);
    }
    return tail;
}

// What the scores of a row have in common.
struct Scores {
    double log_sum_exp, bucket;                // at temperature 1
    double learnt_log_sum_exp, learnt_bucket;  // as they are learnt
};

// From the tail's sums to the scores. `tops`: the largest logits of the entries and of the tail.
template <class T>
DEVICE Scores scores_of(const ObjectiveRow<T>& at, const Objective& learnt, const float (&tops)[2], float sum, float learnt_sum) {
    const double tau = learnt.temperature, top = fmaxf(tops[0], tops[1]), learnt_top = learnt.on_entries_alone ? tops[0] : top;
    double sums[4] = {sum, learnt_sum, 0.0, 0.0};
    for (int e = thread_index(); e < at.entries; e += OBJECTIVE_THREADS) {
        sums[2] += exp(at.entry_logits[e] - top);
        sums[3] += exp((at.entry_logits[e] - learnt_top) / tau);
    }
    block_sum<OBJECTIVE_THREADS>(sums, at.scratch);
    if (thread_index() == 0) at.tail_sums[0] = sums[0], at.tail_sums[1] = sums[1];
    if (learnt.on_entries_alone) sums[1] = 0.0;
    Scores scores;
    scores.bucket = sums[0] > 0.0 ? tops[1] + log(sums[0]) : log_of_zero();
    scores.learnt_bucket = sums[1] > 0.0 ? tops[1] / tau + log(sums[1]) : log_of_zero();
    scores.log_sum_exp = top + log(sums[2] + sums[0] * exp(tops[1] - top));
    // Without entries to be conditioned on there is nothing.
    const double tail = sums[1] > 0.0 ? sums[1] * exp((tops[1] - learnt_top) / tau) : 0.0;
    scores.learnt_log_sum_exp = sums[3] + tail > 0.0 ? learnt_top / tau + log(sums[3] + tail) : log_of_zero();
    return scores;
}

// Sums over the outcomes of a row: D, ∂D/∂log q, and forward KL and soft cross-entropy at temperature 1.
enum OutcomeSum { VALUE, DERIVATIVE, MEASURED_KL, MEASURED_CROSS_ENTROPY, OUTCOME_SUMS };

// The terms of all outcomes and drawn tokens: their sums, and q and ∂D/∂log q of each in shared memory.
template <class T>
DEVICE void compare_outcomes(const ObjectiveRow<T>& at, const SupervisedRows& rows, long first_outcome, const Objective& learnt,
                             const Scores& scores, double (&sums)[OUTCOME_SUMS]) {
    const double* measured = rows.measured + first_outcome;
    const double* taught = (rows.taught ? rows.taught : rows.measured) + first_outcome;
    UNROLL for (int i = 0; i < OUTCOME_SUMS; i++) sums[i] = 0.0;
    for (int o = thread_index(); o <= at.entries; o += OBJECTIVE_THREADS) {
        const double score = o == at.entries ? scores.bucket : (double)at.entry_logits[o];
        const Probability p = probability_of(measured[o]), q = probability_of_score(score, scores.log_sum_exp);
        sums[MEASURED_KL] += times_log_ratio(p.value, p.log, q.log);
        sums[MEASURED_CROSS_ENTROPY] += times_log_ratio(p.value, 0.0, q.log);
        at.at_one[o] = q.value;
    }
    for (int o = thread_index(); o <= at.entries; o += OBJECTIVE_THREADS) {
        const double score = o == at.entries ? scores.learnt_bucket : at.entry_logits[o] / learnt.temperature;
        const Probability p = probability_of(taught[o]), q = probability_of_score(score, scores.learnt_log_sum_exp);
        const Term term = term_of(learnt.loss, learnt.parameter, p, q);
        sums[VALUE] += term.value, sums[DERIVATIVE] += term.derivative;
        at.student[o] = q.value, at.derivatives[o] = term.derivative;
    }
    for (int d = thread_index(); d < at.drawn; d += OBJECTIVE_THREADS) {
        const double p = rows.drawn_probabilities[at.first_drawn + d];
        sums[VALUE] -= p * (at.drawn_logits[d] / learnt.temperature - scores.learnt_log_sum_exp), sums[DERIVATIVE] -= p;
    }
    block_sum<OBJECTIVE_THREADS>(sums, at.scratch);
}

// The factor from exponentials of the tail to their part of the bucket's gradient.
DEVICE float tail_share(double gradient, double sum) { return sum > 0.0 ? (float)(gradient / sum) : 0.f; }

// The gradient of a token of the tail.
template <int N> DEVICE float tail_gradient(float z, float top, const float (&factors)[N], const float (&shares)[N]) {
    float gradient = 0.f;
    UNROLL for (int t = 0; t < N; t++) gradient += exp2_fast((z - top) * factors[t]) * shares[t];
    return gradient;
}

// The gradient of the tail, over the whole row; it is 0 at the entries.
template <int N, class T>
DEVICE void write_tail(const ObjectiveRow<T>& at, float top, const float (&factors)[N], const float (&shares)[N]) {
    const bool whole_fours = (uintptr_t)at.gradient % (4 * sizeof(T)) == 0;
    const LogitRow row = logit_row(at.z, at.vocabulary);
    float next[4];
    load_logits(next, row, 4 * thread_index());
    for (int first = 0; first < at.vocabulary; first += OBJECTIVE_STEP) {
        const int i = first + 4 * thread_index();
        float four[4];
        UNROLL for (int j = 0; j < 4; j++) four[j] = tail_gradient(next[j], top, factors, shares);
        load_logits(next, row, i + OBJECTIVE_STEP);
        sync_block();  // Everybody has read what is about to be overwritten
        if (whole_fours && i + 4 <= at.vocabulary) {
            store_four(at.gradient + i, four);
        } else {
            UNROLL for (int j = 0; j < 4; j++)
                if (i + j < at.vocabulary) store_one(at.gradient + i + j, four[j]);
        }
    }
    sync_block();
}

// Block b works on row `first_row + b` of `rows`; its logits are row b of `logits`, `stride` numbers apart. `gradients` may be
// the same memory; its rows are `gradient_stride` apart. `losses` [rows, ROW_LOSSES] is indexed by the row of `rows`. TEMPERED if
// τ is not 1. The shared bytes are those for `room_entries` and `room_drawn`.
template <class T, bool TEMPERED>
DEVICE void objective(float* logits, long stride, T* gradients, long gradient_stride, int vocabulary, int first_row,
                      SupervisedRows rows, Objective learnt, int room_entries, int room_drawn, double* losses) {
    constexpr int TEMPERATURES = TEMPERED ? 2 : 1, LAST = TEMPERATURES - 1;  // the last is that of the divergence
    const int row = first_row + block_index_x();
    const ObjectiveRow<T> at = objective_row(logits + block_index_x() * stride, gradients + block_index_x() * gradient_stride,
                                             vocabulary, row, rows, room_entries, room_drawn);
    float tops[2];  // the largest logits of the entries and of the tail
    tops[0] = take_out_entries(at, rows);

    float factors[TEMPERATURES];
    factors[0] = LOG2_E;
    if (TEMPERED) factors[LAST] = (float)(1.4426950408889634 / learnt.temperature);
    ExponentialSums<TEMPERATURES> tail = sum_tail(at, factors);
    tops[1] = tail.top;
    block_max<OBJECTIVE_THREADS>(tops, at.float_scratch);
    raise(tail, factors, tops[1]);
    const Scores scores = scores_of(at, learnt, tops, tail.at[0], tail.at[LAST]);
    double* mine = losses + (long)row * ROW_LOSSES;
    if (thread_index() == 0) {
        const double weight = rows.weights[row];
        mine[CROSS_ENTROPY] = weight * (scores.log_sum_exp - *at.target_logit);
        mine[WEIGHT] = weight;
        mine[TOP_1_AGREEMENT] = at.entries > 0 && at.entry_logits[0] >= fmaxf(tops[0], tops[1]) ? weight : 0.0;
    }
    double sums[OUTCOME_SUMS];
    compare_outcomes(at, rows, (long)rows.offsets[row] + row, learnt, scores, sums);

    const double weight = rows.weights[row];
    if (thread_index() == 0) {
        mine[DISTILLATION] = weight * sums[VALUE];
        mine[FORWARD_KL_AT_ONE] = weight * sums[MEASURED_KL];
        mine[SOFT_CROSS_ENTROPY_AT_ONE] = weight * sums[MEASURED_CROSS_ENTROPY];
    }

    // The factors of the gradients of cross-entropy and of the divergence with respect to the scores.
    const double hard = weight * (1.0 - learnt.alpha), soft = weight * learnt.alpha * learnt.temperature;
    const double bucket_hard = hard * at.at_one[at.entries];
    const double bucket_soft = soft * (at.derivatives[at.entries] - at.student[at.entries] * sums[DERIVATIVE]);
    float shares[TEMPERATURES];
    shares[0] = tail_share(bucket_hard + (TEMPERED ? 0.0 : bucket_soft), at.tail_sums[0]);
    if (TEMPERED) shares[LAST] = tail_share(bucket_soft, at.tail_sums[1]);
    write_tail(at, tops[1], factors, shares);

    // The tokens with more than the tail's gradient.
    for (int e = thread_index(); e < at.entries; e += OBJECTIVE_THREADS) {
        const double value = hard * at.at_one[e] + soft * (at.derivatives[e] - at.student[e] * sums[DERIVATIVE]);
        store_one(at.gradient + at.ids[e], (float)(at.ids[e] == at.target ? value - hard : value));
    }
    for (int d = thread_index(); d < at.drawn; d += OBJECTIVE_THREADS) {
        const double of_tail = tail_gradient(at.drawn_logits[d], tops[1], factors, shares);
        const double value = of_tail - soft * rows.drawn_probabilities[at.first_drawn + d];
        const int id = rows.drawn_ids[at.first_drawn + d];
        store_one(at.gradient + id, (float)(id == at.target ? value - hard : value));
    }
    if (thread_index() == 0 && !*at.target_is_special)
        store_one(at.gradient + at.target, (float)(tail_gradient(*at.target_logit, tops[1], factors, shares) - hard));
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
