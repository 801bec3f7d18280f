// Elements of rows, eight or four at a time: widened to f32 when they are loaded, rounded once when they are stored.
//
// Eight elements of bf16 or f16 are one access of 16 bytes. Addresses are multiples of the bytes that are accessed.
#pragma once
#include "warp.cuh"

template <class T> DEVICE void load_four(float (&x)[4], const T* from) {
    const uint2 words = load<uint2>(from);
    unpack<T>(words.x, x[0], x[1]), unpack<T>(words.y, x[2], x[3]);
}

DEVICE void load_four(float (&x)[4], const float* from) {
    const float4 four = load<float4>(from);
    x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
}

template <class T> DEVICE void store_four(T* to, const float (&x)[4]) {
    uint2 words;
    words.x = pack<T>(x[0], x[1]), words.y = pack<T>(x[2], x[3]);
    store(to, words);
}

DEVICE void store_four(float* to, const float (&x)[4]) {
    float4 four;
    four.x = x[0], four.y = x[1], four.z = x[2], four.w = x[3];
    store(to, four);
}

template <class T> DEVICE void load_eight(float (&x)[8], const T* from) {
    const uint4 words = load<uint4>(from);
    unpack<T>(words.x, x[0], x[1]), unpack<T>(words.y, x[2], x[3]);
    unpack<T>(words.z, x[4], x[5]), unpack<T>(words.w, x[6], x[7]);
}

DEVICE void load_eight(float (&x)[8], const float* from) {
    const float4 low = load<float4>(from), high = load<float4>(from + 4);
    x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
    x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
}

template <class T> DEVICE void store_eight(T* to, const float (&x)[8]) {
    uint4 words;
    words.x = pack<T>(x[0], x[1]), words.y = pack<T>(x[2], x[3]);
    words.z = pack<T>(x[4], x[5]), words.w = pack<T>(x[6], x[7]);
    store(to, words);
}

DEVICE void store_eight(float* to, const float (&x)[8]) {
    float4 low, high;
    low.x = x[0], low.y = x[1], low.z = x[2], low.w = x[3];
    high.x = x[4], high.y = x[5], high.z = x[6], high.w = x[7];
    store(to, low), store(to + 4, high);
}

DEVICE void store_one(bf16* to, float x) { *to = round_to<bf16>(x); }
DEVICE void store_one(f16* to, float x) { *to = round_to<f16>(x); }
DEVICE void store_one(float* to, float x) { *to = x; }
