// A row of logits, read once: its k largest, most probable first, ties to the lower id; the log-sum-exp of all others at
// temperature 1 and at further temperatures; the target's logit; the first logit that is not finite. One block a row.
//
// Shared memory holds what may still be among the k largest. What is not above the floor, a logit that at least k others reach,
// is added to the sums at once; what a sort drops is added then. So every logit is either kept or summed, once: ties are
// exact, and the sums over the others are no differences. Each thread sums what it sees in the order of the ids, and what a
// sort drops in the order of the sort, so that the result does not depend on the order in which threads run.
//
// The first floor comes from the largest logit that each thread sees at the start of the row: the k-th largest of these
// maxima. Without it everything would go through a sort.
#pragma once
#include "reductions.cuh"
#include "tail.cuh"

constexpr int SELECTION_THREADS = 512;
// Logits that the block takes at a time, each thread four.
constexpr int SELECTION_STEP = 4 * SELECTION_THREADS;
// Steps whose maxima give the first floor.
constexpr int SELECTION_SAMPLED_STEPS = 8;

// Shared bytes. `room` is a power of two, at least k and twice a step, and is the number of candidates that fit.
constexpr size_t selection_shared_bytes(int room) { return (size_t)room * 8 + SELECTION_THREADS / 32 * 16 * 4 + 16; }

