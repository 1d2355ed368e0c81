// What both ways of attending share: which tokens a block works on, and sums under a softmax that is not known before their end.
//
// Tokens attend within their row, and within `reach` of themselves. A block answers up to `QUERIES` queries of one row for one head,
// and goes through the keys that any of them sees in tiles (Dao et al. 2022, FlashAttention). Nothing of a row's neighbours is read:
// a NaN stays in its row.
#pragma once

#include "base.cuh"

constexpr unsigned QUERIES = 64;
constexpr unsigned ATTEND_THREADS = 128;

// The numbers that all blocks have.
template <class T>
struct Attention {
    // `[tokens, 3, heads, width]`: queries, keys, values.
    const T* qkv;
    T* out;
    unsigned tokens;
    unsigned heads;
    unsigned width;
    // How far a token sees; `NONE` is the whole row.
    unsigned reach;

    // The numbers of `part` (query, key, value) of a token, for a head.
    __device__ __forceinline__ const T* at(unsigned token, unsigned part, unsigned head) const {
        return qkv + ((static_cast<size_t>(token) * 3 + part) * heads + head) * width;
    }
    __device__ __forceinline__ T* out_at(unsigned token, unsigned head) const {
        return out + (static_cast<size_t>(token) * heads + head) * width;
    }
};

// What one block answers: queries `first..end`, of which each sees keys of `low..high` at most.
struct Span {
    unsigned head;
    unsigned first, end;
    unsigned low, high;
};

__device__ __forceinline__ unsigned minus(unsigned value, unsigned less) { return value > less ? value - less : 0; }
__device__ __forceinline__ unsigned plus(unsigned value, unsigned more) { return value < NONE - more ? value + more : NONE; }

// `tiles` holds for each block: where its row begins and ends, and its first query. An empty one has no queries.
__device__ __forceinline__ Span span_of(const unsigned* tiles, unsigned tokens, unsigned reach) {
    const unsigned* tile = tiles + static_cast<size_t>(blockIdx.x) * 3;
    const unsigned row_end = min(tile[1], tokens), first = tile[2];
    const unsigned end = min(row_end, plus(first, QUERIES));
    // A query before its row would see keys of others; there is none if the tiles are those of a batch.
    if (first < tile[0] || first >= row_end) return {blockIdx.y, 0, 0, 0, 0};
    return {blockIdx.y, first, end, max(tile[0], minus(first, reach)), min(row_end, plus(end, reach))};
}

__device__ __forceinline__ bool sees(const Span& span, unsigned query, unsigned key, unsigned reach) {
    const unsigned distance = query > key ? query - key : key - query;
    return key < span.high && distance <= reach;
}

// The largest score of a query so far, and the sum of `e^(score - largest)`.
struct Softmax {
    float top = -infinity();
    float sum = 0.0f;

    // Takes a larger largest into account. Returns what sums made before are to be multiplied with.
    __device__ __forceinline__ float raise(float value) {
        const float before = top;
        top = fmaxf(top, value);
        const float factor = top == before ? 1.0f : expf(before - top);
        sum *= factor;
        return factor;
    }

    // Of a score; 0 for a key that is not seen, whose score is -infinity, even while none has been.
    __device__ __forceinline__ float share(float score) const { return score == -infinity() ? 0.0f : expf(score - top); }
};
