// Errors of results that are computed in f32 and rounded once to T. An error is relative to the power of two below the exact
// result, so that half a unit in the last place is the same everywhere.
#pragma once
#include "check.hpp"

// Half a unit in the last place, relative, and the least that it is; below the normal numbers of f32 that is one of these.
template <class T> double half_unit();
template <> inline double half_unit<bf16>() { return 0x1p-8; }
template <> inline double half_unit<f16>() { return 0x1p-11; }
template <> inline double half_unit<float>() { return 0x1p-24; }
template <class T> double half_step() { return 0x1p-126; }
template <> inline double half_step<f16>() { return 0x1p-25; }

// The larger error; infinite if one is not a number.
inline double worse(double worst, double error) { return error <= worst ? worst : std::isnan(error) ? INFINITY : error; }

template <class T> class Rounding {
  public:
    // `size` is that of the terms of which the exact result is a sum: their rounding in f32 is allowed besides.
    void add(T got, double exact, double size = 0) {
        const double power = exact == 0 ? 0 : std::exp2(std::floor(std::log2(std::abs(exact))));
        const double allowed = std::max(half_unit<T>() * power, half_step<T>());
        const double in_single = 8 * 0x1p-24 * std::max(size, std::abs(exact));
        const double error = std::abs(check::number(got) - exact);
        worst_ = worse(worst_, (error - in_single) / std::max(allowed, 1e-300));
    }
    double relative() const { return worst_ * half_unit<T>(); }
    // One rounding, and a little for the arithmetic before it.
    static double bound() { return 1.01 * half_unit<T>(); }

  private:
    double worst_ = 0;
};
