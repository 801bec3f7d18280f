// A thread block of a GPU on the host, for kernels written with the functions of `warp.cuh`.
//
// The lanes of a block are fibers. Each runs alone until it meets others: at an instruction of its warp (ldmatrix, mma, a
// shuffle, a vote) or at a barrier of its block. What a GPU leaves open is chosen by a seeded generator, so that a kernel that
// relies on luck gives wrong numbers here:
//   - the order of blocks, of the warps between barriers (one may be far ahead) and of the lanes of a warp at every meeting;
//   - when a cp.async lands: most when they are waited for, some at once; both are allowed.
// Shared memory and outputs (`check.hpp`) start as NaN. Pages without access follow them, so that an access beyond the end
// ends the program with a message. So do races on shared memory, and lanes that wait at different places (instead of for ever).
//
// # For a test
//
//   emulator::launch({x, y}, threads, shared_bytes, [&] { kernel<...>(arguments); });   // all blocks of a grid
//   emulator::statistics().bank_conflicts    // since the last `emulator::statistics() = {}`: extra passes of shared memory
//                                            // by ldmatrix, cp.async, shared_load and shared_store
//   emulator::set_seed(seed);                // of the orders; launches continue one sequence of random numbers
//   emulator::block().find_races = false;    // a race on shared memory (`races.hpp`) no longer ends the program
//
// `check.hpp` has what tests share: inputs, guarded arrays, errors, the table. A program ends with `return check::finish();`.
//
// # For a kernel (`warp.cuh`; the same names on the device)
//
//   DEVICE                                          before every function;  UNROLL before a loop
//   thread_index() block_threads() block_index_x() block_index_y() grid_blocks_x()     shared_memory(): bytes, 16-aligned here
//   bf16, f16                                       16-bit numbers (`.bits`); the functions take them as T below
//   to_float(x)  round_to<T>(float)  pack<T>(low, high) -> uint32_t  unpack<T>(uint32_t, low, high)
//   bits_of(float)  float_of(uint32_t)  infinity()  exp2_fast(x)  reciprocal_root(x)      expf, logf, fmaxf, fabsf: as in C
//   ldmatrix(r, row)  ldmatrix_transposed(r, row)   four 8x8 matrices; lane l gives the address of row l % 8 of matrix l / 8
//   mma<T>(c, a, b0, b1)                            c[16x8] += a[16x16] b[16x8], f32 sums
//   copy_async16(shared, global, valid)  copy_async4  copy_commit()  copy_wait<pending>()    zeros instead where not valid
//   opaque(int)                                     the same number; see `warp.cuh`
//   sync_block()  sync_warp()
//   shuffle(v, lane)  shuffle_xor(v, mask)          of 4 or 8 bytes;  vote(bool) -> mask;  count_ones(mask)
//   warp_sum(v)  warp_max(v)                        the same bits in every lane
//   atomic_add(int*, v)  atomic_min(int*, v)        old value; integers only
//   load<V>(address)  store(address, V)             V: uint2, uint4, float2, float4, int2; alignment is checked here
//   shared_load(T*)  shared_store(T*, T)            of shared memory, 2 to 16 bytes: counted for bank conflicts
#pragma once
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "races.hpp"
#include "stacks.hpp"

namespace emulator {

constexpr int WARP = 32;
constexpr size_t STACK_BYTES = 128 << 10;
constexpr size_t PAGE = 4096;
constexpr size_t SHARED_BYTES = 256 << 10;

// A place in a kernel's source.
struct Site {
    const char* file;
    int line;
    static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

struct Grid {
    int x = 1, y = 1;
};

struct Statistics {
    long bank_conflicts = 0;  // passes of shared memory beyond the least number
    long meetings = 0;        // instructions of whole warps, and barriers
};

inline Statistics& statistics() {
    static Statistics all;
    return all;
}

// xorshift64*
class Order {
  public:
    void seed(uint64_t value) { state_ = value * 0x9e3779b97f4a7c15ull + 0x1234567; }
    uint32_t next() {
        state_ ^= state_ >> 12, state_ ^= state_ << 25, state_ ^= state_ >> 27;
        return (uint32_t)((state_ * 0x2545f4914f6cdd1dull) >> 32);
    }
    uint32_t below(uint32_t bound) { return (uint32_t)(((uint64_t)next() * bound) >> 32); }

