// The gated nonlinearity, forward and backward, against double precision.
//
// mutation | swiglu.cuh | the derivative of the sigmoid is negated | s/1.f + a\[j\] \* (1.f - s)/1.f - a[j] * (1.f - s)/
// mutation | swiglu.cuh | columns beyond the end | s/column >= width/column > width/
#include "swiglu.cuh"

#include "check.hpp"
#include "rounding.hpp"

template <class T> static void both(int rows, int width, bool in_place, bool again) {
    check::Row line("swiglu", std::string(check::name_of<T>()) + ", width " + std::to_string(width) + (in_place ? ", in place" : ""));
    check::Random random(width);
    check::Array<T> gate_up(rows * 2 * width), y(rows * width), gradient(rows * width), y_again(rows * width);
    check::Array<T> elsewhere(rows * 2 * width);
    random.fill(gate_up, 3.f), random.fill(gradient);
    gate_up[0] = round_to<T>(-200.f), gate_up[1] = round_to<T>(200.f);
    const std::vector<T> before(gate_up.begin(), gate_up.end());
    T* result = in_place ? gate_up.data() : elsewhere.data();
    const emulator::Grid grid = {rows, (width + SWIGLU_COLUMNS - 1) / SWIGLU_COLUMNS};
    emulator::launch(grid, SWIGLU_THREADS, 0, [&] { swiglu<T>(gate_up.data(), width, y.data()); });
    emulator::launch(grid, SWIGLU_THREADS, 0, [&] {
        swiglu_backward<T>(gate_up.data(), gradient.data(), width, result, again ? y_again.data() : nullptr);
    });
    Rounding<T> forward, backward;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < width; i++) {
            const double a = check::number(before[r * 2 * width + i]), b = check::number(before[(r * 2 + 1) * width + i]);
            const double g = check::number(gradient[r * width + i]), s = 1 / (1 + std::exp(-a));
            forward.add(y[r * width + i], a * s * b);
            if (again) line.exact(y_again[r * width + i].bits == y[r * width + i].bits);
            backward.add(result[r * 2 * width + i], g * b * s * (1 + a * (1 - s)), std::abs(g * b * s) * (1 + std::abs(a)));
            backward.add(result[(r * 2 + 1) * width + i], g * a * s);
        }
    line.error(forward.relative(), forward.bound());
    line.error(backward.relative(), backward.bound());
}

int main() {
    both<bf16>(5, 3080, false, false);
    both<bf16>(3, 2048, true, true);
    both<bf16>(7, 8, true, false);
#ifndef FEW
    both<f16>(3, 1024, true, true);
#endif
    return check::finish();
}
