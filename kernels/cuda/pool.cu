// One vector for each row of tokens, of length 1 if wanted. The meaning: `pool.rs`.
#include "base.cuh"

namespace {

// In the order of `Pooling`.
enum Pooling : unsigned { FIRST, LAST, MAX, MEAN, MEAN_SQRT_LENGTH, WEIGHTED_MEAN };

constexpr unsigned POOL_WARPS = 8;
constexpr unsigned POOL_WIDTH_MAX = 8192;
// torch's `normalize` divides by no less.
constexpr double LENGTH_MIN = 1e-12;

// Columns that a block reduces at once: each lane a pack.
template <class T>
constexpr unsigned STRIPE = LANES * WIDE<T>;

template <class T>
struct PoolShared {
    float parts[POOL_WARPS][STRIPE<T>];
    double squares[POOL_WARPS];
    // The last, so that a launch has room for as many as there are.
    float pooled[POOL_WIDTH_MAX];
};

// What is added up of a row's tokens `start..end`.
struct Terms {
    unsigned start, end;
    unsigned pooling;
    float length;
};

__device__ __forceinline__ Terms terms_of(unsigned start, unsigned end, unsigned pooling) {
    Terms terms = {start, end, pooling, static_cast<float>(end - start)};
    if (start < end && pooling == FIRST) terms.end = start + 1;
    if (start < end && pooling == LAST) terms.start = end - 1;
    return terms;
}

__device__ __forceinline__ float weight_of(const Terms& terms, unsigned token) {
    switch (terms.pooling) {
        case MEAN: return 1.0f / terms.length;
        case MEAN_SQRT_LENGTH: return 1.0f / sqrtf(terms.length);
        case WEIGHTED_MEAN: return static_cast<float>(token - terms.start + 1) / (terms.length * (terms.length + 1.0f) / 2.0f);
        default: return 1.0f;
    }
}

// Unlike `fmaxf`, which drops a NaN.
__device__ __forceinline__ float larger(float left, float right) { return left > right || left != left ? left : right; }

template <unsigned N>
__device__ __forceinline__ void add(const Terms& terms, unsigned token, const float (&numbers)[N], float (&to)[N]) {
    const float weight = weight_of(terms, token);
#pragma unroll
    for (unsigned at = 0; at < N; ++at) {
        to[at] = terms.pooling == MAX ? larger(to[at], numbers[at]) : to[at] + weight * numbers[at];
    }
}

// This warp's part of a stripe of columns: every eighth token, a pack for each lane.
template <class T, unsigned N>
__device__ __forceinline__ void pool_part(const T* rows, unsigned width, const Terms& terms, unsigned column, float* part) {
    const float start = terms.pooling == MAX ? -infinity() : 0.0f;
    float sums[N], numbers[N];
#pragma unroll
    for (unsigned at = 0; at < N; ++at) sums[at] = start;
    for (unsigned token = terms.start + threadIdx.x / LANES; token < terms.end && column < width; token += POOL_WARPS) {
        load(rows + static_cast<size_t>(token) * width + column, numbers);
        add(terms, token, numbers, sums);
    }
    store(sums, part);
}

template <class T>
__device__ __forceinline__ void pool_stripe(const T* rows, unsigned width, const Terms& terms, unsigned stripe,
                                            PoolShared<T>& memory) {
    constexpr unsigned N = WIDE<T>;
    const unsigned warp = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    if (is_wide(rows, width)) {
        pool_part<T, N>(rows, width, terms, stripe + lane * N, memory.parts[warp] + lane * N);
    } else {
        for (unsigned at = lane; at < STRIPE<T>; at += LANES) {
            pool_part<T, 1>(rows, width, terms, stripe + at, memory.parts[warp] + at);
        }
    }
    __syncthreads();
    for (unsigned at = threadIdx.x; at < STRIPE<T> && stripe + at < width; at += POOL_WARPS * LANES) {
        float sum = memory.parts[0][at];
        for (unsigned part = 1; part < POOL_WARPS; ++part) {
            sum = terms.pooling == MAX ? larger(sum, memory.parts[part][at]) : sum + memory.parts[part][at];
        }
        memory.pooled[stripe + at] = terms.start < terms.end ? sum : 0.0f;
    }
    __syncthreads();
}

// What a row is divided by. Squares are added in f64, where those of no f32 overflow.
template <class T>
__device__ __forceinline__ double length_of(unsigned width, PoolShared<T>& memory) {
    double squares = 0.0;
    for (unsigned column = threadIdx.x; column < width; column += POOL_WARPS * LANES) {
        squares += static_cast<double>(memory.pooled[column]) * memory.pooled[column];
    }
    squares = warp_sum(squares);
    if (threadIdx.x % LANES == 0) memory.squares[threadIdx.x / LANES] = squares;
    __syncthreads();
    squares = 0.0;
    for (unsigned warp = 0; warp < POOL_WARPS; ++warp) squares += memory.squares[warp];
    const double length = sqrt(squares);
    return length < LENGTH_MIN ? LENGTH_MIN : length;
}

template <class T>
__device__ __forceinline__ void pool(const T* rows, const unsigned* offsets, unsigned tokens, unsigned width,
                                     unsigned pooling, unsigned normalises, T* out) {
    PoolShared<T>& memory =
        shared<PoolShared<T>>(sizeof(PoolShared<T>) - sizeof(float) * (POOL_WIDTH_MAX - width));
    const unsigned row = blockIdx.x;
    // Offsets beyond the tokens would be read from outside.
    const unsigned end = offsets[row + 1] < tokens ? offsets[row + 1] : tokens;
    const unsigned start = offsets[row] < end ? offsets[row] : end;
    const Terms terms = terms_of(start, end, pooling);
    for (unsigned stripe = 0; stripe < width; stripe += STRIPE<T>) pool_stripe(rows, width, terms, stripe, memory);
    const double length = normalises ? length_of(width, memory) : 1.0;
    for (unsigned column = threadIdx.x; column < width; column += POOL_WARPS * LANES) {
        narrow(static_cast<float>(memory.pooled[column] / length), out[static_cast<size_t>(row) * width + column]);
    }
}

}  // namespace

#define POOL(T)                                                                                                       \
    KERNEL __launch_bounds__(POOL_WARPS* LANES)                                                                       \
        pool_##T(const T* rows, const unsigned* offsets, unsigned tokens, unsigned width, unsigned pooling,           \
                 unsigned normalises, T* out) {                                                                       \
        pool(rows, offsets, tokens, width, pooling, normalises, out);                                                 \
    }                                                                                                                 \
    REGISTER(pool_##T)

POOL(f32)
POOL(f16)
POOL(bf16)
#undef POOL
