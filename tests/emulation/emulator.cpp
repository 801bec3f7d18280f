// The emulator itself: what it must show, it shows.
#include <sys/wait.h>

#include <set>

#include "check.hpp"

// Whether a program of its own ends with the emulator's exit code for a kernel that cannot go on.
template <class F> bool refuses(F body) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stderr);
        body();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 70;
}

// Every thread leaves a number to its right neighbour, with or without a barrier between.
static bool neighbours_are_right(bool barrier) {
    bool right = true;
    emulator::launch({8, 1}, 128, 128 * 4, [&] {
        int* numbers = (int*)shared_memory();
        numbers[thread_index()] = thread_index();
        if (barrier) sync_block();
        right &= numbers[(thread_index() + 1) % 128] == (thread_index() + 1) % 128;
    });
    return right;
}

// A warp that waits, or not, for what it copied.
static bool copies_are_right(bool wait) {
    bool right = true;
    check::Array<uint32_t> source(128);
    for (int i = 0; i < 128; i++) source[i] = (uint32_t)i;
    emulator::launch({8, 1}, 32, 512, [&] {
        uint32_t* target = (uint32_t*)shared_memory();
        copy_async16(target + 4 * thread_index(), source.data() + 4 * thread_index(), thread_index() != 31);
        copy_commit();
        if (wait) copy_wait<0>();
        sync_warp();
        const int at = (4 * thread_index() + 4) % 128;
        right &= target[at] == (at < 124 ? source[at] : 0);
    });
    return right;
}

// Whether a race is found between threads that write, meet and read, whatever comes first.
static bool is_race(int threads, void (*meet)()) {
    return refuses([=] {
        emulator::launch({1, 1}, threads, threads * 4, [=] {
            int* numbers = (int*)shared_memory();
            shared_store(numbers + thread_index(), 1);
            meet();
            shared_load(numbers + (thread_index() + 1) % threads);
        });
    });
}

static bool is_race_with_copies(void (*wait)()) {
    static check::Array<uint4> source(64);
    return refuses([=] {
        emulator::launch({1, 1}, 64, 64 * 16, [=] {
            uint4* target = (uint4*)shared_memory();
            copy_async16(target + thread_index(), &source[thread_index()], true);
            copy_commit();
            wait();
            shared_load(target + (thread_index() + 32) % 64);
            sync_block();
            shared_store(target + thread_index(), uint4{});
        });
    });
}

static long conflicts(int stride) {
    emulator::statistics() = {};
    emulator::launch({1, 1}, 32, 32 * 32 * 4, [&] { shared_store((float*)shared_memory() + stride * thread_index(), 1.f); });
    return emulator::statistics().bank_conflicts;
}

template <class T> static double product_error() {
    check::Random random(3);
    check::Array<T> a(16 * 16), b(8 * 16);  // b has a row for each column of the product
    random.fill(a), random.fill(b);
    check::Error error;
    emulator::launch({1, 1}, 32, 24 * 32, [&] {
        T* shared = (T*)shared_memory();
        const int lane = thread_index();
        for (int i = lane; i < 256; i += 32) shared[i] = a[i];
        for (int i = lane; i < 128; i += 32) shared[256 + i] = b[i];
        sync_warp();
        uint32_t left[4], right[4];
        ldmatrix(left, shared + lane % 16 * 16 + lane / 16 * 8);
        ldmatrix(right, shared + 256 + lane % 8 * 16 + lane / 8 % 2 * 8);
        float c[4] = {1.f, 1.f, 1.f, 1.f};
        mma<T>(c, left, right[0], right[1]);
        for (int e = 0; e < 4; e++) {
            const int row = lane / 4 + 8 * (e / 2), column = 2 * (lane % 4) + e % 2;
            double expected = 1;
            for (int k = 0; k < 16; k++) expected += check::number(a[row * 16 + k]) * check::number(b[column * 16 + k]);
            error.add(c[e], expected);
        }
    });
    return error.relative();
}

template <class T> static bool every_number_survives() {
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        const float value = to_float(T{(uint16_t)bits});
        if (std::isnan(value) ? !std::isnan(to_float(round_to<T>(value))) : round_to<T>(value).bits != bits) return false;
    }
    return true;
}

int main() {
    const auto show = [](const char* what, bool good) { check::Row("emulator", what).exact(good); };
    show("a barrier is enough", neighbours_are_right(true));
    show("a missing barrier shows", !neighbours_are_right(false));
    show("a wait is enough", copies_are_right(true));
    show("a missing wait shows", !copies_are_right(false));
    show("races of a block are found", is_race(64, [] { sync_warp(); }) && !is_race(64, [] { sync_block(); }));
    show("races of a warp are found", is_race(32, [] { vote(true); }) && !is_race(32, [] { sync_warp(); }));
    show("races with copies are found", is_race_with_copies([] { sync_block(); }) && is_race_with_copies([] { copy_wait<0>(); }) &&
             !is_race_with_copies([] { copy_wait<0>(), sync_block(); }));
    show("bank conflicts are counted", conflicts(1) == 0 && conflicts(2) == 1 && conflicts(8) == 7 && conflicts(32) == 31);
    show("lanes that do not meet are named", refuses([] {
             emulator::launch({1, 1}, 64, 0, [] {
                 if (thread_index() != 5) sync_block();
             });
         }));
    show("different meetings are named", refuses([] {
             emulator::launch({1, 1}, 32, 0, [] {
                 if (thread_index() < 9) vote(true);
                 else sync_warp();
             });
         }));
    show("the end of shared memory is guarded", refuses([] {
             emulator::launch({1, 1}, 32, 64, [] { shared_memory()[64] = 1; });
         }));
    show("the end of an array is guarded", refuses([] {
             check::Array<float> array(32);
             emulator::launch({1, 1}, 64, 0, [&] { array[thread_index()] = 1; });
         }));
    show("lanes run in many orders", [] {
        std::set<std::vector<int>> orders;
        std::vector<int> visited;
        emulator::launch({20, 1}, 64, 0, [&] {
            visited.push_back(thread_index());
            sync_block();
            if (visited.size() == 64) orders.insert(visited), visited.clear();
        });
        return orders.size() == 20;
    }());
    show("bf16 and f16 are as they should be", every_number_survives<bf16>() && every_number_survives<f16>() &&
             round_to<f16>(65520.f).bits == 0x7c00 && round_to<f16>(1.f + 0x1p-11f).bits == 0x3c00 &&
             round_to<bf16>(1.f + 3 * 0x1p-8f).bits == 0x3f82 && round_to<f16>(0x1p-25f).bits == 0);
    check::Row("emulator", "ldmatrix and mma, bf16").error(product_error<bf16>(), 1e-6);
    check::Row("emulator", "ldmatrix and mma, f16").error(product_error<f16>(), 1e-6);
    return check::finish();
}
