// What the functions of `warp.cuh` do on the host, in the emulated block of `emulator.hpp`.
#pragma once
#include <cmath>

#include "emulator.hpp"

#define DEVICE static inline
#define UNROLL

struct alignas(8) int2 { int x, y; };
struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };

DEVICE int thread_index() { return emulator::block().thread; }
DEVICE int block_threads() { return emulator::block().threads; }
DEVICE int block_index_x() { return emulator::block().x; }
DEVICE int block_index_y() { return emulator::block().y; }
DEVICE int grid_blocks_x() { return emulator::block().grid_x; }
DEVICE unsigned char* shared_memory() { return emulator::block().shared; }
DEVICE int opaque(int number) { return number; }

// Numbers

struct bf16 { uint16_t bits; };
struct f16 { uint16_t bits; };

DEVICE uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

DEVICE float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

DEVICE float infinity() { return float_of(0x7f800000); }

DEVICE float to_float(bf16 x) { return float_of((uint32_t)x.bits << 16); }

DEVICE float to_float(f16 x) {
    const uint32_t sign = (uint32_t)(x.bits & 0x8000) << 16, exponent = x.bits >> 10 & 31, fraction = x.bits & 0x3ff;
    if (exponent == 31) return float_of(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) return (sign ? -1.f : 1.f) * (float)fraction * 0x1p-24f;
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

// To nearest, ties to even.
template <class T> DEVICE T round_to(float value);

template <> inline bf16 round_to<bf16>(float value) {
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return {0x7fff};
    return {(uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <> inline f16 round_to<f16>(float value) {
    const uint32_t bits = bits_of(value), size = bits & 0x7fffffff;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (size > 0x7f800000) return {0x7fff};
    if (size >= 0x477ff000) return {(uint16_t)(sign | 0x7c00)};  // at least 65,520
    if (size < 0x38800000) return {(uint16_t)(sign | (uint16_t)std::nearbyint(float_of(size) * 0x1p24f))};  // subnormal
    return {(uint16_t)(sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13)};
}

template <class T> DEVICE uint32_t pack(float low, float high) {
    return round_to<T>(low).bits | (uint32_t)round_to<T>(high).bits << 16;
}

template <class T> DEVICE void unpack(uint32_t both, float& low, float& high) {
    low = to_float(T{(uint16_t)both}), high = to_float(T{(uint16_t)(both >> 16)});
}

DEVICE float exp2_fast(float x) {
    const float y = exp2f(x);
    return y < 0x1p-126f ? 0.f : y;
}

DEVICE float reciprocal_root(float x) { return 1.f / sqrtf(x); }

DEVICE int count_ones(uint32_t mask) { return __builtin_popcount(mask); }

// Memory

template <class V> DEVICE V load(const void* address) {
    if ((uintptr_t)address % sizeof(V)) emulator::block().fail("a misaligned load");
    V value;
    memcpy(&value, address, sizeof(V));
    return value;
}

template <class V> DEVICE void store(void* address, V value) {
    if ((uintptr_t)address % sizeof(V)) emulator::block().fail("a misaligned store");
    memcpy(address, &value, sizeof(V));
}

template <class T> DEVICE T shared_load(const T* address, emulator::Site site = emulator::Site::here()) {
    emulator::block().access(address, sizeof(T), site, emulator::READ);
    return *address;
}

template <class T> DEVICE void shared_store(T* address, T value, emulator::Site site = emulator::Site::here()) {
    emulator::block().access(address, sizeof(T), site, emulator::WRITE);
    *address = value;
}

DEVICE int atomic_add(int* target, int value) {
    const int old = *target;
    *target += value;
    return old;
}

DEVICE int atomic_min(int* target, int value) {
    const int old = *target;
    *target = std::min(old, value);
    return old;
}

// One copy in eight lands at once. All others land when they are waited for.
DEVICE void copy_async(void* target, const void* source, size_t bytes, bool valid, emulator::Site site) {
    emulator::Block& block = emulator::block();
    emulator::Lane& lane = block.lanes[block.thread];
    block.access(target, bytes, site, emulator::COPY);
    if (valid && (uintptr_t)source % bytes) block.fail("a misaligned source of cp.async");
    emulator::Copy copy = {target, bytes, emulator::order().below(8) == 0, {}};
    if (valid) memcpy(copy.numbers, source, bytes);
    if (copy.landed) memcpy(target, copy.numbers, bytes);
    lane.copies.push_back(copy);
    lane.uncommitted++;
}

DEVICE void copy_async16(void* target, const void* source, bool valid, emulator::Site site = emulator::Site::here()) {
    copy_async(target, source, 16, valid, site);
}

DEVICE void copy_async4(void* target, const void* source, bool valid, emulator::Site site = emulator::Site::here()) {
    copy_async(target, source, 4, valid, site);
}

DEVICE void copy_commit() {
    emulator::Block& block = emulator::block();
    emulator::Lane& lane = block.lanes[block.thread];
    lane.groups.push_back(lane.uncommitted);
    lane.uncommitted = 0;
}

template <int PENDING> DEVICE void copy_wait() {
    emulator::Block& block = emulator::block();
    emulator::Lane& lane = block.lanes[block.thread];
    if (lane.groups.size() <= PENDING) return;
    size_t landing = 0;
    for (size_t i = 0; i < lane.groups.size() - PENDING; i++) landing += lane.groups[i];
    for (size_t i = 0; i < landing; i++) block.land(lane.copies[i]);
    lane.copies.erase(lane.copies.begin(), lane.copies.begin() + (long)landing);
    lane.groups.erase(lane.groups.begin(), lane.groups.end() - PENDING);
}

// Meetings

DEVICE void sync_block(emulator::Site site = emulator::Site::here()) { emulator::block().barrier(site); }

DEVICE void sync_warp(emulator::Site site = emulator::Site::here()) {
    emulator::block().meet([](void* const (&)[32]) { emulator::block().warp_met(); }, "sync_warp", site, nullptr);
}

template <class T> struct Exchange {
    T value, result;
    int of;
};

template <class T> DEVICE T exchange(T value, int of, const char* name, emulator::Site site) {
    Exchange<T> arguments = {value, value, of};
    emulator::block().meet(
        [](void* const (&lanes)[32]) {
            for (void* lane : lanes) {
                Exchange<T>& mine = *(Exchange<T>*)lane;
                mine.result = ((Exchange<T>*)lanes[mine.of & 31])->value;
            }
        },
        name, site, &arguments);
    return arguments.result;
}

template <class T> DEVICE T shuffle(T value, int lane, emulator::Site site = emulator::Site::here()) {
    return exchange(value, lane, "shuffle", site);
}

template <class T> DEVICE T shuffle_xor(T value, int mask, emulator::Site site = emulator::Site::here()) {
    return exchange(value, thread_index() % 32 ^ mask, "shuffle_xor", site);
}

DEVICE uint32_t vote(bool yes, emulator::Site site = emulator::Site::here()) {
    struct Vote {
        bool yes;
        uint32_t all;
    } arguments = {yes, 0};
    emulator::block().meet(
        [](void* const (&lanes)[32]) {
            uint32_t all = 0;
            for (int i = 0; i < 32; i++) all |= (uint32_t)((Vote*)lanes[i])->yes << i;
            for (void* lane : lanes) ((Vote*)lane)->all = all;
        },
        "vote", site, &arguments);
    return arguments.all;
}

// Matrices

// Arguments and result of ldmatrix
struct Rows {
    const void* row;
    int line;
    uint32_t result[4];
};

template <bool TRANSPOSED> void load_matrices(void* const (&lanes)[32]) {
    emulator::Block& block = emulator::block();
    emulator::Access rows[32];
    for (int i = 0; i < 32; i++) rows[i] = {block.offset_of(((Rows*)lanes[i])->row, 16), 16, ((Rows*)lanes[i])->line};
    block.read_rows(rows);
    for (int i = 0; i < 32; i++)
        for (int m = 0; m < 4; m++) {
            uint16_t pair[2];
            for (int h = 0; h < 2; h++) {
                int row = i / 4, column = 2 * (i % 4) + h;
                if (TRANSPOSED) std::swap(row, column);
                memcpy(&pair[h], block.shared + rows[8 * m + row].offset + 2 * column, 2);
            }
            ((Rows*)lanes[i])->result[m] = pair[0] | (uint32_t)pair[1] << 16;
        }
}

DEVICE void ldmatrix(uint32_t (&r)[4], const void* row, emulator::Site site = emulator::Site::here()) {
    Rows arguments = {row, site.line, {}};
    emulator::block().meet(load_matrices<false>, "ldmatrix", site, &arguments);
    memcpy(r, arguments.result, 16);
}

DEVICE void ldmatrix_transposed(uint32_t (&r)[4], const void* row, emulator::Site site = emulator::Site::here()) {
    Rows arguments = {row, site.line, {}};
    emulator::block().meet(load_matrices<true>, "ldmatrix_transposed", site, &arguments);
    memcpy(r, arguments.result, 16);
}

struct Product {
    float* c;
    const uint32_t* a;
    uint32_t b[2];
};

template <class T> void multiply(void* const (&lanes)[32]) {
    float a[16][16], b[16][8], c[16][8];
    for (int i = 0; i < 32; i++) {
        const Product& lane = *(Product*)lanes[i];
        const int row = i / 4, column = 2 * (i % 4);
        for (int e = 0; e < 4; e++) {
            c[row + 8 * (e / 2)][column + e % 2] = lane.c[e];
            float* to = &a[row + 8 * (e % 2)][column + 8 * (e / 2)];
            unpack<T>(lane.a[e], to[0], to[1]);
        }
        for (int e = 0; e < 2; e++) unpack<T>(lane.b[e], b[column + 8 * e][row], b[column + 1 + 8 * e][row]);
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) c[i][j] += a[i][k] * b[k][j];
    for (int i = 0; i < 32; i++)
        for (int e = 0; e < 4; e++) ((Product*)lanes[i])->c[e] = c[i / 4 + 8 * (e / 2)][2 * (i % 4) + e % 2];
}

template <class T>
DEVICE void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, emulator::Site site = emulator::Site::here()) {
    Product arguments = {c, a, {b0, b1}};
    emulator::block().meet(multiply<T>, "mma", site, &arguments);
}
