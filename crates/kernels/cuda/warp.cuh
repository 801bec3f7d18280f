// The instructions that the kernels are made of: PTX on the device, the emulator of `tests/emulation` on the host.
// `tests/emulation/emulator.hpp` lists the functions; they have the same names and meanings in both.
#pragma once
#include <stdint.h>

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll")

DEVICE int thread_index() { return (int)threadIdx.x; }
DEVICE int block_threads() { return (int)blockDim.x; }
DEVICE int block_index_x() { return (int)blockIdx.x; }
DEVICE int block_index_y() { return (int)blockIdx.y; }
DEVICE int grid_blocks_x() { return (int)gridDim.x; }

DEVICE unsigned char* shared_memory() {
    extern __shared__ __align__(128) unsigned char shared_bytes[];
    return shared_bytes;
}

DEVICE uint32_t shared_address(const void* pointer) { return (uint32_t)__cvta_generic_to_shared(pointer); }

// The same number, of which the compiler does not know that it is. What depends on it is computed where it stands and not
// before a loop, where it would hold registers.
DEVICE int opaque(int number) {
    asm volatile("" : "+r"(number));
    return number;
}

// Numbers

struct bf16 { uint16_t bits; };
struct f16 { uint16_t bits; };

DEVICE uint32_t bits_of(float value) { return __float_as_uint(value); }
DEVICE float float_of(uint32_t bits) { return __uint_as_float(bits); }
DEVICE float infinity() { return float_of(0x7f800000); }

DEVICE float to_float(bf16 x) { return float_of((uint32_t)x.bits << 16); }
DEVICE float to_float(f16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}

// To nearest, ties to even.
template <class T> DEVICE T round_to(float value);
template <> DEVICE bf16 round_to<bf16>(float value) {
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(value));
    return y;
}
template <> DEVICE f16 round_to<f16>(float value) {
    f16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(value));
    return y;
}

template <class T> DEVICE uint32_t pack(float low, float high);
template <> DEVICE uint32_t pack<bf16>(float low, float high) {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
template <> DEVICE uint32_t pack<f16>(float low, float high) {
    uint32_t both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

template <class T> DEVICE void unpack(uint32_t both, float& low, float& high) {
    low = to_float(T{(uint16_t)both}), high = to_float(T{(uint16_t)(both >> 16)});
}

// Relative error 2^-22; what is below 2^-126 becomes 0.
DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE float reciprocal_root(float x) { return rsqrtf(x); }

DEVICE int count_ones(uint32_t mask) { return __popc(mask); }

// Memory

template <class V> DEVICE V load(const void* address) { return *(const V*)address; }
template <class V> DEVICE void store(void* address, V value) { *(V*)address = value; }
template <class T> DEVICE T shared_load(const T* address) { return *address; }
template <class T> DEVICE void shared_store(T* address, T value) { *address = value; }

DEVICE int atomic_add(int* target, int value) { return atomicAdd(target, value); }
DEVICE int atomic_min(int* target, int value) { return atomicMin(target, value); }

// Copies 16 bytes from global to shared memory, or zeros where not valid; it is there after `copy_wait` and a barrier.
DEVICE void copy_async16(void* target, const void* source, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(target)), "l"(source), "r"(valid ? 16 : 0)
                 : "memory");
}
// The same with 4 bytes.
DEVICE void copy_async4(void* target, const void* source, bool valid) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(target)), "l"(source), "r"(valid ? 4 : 0)
                 : "memory");
}
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most so many of this thread's groups are not there.
template <int PENDING> DEVICE void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }

// Meetings of a block and of a warp

DEVICE void sync_block() { __syncthreads(); }
DEVICE void sync_warp() { __syncwarp(); }
template <class T> DEVICE T shuffle(T value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }
template <class T> DEVICE T shuffle_xor(T value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
DEVICE uint32_t vote(bool yes) { return __ballot_sync(0xffffffffu, yes); }

// Matrices

DEVICE void ldmatrix(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
DEVICE void ldmatrix_transposed(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

template <class T> DEVICE void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <> DEVICE void mma<bf16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> DEVICE void mma<f16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#else
#include "instructions.hpp"
#endif

// In a tree whose order is the same in every lane, so that all lanes get the same bits.
DEVICE float warp_sum(float value) {
    UNROLL for (int mask = 16; mask > 0; mask >>= 1) value += shuffle_xor(value, mask);
    return value;
}

DEVICE float warp_max(float value) {
    UNROLL for (int mask = 16; mask > 0; mask >>= 1) value = fmaxf(value, shuffle_xor(value, mask));
    return value;
}
