// The layer norm of one row by one warp, of whatever the row is read from.
#pragma once

#include "base.cuh"

constexpr unsigned NORM_ROWS = 4;
// Packs of a row that a lane keeps in registers, so that a row of up to 1024 numbers is read once.
template <class T>
constexpr unsigned KEPT = 32 / WIDE<T>;

// Where a normalised row goes, and with what.
template <class T>
struct NormTarget {
    const float* weight;
    // Null: zeros.
    const float* bias;
    float eps;
    // Null: the row itself is not wanted.
    T* row;
    T* normed;
};

template <class T, unsigned N>
__device__ __forceinline__ void write_normed(const NormTarget<T>& target, unsigned column, const float (&numbers)[N],
                                             float mean, float scale) {
    float normed[N], weight[N], bias[N] = {};
    load(target.weight + column, weight);
    if (target.bias) load(target.bias + column, bias);
#pragma unroll
    for (unsigned at = 0; at < N; ++at) normed[at] = (numbers[at] - mean) * scale * weight[at] + bias[at];
    store(normed, target.normed + column);
}

__device__ __forceinline__ float norm_scale(float squares, unsigned width, float eps) {
    return 1.0f / sqrtf(squares / static_cast<float>(width) + eps);
}

// A row of `width` numbers, a multiple of a pack, at most `LANES * KEPT` packs.
template <class T, class Source>
__device__ __forceinline__ void normalise_kept(const Source& source, unsigned width, const NormTarget<T>& target) {
    constexpr unsigned N = WIDE<T>;
    const unsigned first = threadIdx.x % LANES * N;
    float numbers[KEPT<T>][N];
    float total = 0.0f;
#pragma unroll
    for (unsigned part = 0; part < KEPT<T>; ++part) {
        const unsigned column = first + part * LANES * N;
        if (column >= width) continue;
        source.load(column, numbers[part]);
        if (target.row) store(numbers[part], target.row + column);
#pragma unroll
        for (unsigned at = 0; at < N; ++at) total += numbers[part][at];
    }
    const float mean = warp_sum(total) / static_cast<float>(width);
    float squares = 0.0f;
#pragma unroll
    for (unsigned part = 0; part < KEPT<T>; ++part) {
        if (first + part * LANES * N >= width) continue;
#pragma unroll
        for (unsigned at = 0; at < N; ++at) squares += (numbers[part][at] - mean) * (numbers[part][at] - mean);
    }
    const float scale = norm_scale(warp_sum(squares), width, target.eps);
#pragma unroll
    for (unsigned part = 0; part < KEPT<T>; ++part) {
        const unsigned column = first + part * LANES * N;
        if (column < width) write_normed(target, column, numbers[part], mean, scale);
    }
}

// A row of any width, read three times.
template <class T, class Source>
__device__ __forceinline__ void normalise_streamed(const Source& source, unsigned width, const NormTarget<T>& target) {
    const unsigned lane = threadIdx.x % LANES;
    float number[1];
    float total = 0.0f;
    for (unsigned column = lane; column < width; column += LANES) {
        source.load(column, number);
        if (target.row) store(number, target.row + column);
        total += number[0];
    }
    const float mean = warp_sum(total) / static_cast<float>(width);
    float squares = 0.0f;
    for (unsigned column = lane; column < width; column += LANES) {
        source.load(column, number);
        squares += (number[0] - mean) * (number[0] - mean);
    }
    const float scale = norm_scale(warp_sum(squares), width, target.eps);
    for (unsigned column = lane; column < width; column += LANES) {
        source.load(column, number);
        write_normed(target, column, number, mean, scale);
    }
}

template <class T, class Source>
__device__ __forceinline__ void normalise(const Source& source, unsigned width, bool wide, const NormTarget<T>& target) {
    wide = wide && is_wide(target.weight, width) && is_wide(target.bias, width);
    if (wide && width <= LANES * KEPT<T> * WIDE<T>) {
        normalise_kept(source, width, target);
    } else {
        normalise_streamed(source, width, target);
    }
}
