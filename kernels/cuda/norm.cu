// Layer norm, of rows or of their sum with an update. The meaning: `norm.rs`.
#include "norm.cuh"

namespace {

// A row, and what is added to it unless it is null.
template <class T>
struct SumOfRows {
    const T* row;
    const T* update;

    template <unsigned N>
    __device__ __forceinline__ void load(unsigned column, float (&to)[N]) const {
        ::load(row + column, to);
        if (!update) return;
        float more[N];
        ::load(update + column, more);
#pragma unroll
        for (unsigned at = 0; at < N; ++at) to[at] += more[at];
    }
};

template <class T>
__device__ __forceinline__ void norm(const T* rows, const T* updates, const float* weight, const float* bias, float eps,
                                     unsigned count, unsigned width, T* sums, T* out) {
    const unsigned row = blockIdx.x * NORM_ROWS + threadIdx.x / LANES;
    if (row >= count) return;
    const size_t start = static_cast<size_t>(row) * width;
    const SumOfRows<T> source = {rows + start, updates ? updates + start : nullptr};
    const NormTarget<T> target = {weight, bias, eps, sums ? sums + start : nullptr, out + start};
    const bool wide = is_wide(rows, width) && is_wide(updates, width) && is_wide(sums, width) && is_wide(out, width);
    normalise(source, width, wide, target);
}

}  // namespace

#define NORM(T)                                                                                                       \
    KERNEL __launch_bounds__(NORM_ROWS* LANES)                                                                        \
        norm_##T(const T* rows, const T* updates, const float* weight, const float* bias, float eps, unsigned count,  \
                 unsigned width, T* sums, T* out) {                                                                   \
        norm(rows, updates, weight, bias, eps, count, width, sums, out);                                              \
    }                                                                                                                 \
    REGISTER(norm_##T)

NORM(f32)
NORM(f16)
NORM(bf16)
#undef NORM