  private:
    uint64_t state_ = 0x9e3779b97f4a7c15ull;
};

// SEED in the environment chooses other orders.
inline Order& order() {
    static Order one = [] {
        Order order;
        const char* seed = getenv("SEED");
        order.seed(seed ? strtoull(seed, nullptr, 10) : 1);
        return order;
    }();
    return one;
}

inline void set_seed(uint64_t seed) { order().seed(seed); }

// What a warp does once all of its lanes have met: the arguments of each lane, on its own stack.
using Perform = void (*)(void* const (&arguments)[WARP]);

enum Use { READ, WRITE, COPY };

// One access of a lane to shared memory.
struct Access {
    uint32_t offset, bytes;
    int line;  // of the instruction
};

struct Copy {
    void* target;
    size_t bytes;
    bool landed;
    unsigned char numbers[16];
};

struct Lane {
    void* stack_pointer = nullptr;
    Perform perform = nullptr;
    const char* name = "";
    Site site = {};
    std::vector<Access> accesses;  // since its last meeting
    std::vector<Copy> copies;      // issued, not landed
    std::vector<size_t> groups;    // the number of copies in each committed group, oldest first
    size_t uncommitted = 0;
};

struct Warp {
    uint32_t ready = 0, meeting = 0, barrier = 0;  // masks of lanes; all others have ended
    void* arguments[WARP] = {};
};

// Extra passes that one access of the lanes of a warp costs: banks are 4 bytes wide, one pass serves 128 bytes.
inline long conflicts_of(const Access* accesses, int count) {
    if (count == 0) return 0;
    const int words = std::max(1, (int)accesses[0].bytes / 4), lanes = WARP / words;
    long extra = 0;
    for (int first = 0; first < count; first += lanes) {
        uint32_t seen[32][WARP];
        int depth[32] = {}, worst = 1;
        for (int i = first; i < std::min(first + lanes, count); i++)
            for (int w = 0; w < words; w++) {
                const uint32_t word = accesses[i].offset / 4 + w, bank = word % 32;
                if (std::find(seen[bank], seen[bank] + depth[bank], word) != seen[bank] + depth[bank]) continue;
                seen[bank][depth[bank]++] = word;
                worst = std::max(worst, depth[bank]);
            }
        extra += worst - 1;
    }
    return extra;
}

class Block {
  public:
    int thread = 0, threads = 0, x = 0, y = 0, grid_x = 1;
    unsigned char* shared = nullptr;
    size_t shared_bytes = 0;
    std::vector<Lane> lanes;
    bool find_races = true;

    Block() {
        stacks_ = map(MOST_THREADS * STACK_BYTES);
        shared_end_ = map(SHARED_BYTES + 2 * PAGE) + PAGE + SHARED_BYTES;
        mprotect(shared_end_, PAGE, PROT_NONE);
        mprotect(shared_end_ - SHARED_BYTES - PAGE, PAGE, PROT_NONE);
        // Orders of 32 lanes to choose from at every meeting.
        Order shuffle;
        for (auto& permutation : permutations_) {
            for (int i = 0; i < WARP; i++) permutation[i] = (uint8_t)i;
            for (int i = WARP - 1; i > 0; i--) std::swap(permutation[i], permutation[shuffle.below(i + 1)]);
        }
        static unsigned char signal_stack[64 << 10];
        stack_t alternative = {};
        alternative.ss_sp = signal_stack, alternative.ss_size = sizeof signal_stack;
        sigaltstack(&alternative, nullptr);
        struct sigaction action = {};
        action.sa_handler = [](int) { block().fail("an access outside of the memory that it has"); };
        action.sa_flags = SA_ONSTACK;
        sigaction(SIGSEGV, &action, nullptr);
        sigaction(SIGBUS, &action, nullptr);
    }

    static Block& block() {
        static Block one;
        return one;
    }

