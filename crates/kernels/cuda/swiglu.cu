// The gated nonlinearity, compiled for bf16 and f16.
#include "swiglu.cuh"

#define SWIGLU(T)                                                                                                            \
    extern "C" __global__ void __launch_bounds__(SWIGLU_THREADS)                                                             \
        swiglu_##T(const T* __restrict__ gate_up, int width, T* __restrict__ y) {                                            \
        swiglu<T>(gate_up, width, y);                                                                                        \
    }                                                                                                                        \
    extern "C" __global__ void __launch_bounds__(SWIGLU_THREADS)                                                             \
        swiglu_backward_##T(const T* gate_up, const T* __restrict__ gradient, int width, T* gate_up_gradient,                \
                            T* __restrict__ y) {                                                                             \
        swiglu_backward<T>(gate_up, gradient, width, gate_up_gradient, y);                                                   \
    }

SWIGLU(bf16)
SWIGLU(f16)
