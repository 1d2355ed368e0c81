// A bias and a function of each number, in place, or the first half so activated times the second. The meaning: `activate.rs`.
#include "base.cuh"

namespace {

// In the order of `Activation`.
enum Function : unsigned { IDENTITY, GELU, GELU_TANH, RELU, SILU, TANH, SIGMOID };

__device__ __forceinline__ float activated(float x, unsigned function) {
    switch (function) {
        case GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
        case GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.79788456f * x * (1.0f + 0.044715f * x * x)));
        // A comparison keeps NaN, a maximum would not.
        case RELU: return x < 0.0f ? 0.0f : x;
        case SILU: return x / (1.0f + expf(-x));
        case TANH: return tanhf(x);
        case SIGMOID: return 1.0f / (1.0f + expf(-x));
        default: return x;
    }
}

template <class T, unsigned N>
__device__ __forceinline__ void load_biased(const T* from, const float* bias, unsigned column, float (&to)[N]) {
    load(from, to);
    if (!bias) return;
    float more[N];
    load(bias + column, more);
#pragma unroll
    for (unsigned at = 0; at < N; ++at) to[at] += more[at];
}

template <class T, unsigned N>
__device__ __forceinline__ void activate(T* rows, const float* bias, unsigned packs, unsigned width, unsigned function) {
    for (size_t pack = blockIdx.x * blockDim.x + threadIdx.x; pack < packs; pack += gridDim.x * blockDim.x) {
        // All numbers are fewer than 2^32, whose remainder is cheaper.
        const unsigned start = static_cast<unsigned>(pack) * N;
        float numbers[N];
        load_biased(rows + start, bias, start % width, numbers);
#pragma unroll
        for (unsigned at = 0; at < N; ++at) numbers[at] = activated(numbers[at], function);
        store(numbers, rows + start);
    }
}

template <class T, unsigned N>
__device__ __forceinline__ void gate(const T* rows, const float* bias, unsigned packs, unsigned width, unsigned function,
                                     T* out) {
    for (size_t pack = blockIdx.x * blockDim.x + threadIdx.x; pack < packs; pack += gridDim.x * blockDim.x) {
        const unsigned start = static_cast<unsigned>(pack) * N, column = start % width;
        // Rows that are read are twice as wide.
        const T* first = rows + static_cast<size_t>(2) * (start - column) + column;
        float numbers[N], factors[N];
        load_biased(first, bias, column, numbers);
        load_biased(first + width, bias, width + column, factors);
#pragma unroll
        for (unsigned at = 0; at < N; ++at) numbers[at] = activated(numbers[at], function) * factors[at];
        store(numbers, out + start);
    }
}

}  // namespace

#define ACTIVATE(T)                                                                                                   \
    KERNEL activate_##T(T* rows, const float* bias, unsigned total, unsigned width, unsigned function) {              \
        if (is_wide(rows, width) && is_wide(bias, width)) {                                                           \
            activate<T, WIDE<T>>(rows, bias, total / WIDE<T>, width, function);                                       \
        } else {                                                                                                      \
            activate<T, 1>(rows, bias, total, width, function);                                                       \
        }                                                                                                             \
    }                                                                                                                 \
    REGISTER(activate_##T)                                                                                            \
    KERNEL gate_##T(const T* rows, const float* bias, unsigned total, unsigned width, unsigned function, T* out) {    \
        if (is_wide(rows, width) && is_wide(bias, width) && is_wide(out, width)) {                                    \
            gate<T, WIDE<T>>(rows, bias, total / WIDE<T>, width, function, out);                                      \
        } else {                                                                                                      \
            gate<T, 1>(rows, bias, total, width, function, out);                                                      \
        }                                                                                                             \
    }                                                                                                                 \
    REGISTER(gate_##T)

ACTIVATE(f32)
ACTIVATE(f16)
ACTIVATE(bf16)
#undef ACTIVATE