    void run(int count, size_t bytes, const std::function<void()>& body) {
        if (count % WARP || count > MOST_THREADS || bytes > SHARED_BYTES) fail("a launch with impossible sizes");
        threads = count, shared_bytes = (bytes + 15) / 16 * 16, body_ = &body;
        shared = shared_end_ - shared_bytes;
        memset(shared, 0xff, shared_bytes);  // NaN
        if ((int)lanes.size() < threads) lanes.resize(threads);
        warps_.assign(threads / WARP, Warp{~0u});
        for (int i = 0; i < threads; i++) begin(i);
        if (find_races) races_.begin(shared_bytes, threads / WARP);
        uint32_t at = 0, turns = 0;
        for (;;) {
            if (turns == 0 || !warps_[at].ready) {
                const uint32_t first = order().below(warps_.size());
                uint32_t tried = 0;
                while (tried < warps_.size() && !warps_[at = (first + tried) % warps_.size()].ready) tried++;
                if (tried == warps_.size()) {
                    if (!release_barrier()) return;
                    continue;
                }
                turns = 1u << order().below(11);
            }
            turns--;
            advance(at);
        }
    }

    // Called by a lane: waits until its whole warp is here.
    void meet(Perform perform, const char* name, Site site, void* arguments) {
        Warp& warp = warps_[thread / WARP];
        warp.meeting |= 1u << thread % WARP, warp.arguments[thread % WARP] = arguments;
        park(perform, name, site);
    }

    // Called by a lane: waits until the whole block is here.
    void barrier(Site site) {
        warps_[thread / WARP].barrier |= 1u << thread % WARP;
        park(nullptr, "sync_block", site);
    }

    // Called by a lane: notes its access to shared memory.
    void access(const void* address, size_t bytes, Site site, Use use) {
        const uint32_t offset = offset_of(address, bytes);
        lanes[thread].accesses.push_back({offset, (uint32_t)bytes, site.line});
        if (!find_races) return;
        const std::string race = use == READ ? races_.read(thread, offset, bytes, site.line, false)
                                             : races_.write(thread, offset, bytes, site.line, use == COPY);
        if (!race.empty()) fail(race.c_str());
    }

    // What a warp reads together, 16 bytes each.
    void read_rows(const Access (&rows)[WARP]) {
        statistics().bank_conflicts += conflicts_of(rows, WARP);
        for (int i = 0; find_races && i < WARP; i++) {
            const std::string race = races_.read(thread, rows[i].offset, rows[i].bytes, rows[i].line, true);
            if (!race.empty()) fail(race.c_str());
        }
    }

    // Called by a lane: a copy of its own is there.
    void land(const Copy& copy) {
        if (!copy.landed) memcpy(copy.target, copy.numbers, copy.bytes);
        if (find_races) races_.land(thread, offset_of(copy.target, copy.bytes), (uint32_t)copy.bytes);
    }

    // Called once for a whole warp.
    void warp_met() {
        if (find_races) races_.warp_met(thread / WARP);
    }

    uint32_t offset_of(const void* address, size_t bytes) {
        const size_t offset = (const unsigned char*)address - shared;
        if (offset + bytes > shared_bytes) fail("an access outside of shared memory");
        if (offset % bytes) fail("a misaligned access to shared memory");
        return (uint32_t)offset;
    }

    [[noreturn]] void fail(const char* what) {
        fprintf(stderr, "emulator: block (%d, %d), thread %d: %s\n", x, y, thread, what);
        _exit(70);
    }

  private:
    static constexpr int MOST_THREADS = 1024, PERMUTATIONS = 512;
    std::vector<Warp> warps_;
    const std::function<void()>* body_ = nullptr;
    void* scheduler_ = nullptr;
    unsigned char *stacks_, *shared_end_;
    uint8_t permutations_[PERMUTATIONS][WARP];
    std::vector<Access> together_;
    Races races_;

    static unsigned char* map(size_t bytes) {
        void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) abort();
        return (unsigned char*)memory;
    }

    void begin(int index) {
        Lane& lane = lanes[index];
        lane.accesses.clear(), lane.copies.clear(), lane.groups.clear(), lane.uncommitted = 0;
        // Six registers, then where the first switch returns to; the stack is aligned as after a call.
        void** top = (void**)(stacks_ + (index + 1) * STACK_BYTES) - 8;
        top[6] = (void*)&Block::main_of_lane;
        lane.stack_pointer = top;
    }

