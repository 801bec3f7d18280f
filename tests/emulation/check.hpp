// What the tests of kernels share: inputs, arrays with a guarded end, errors, and the lines of the table.
#pragma once
#include <chrono>
#include <cmath>
#include <random>

#include "warp.cuh"

namespace check {

// An array of the device: it starts as NaN (0xff bytes), and the page behind its end has no access.
template <class T> class Array {
  public:
    explicit Array(size_t size) : size_(size) {
        const size_t bytes = (size * sizeof(T) + 15) / 16 * 16, page = emulator::PAGE;
        mapped_ = (bytes + page - 1) / page * page + page;
        memory_ = (unsigned char*)mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory_ == MAP_FAILED) abort();
        mprotect(memory_ + mapped_ - page, page, PROT_NONE);
        data_ = (T*)(memory_ + mapped_ - page - bytes);
        memset((void*)data_, 0xff, bytes);
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() { munmap(memory_, mapped_); }

    T* data() { return data_; }
    const T* data() const { return data_; }
    size_t size() const { return size_; }
    T& operator[](size_t i) { return data_[i]; }
    const T& operator[](size_t i) const { return data_[i]; }
    T* begin() { return data_; }
    T* end() { return data_ + size_; }

  private:
    size_t size_, mapped_;
    unsigned char* memory_;
    T* data_;
};

// Seeded numbers.
class Random {
  public:
    explicit Random(uint64_t seed) : generator_(seed) {}
    float normal(float deviation = 1.f) { return deviation * normal_(generator_); }
    float uniform(float low, float high) { return low + (high - low) * (float)(generator_() >> 40) * 0x1p-24f; }
    int below(int bound) { return (int)(generator_() % (uint64_t)bound); }
    void fill(Array<float>& array, float deviation = 1.f) {
        for (float& x : array) x = normal(deviation);
    }
    template <class T> void fill(Array<T>& array, float deviation = 1.f) {
        for (T& x : array) x = round_to<T>(normal(deviation));
    }

  private:
    std::mt19937_64 generator_;
    std::normal_distribution<float> normal_;
};

inline double number(float x) { return x; }
inline double number(double x) { return x; }
inline double number(bf16 x) { return to_float(x); }
inline double number(f16 x) { return to_float(x); }

template <class T> const char* name_of();
template <> inline const char* name_of<float>() { return "f32"; }
template <> inline const char* name_of<bf16>() { return "bf16"; }
template <> inline const char* name_of<f16>() { return "f16"; }

// |got - expected| / |expected| of whole arrays (Euclidean), infinite if anything is not a number.
class Error {
  public:
    template <class T> void add(T got, double expected) {
        const double difference = number(got) - expected;
        difference_ += difference * difference, expected_ += expected * expected;
        largest_ = std::max(largest_, std::abs(difference));
        finite_ &= std::isfinite(difference);
    }
    template <class T, class E> void add(const T& got, const E& expected) {
        for (size_t i = 0; i < expected.size(); i++) add(got[i], (double)expected[i]);
    }
    double relative() const { return finite_ ? std::sqrt(difference_ / std::max(expected_, 1e-300)) : INFINITY; }
    double largest() const { return finite_ ? largest_ : INFINITY; }  // absolute, of one element

  private:
    double difference_ = 0, expected_ = 0, largest_ = 0;
    bool finite_ = true;
};

template <class T> bool same_bits(const Array<T>& a, const Array<T>& b) {
    return a.size() == b.size() && memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

inline bool& failed() {
    static bool any = false;
    return any;
}

// One line of the table. The clock and the count of bank conflicts run from its construction to its end.
class Row {
  public:
    Row(std::string kernel, std::string variant) : kernel_(std::move(kernel)), variant_(std::move(variant)) {
        emulator::statistics() = {};
    }
    Row(const Row&) = delete;
    Row& operator=(const Row&) = delete;

    // An error and the bound that it must not exceed. The line shows the one closest to (or farthest beyond) its bound.
    void error(double error, double bound) {
        const double share = bound > 0 ? error / bound : error > 0 ? INFINITY : 0;
        if (!(share < share_)) share_ = share, error_ = error, bound_ = bound;
        good_ &= error <= bound;  // not if NaN
    }
    // For what is exact or wrong.
    void exact(bool good) {
        if (good && share_ >= 0) return;
        error(good ? 0 : INFINITY, 0);
    }
    // Bank conflicts are counted for every kernel; more than these are a failure.
    void most_conflicts(long count) { most_conflicts_ = count; }

    ~Row() {
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
        const long conflicts = emulator::statistics().bank_conflicts;
        good_ &= conflicts <= most_conflicts_;
        failed() |= !good_;
        printf("%s\t%s\t%.1e\t", kernel_.c_str(), variant_.c_str(), error_);
        printf(bound_ > 0 ? "%.1e" : "exact", bound_);
        printf("\t%ld\t%.1f\t%s\n", conflicts, seconds, good_ ? "" : "FAILED");
        fflush(stdout);
        if (!good_ && getenv("FIRST_FAILURE")) _exit(1);
    }

  private:
    std::string kernel_, variant_;
    double share_ = -1, error_ = 0, bound_ = 0;
    long most_conflicts_ = 1L << 62;
    bool good_ = true;
    std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

inline int finish() { return failed() ? 1 : 0; }

}  // namespace check