// Keys are ordered like logits, and by descending ids where logits are equal. −0 counts as 0.
DEVICE uint32_t ordered(float z) {
    const uint32_t bits = bits_of(z + 0.f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
DEVICE float unordered(uint32_t bits) { return float_of(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits); }
DEVICE uint64_t key_of(float z, int id) { return (uint64_t)ordered(z) << 32 | (uint32_t)~id; }
DEVICE float logit_of(uint64_t key) { return unordered((uint32_t)(key >> 32)); }
DEVICE int id_of(uint64_t key) { return (int)~(uint32_t)key; }

// The key that belongs to `index` when keys `gap` apart are compared, in runs of alternating order.
DEVICE uint64_t compared(uint64_t key, int index, int gap, int run) {
    const uint64_t other = shuffle_xor(key, gap);
    const bool wants_larger = ((index & gap) == 0) == ((index & run) == 0);
    return (key < other) == wants_larger ? other : key;
}

// The comparisons of keys at most 32 apart, for some runs. A warp has 64 neighbours at a time, each thread two.
DEVICE void compare_in_warps(uint64_t* keys, int size, int first_run, int last_run) {
    const int lane = thread_index() % 32, warp = thread_index() / 32;
    for (int base = 64 * warp; base < size; base += 2 * SELECTION_THREADS) {
        const int index = base + lane;
        uint64_t low = shared_load(keys + index), high = shared_load(keys + index + 32);
        for (int run = first_run; run <= last_run; run <<= 1) {
            if (run >= 64 && (low < high) == ((index & run) == 0)) {
                const uint64_t larger = high;
                high = low, low = larger;
            }
            for (int gap = run < 64 ? run / 2 : 16; gap > 0; gap >>= 1)
                low = compared(low, index, gap, run), high = compared(high, index + 32, gap, run);
        }
        shared_store(keys + index, low), shared_store(keys + index + 32, high);
    }
}

// Sorts `size` keys, a power of two from 64, largest first (bitonic). Everybody waits at the end.
DEVICE void sort_descending(uint64_t* keys, int size) {
    compare_in_warps(keys, size, 2, 64);
    sync_block();
    for (int run = 128; run <= size; run <<= 1) {
        for (int gap = run / 2; gap > 32; gap >>= 1) {
            for (int pair = thread_index(); pair < size / 2; pair += SELECTION_THREADS) {
                const int low = 2 * pair - (pair & (gap - 1)), high = low + gap;
                const uint64_t a = shared_load(keys + low), b = shared_load(keys + high);
                if ((a < b) == ((low & run) == 0)) shared_store(keys + low, b), shared_store(keys + high, a);
            }
            sync_block();  // These pairs are in order
        }
        compare_in_warps(keys, size, run, run);
        sync_block();
    }
}

// A floor that at least k logits of the row are above; needs k <= SELECTION_THREADS and a step of logits.
DEVICE float first_floor(uint64_t* keys, const LogitRow& row, int k) {
    float largest = LOWEST;
    for (int step = 0; step < SELECTION_SAMPLED_STEPS; step++) {
        float z[4];
        load_logits(z, row, step * SELECTION_STEP + 4 * thread_index());
        largest = fmaxf(largest, fmaxf(fmaxf(z[0], z[1]), fmaxf(z[2], z[3])));
    }
    keys[thread_index()] = key_of(largest, 0);
    sync_block();
    sort_descending(keys, SELECTION_THREADS);
    const float floor = logit_of(keys[k - 1]);
    sync_block();
    // The next lower number: logits that equal the floor stay candidates.
    return floor == 0.f ? -1.401298464e-45f : unordered(ordered(floor) - 1);
}

// Moves the logits above the floor from `z` to the candidates, and leaves −∞ in their places.
DEVICE void keep_candidates(float (&z)[4], float floor, int first, uint64_t* keys, int* count) {
    uint32_t keepers[4], all = 0;
    UNROLL for (int j = 0; j < 4; j++) {
        keepers[j] = vote(z[j] > floor);
        all += (uint32_t)count_ones(keepers[j]);
    }
    const int lane = thread_index() % 32;
    int place = 0;
    if (lane == 0) place = atomic_add(count, (int)all);
    place = shuffle(place, 0);
    UNROLL for (int j = 0; j < 4; j++) {
        if (z[j] > floor) {
            shared_store(keys + place + count_ones(keepers[j] & ((1u << lane) - 1)), key_of(z[j], first + j));
            z[j] = -infinity();
        }
        place += count_ones(keepers[j]);
    }
}

// The id of the first logit of the row that is not finite, through `result` in shared memory.
DEVICE int first_not_finite(const LogitRow& row, int* result) {
    if (thread_index() == 0) *result = row.vocabulary;
    sync_block();
    for (int i = thread_index(); i < row.vocabulary; i += SELECTION_THREADS)
        if ((bits_of(row.z[i]) & 0x7f800000u) == 0x7f800000u) {
            atomic_min(result, i);
            break;
        }
    sync_block();
    return *result;
}

// `logits` has rows of `vocabulary` numbers, `stride` apart. For each row: `ids` and `values` [k], `others` [1 + TEMPERATURES]
// (−∞ if there are none), `target_logits`, and `not_finite`, the first such id or −1; if there is one, the rest is undefined.
// `k` is at most the vocabulary and `room` − 1 step; `temperatures` has TEMPERATURES numbers.
template <int TEMPERATURES>
DEVICE void select_rows(const float* logits, long stride, int vocabulary, int k, int room, const int* targets,
                        const float* temperatures, int* ids, float* values, double* others, float* target_logits,
                        int* not_finite) {
    constexpr int SUMS = 1 + TEMPERATURES;
    uint64_t* keys = (uint64_t*)shared_memory();
    float* scratch = (float*)(keys + room);
    int* count = (int*)(scratch + SELECTION_THREADS / 32 * 16);
    int* found = count + 1;
    const long index = block_index_x();
    const LogitRow row = logit_row(logits + index * stride, vocabulary);

    float factors[SUMS];
    UNROLL for (int t = 0; t < SUMS; t++) factors[t] = t == 0 ? LOG2_E : LOG2_E / temperatures[t - 1];
    ExponentialSums<SUMS> sums = no_exponentials<SUMS>();
    float floor = -infinity();
    if (k <= SELECTION_THREADS && vocabulary > SELECTION_STEP) floor = first_floor(keys, row, k);
    if (thread_index() == 0) *count = 0, *found = 0;
    sync_block();

    // Not 0, but not a number, once a logit was not finite.
    float zero = 0.f;
    float next[4];
    load_logits(next, row, 4 * thread_index());
    int candidates = 0;
    for (int first = 0; first < vocabulary;) {
        // As many steps as cannot fill the room.
        for (int steps = (room - candidates) / SELECTION_STEP; steps > 0 && first < vocabulary; steps--) {
            const int mine = first + 4 * thread_index();
            float z[4];
            UNROLL for (int j = 0; j < 4; j++) z[j] = next[j];
            first += SELECTION_STEP;
            load_logits(next, row, first + 4 * thread_index());
            if (mine + 4 <= vocabulary) zero += (z[0] * 0.f + z[1] * 0.f) + (z[2] * 0.f + z[3] * 0.f);
            else
                UNROLL for (int j = 0; j < 4; j++) zero += mine + j < vocabulary ? z[j] * 0.f : 0.f;
            if (vote(fmaxf(fmaxf(z[0], z[1]), fmaxf(z[2], z[3])) > floor)) keep_candidates(z, floor, mine, keys, count);
            add_logits(sums, factors, z);
        }
        sync_block();  // All candidates are there
        candidates = *count;
        if (candidates + SELECTION_STEP > room || first >= vocabulary) {
            int size = 64;
            while (size < candidates) size <<= 1;
            for (int i = candidates + thread_index(); i < size; i += SELECTION_THREADS) keys[i] = 0;
            sync_block();
            sort_descending(keys, size);
            for (int i = k + thread_index(); i < candidates; i += SELECTION_THREADS) {
                const float z[4] = {logit_of(shared_load(keys + i)), -infinity(), -infinity(), -infinity()};
                add_logits(sums, factors, z);
            }
            // Later ids lose ties, so from here on a candidate is above the k-th.
            if (candidates >= k) candidates = k, floor = logit_of(shared_load(keys + k - 1));
            if (thread_index() == 0) *count = candidates;
        }
        sync_block();
    }

    for (int i = thread_index(); i < candidates; i += SELECTION_THREADS) {
        ids[index * k + i] = id_of(shared_load(keys + i));
        values[index * k + i] = logit_of(shared_load(keys + i));
    }
    if (zero != 0.f) *found = 1;
    float top[1] = {sums.top};
    block_max<SELECTION_THREADS>(top, scratch);
    raise(sums, factors, top[0]);
    block_sum<SELECTION_THREADS>(sums.at, scratch);
    const int bad = *found ? first_not_finite(row, count) : -1;
    if (thread_index() == 0) {
        UNROLL for (int t = 0; t < SUMS; t++) {
            const double temperature = t == 0 ? 1.0 : (double)temperatures[t - 1];
            others[index * SUMS + t] = sums.at[t] > 0.f ? top[0] / temperature + log((double)sums.at[t]) : -(double)infinity();
        }
        target_logits[index] = row.z[targets[index]];
        not_finite[index] = bad;
    }
}