    static void main_of_lane() {
        Block& here = block();
        (*here.body_)();
        here.park(nullptr, "the end", {});
        abort();
    }

    void park(Perform perform, const char* name, Site site) {
        Lane& lane = lanes[thread];
        lane.perform = perform, lane.name = name, lane.site = site;
        warps_[thread / WARP].ready &= ~(1u << thread % WARP);
        emulator_switch(&lane.stack_pointer, scheduler_);
    }

    // Runs all lanes of a warp to where they wait, in random order, and performs what they have met for.
    void advance(int index) {
        Warp& warp = warps_[index];
        for (int i : permutations_[order().next() % PERMUTATIONS])
            if (warp.ready >> i & 1) {
                thread = index * WARP + i;
                emulator_switch(&scheduler_, lanes[thread].stack_pointer);
            }
        count_conflicts(index);
        if (!warp.meeting) return;
        const Lane& first = lanes[index * WARP];
        for (int i = 0; i < WARP; i++) {
            const Lane& lane = lanes[index * WARP + i];
            if (!(warp.meeting >> i & 1) || lane.perform != first.perform || lane.site.line != first.site.line) diverge();
        }
        statistics().meetings++;
        first.perform(warp.arguments);
        warp.meeting = 0, warp.ready = ~0u;
    }

    // Accesses of lanes by the same instruction are one access of the warp. Where lanes are at different ones (some skip a
    // branch), those with the most before them go first.
    void count_conflicts(int index) {
        Lane* of = &lanes[index * WARP];
        size_t done[WARP] = {};
        for (;;) {
            int next = 0;
            const auto left = [&](int i) { return of[i].accesses.size() - done[i]; };
            for (int i = 1; i < WARP; i++)
                if (left(i) > left(next)) next = i;
            if (!left(next)) break;
            const Access by = of[next].accesses[done[next]];
            together_.clear();
            for (int i = 0; i < WARP; i++)
                if (left(i) && of[i].accesses[done[i]].line == by.line && of[i].accesses[done[i]].bytes == by.bytes)
                    together_.push_back(of[i].accesses[done[i]++]);
            statistics().bank_conflicts += conflicts_of(together_.data(), (int)together_.size());
        }
        for (int i = 0; i < WARP; i++) of[i].accesses.clear();
    }

    // Whether there was one. Without it, all lanes have ended.
    bool release_barrier() {
        bool any = false, all = true;
        for (const Warp& warp : warps_) any |= warp.barrier != 0, all &= warp.barrier == ~0u;
        if (!any) return false;
        for (int i = 0; i < threads; i++) all &= lanes[i].site.line == lanes[0].site.line;
        if (!all) diverge();
        statistics().meetings++;
        races_.block_met();
        for (Warp& warp : warps_) warp.barrier = 0, warp.ready = ~0u;
        return true;
    }

    [[noreturn]] void diverge() {
        fprintf(stderr, "emulator: block (%d, %d): lanes that should meet wait at different places:\n", x, y);
        for (int first = 0, last; first < threads; first = last) {
            const Lane& lane = lanes[first];
            const auto same = [&](const Lane& other) { return other.name == lane.name && other.site.line == lane.site.line; };
            for (last = first + 1; last < threads && same(lanes[last]);) last++;
            fprintf(stderr, "  threads %d to %d: %s", first, last - 1, lane.name);
            fprintf(stderr, lane.site.file ? " (%s:%d)\n" : "\n", lane.site.file, lane.site.line);
        }
        _exit(70);
    }
};

inline Block& block() { return Block::block(); }

// Runs every block of a grid, in random order.
inline void launch(Grid grid, int threads, size_t shared_bytes, const std::function<void()>& body) {
    std::vector<int> blocks(grid.x * grid.y);
    for (size_t i = 0; i < blocks.size(); i++) blocks[i] = (int)i;
    for (size_t i = blocks.size(); i > 1; i--) std::swap(blocks[i - 1], blocks[order().below((uint32_t)i)]);
    Block& one = block();
    one.grid_x = grid.x;
    for (int index : blocks) {
        one.x = index % grid.x, one.y = index / grid.x;
        one.run(threads, shared_bytes, body);
    }
}

}  // namespace emulator
