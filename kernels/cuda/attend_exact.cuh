// Attention in f32, all products and sums too: eight threads share four queries, and a part of the columns each.
#pragma once

#include "attend.cuh"

// Queries of a thread, and threads that share them.
constexpr unsigned OWN = 4;
constexpr unsigned SHARERS = 8;
static_assert(QUERIES / OWN * SHARERS == ATTEND_THREADS, "each query has its threads");

// Wide heads get fewer keys at once, so that all fits into 48 KiB.
template <unsigned P>
constexpr unsigned EXACT_KEYS = P > 96 ? 16 : 32;

template <unsigned P>
struct ExactShared {
    // A number more than needed puts the rows into different banks.
    float queries[QUERIES][P + 1];
    // Keys, then values.
    float rows[EXACT_KEYS<P>][P + 1];
    float shares[QUERIES][EXACT_KEYS<P> + 1];
};

// Rows `start..end` of a part, with zeros after them.
template <unsigned ROWS, unsigned P>
__device__ __forceinline__ void load_rows(const Attention<f32>& attention, unsigned head, unsigned part, unsigned start,
                                          unsigned end, float (&to)[ROWS][P + 1]) {
    for (unsigned at = threadIdx.x; at < ROWS * P; at += ATTEND_THREADS) {
        const unsigned row = at / P, column = at % P;
        const bool is_there = start + row < end && column < attention.width;
        to[row][column] = is_there ? attention.at(start + row, part, head)[column] : 0.0f;
    }
}

// What a thread has of its four queries: the softmax, and every eighth column of the sums.
template <unsigned P>
struct Exact {
    Softmax softmax[OWN];
    float sums[OWN][P / SHARERS];
    unsigned first_row;
    unsigned number;
};

__device__ __forceinline__ float sharers_max(float value) {
#pragma unroll
    for (unsigned mask = 1; mask < SHARERS; mask *= 2) value = fmaxf(value, shuffle_xor(value, mask));
    return value;
}

__device__ __forceinline__ float sharers_sum(float value) {
#pragma unroll
    for (unsigned mask = 1; mask < SHARERS; mask *= 2) value += shuffle_xor(value, mask);
    return value;
}

template <unsigned P>
__device__ __forceinline__ void make_exact_scores(const ExactShared<P>& memory, const Exact<P>& exact,
                                                  float (&scores)[OWN][EXACT_KEYS<P> / SHARERS]) {
#pragma unroll
    for (unsigned own = 0; own < OWN; ++own) {
#pragma unroll
        for (unsigned at = 0; at < EXACT_KEYS<P> / SHARERS; ++at) scores[own][at] = 0.0f;
    }
    for (unsigned column = 0; column < P; ++column) {
#pragma unroll
        for (unsigned at = 0; at < EXACT_KEYS<P> / SHARERS; ++at) {
            const float key = memory.rows[at * SHARERS + exact.number][column];
#pragma unroll
            for (unsigned own = 0; own < OWN; ++own) scores[own][at] += memory.queries[exact.first_row + own][column] * key;
        }
    }
}

// Turns scores into shares that the other threads of these queries can read, and takes them into the sums made before.
template <unsigned P>
__device__ __forceinline__ void make_exact_shares(const Attention<f32>& attention, const Span& span, unsigned start,
                                                  float (&scores)[OWN][EXACT_KEYS<P> / SHARERS], Exact<P>& exact,
                                                  ExactShared<P>& memory) {
#pragma unroll
    for (unsigned own = 0; own < OWN; ++own) {
        const unsigned row = exact.first_row + own;
        float top = -infinity();
#pragma unroll
        for (unsigned at = 0; at < EXACT_KEYS<P> / SHARERS; ++at) {
            const unsigned key = start + at * SHARERS + exact.number;
            if (!sees(span, span.first + row, key, attention.reach)) scores[own][at] = -infinity();
            top = fmaxf(top, scores[own][at]);
        }
        const float factor = exact.softmax[own].raise(sharers_max(top));
#pragma unroll
        for (unsigned at = 0; at < P / SHARERS; ++at) exact.sums[own][at] *= factor;
#pragma unroll
        for (unsigned at = 0; at < EXACT_KEYS<P> / SHARERS; ++at) {
            const float share = exact.softmax[own].share(scores[own][at]);
            exact.softmax[own].sum += share;
            memory.shares[row][at * SHARERS + exact.number] = share;
        }
    }
}

template <unsigned P>
__device__ __forceinline__ void add_exact_values(const ExactShared<P>& memory, Exact<P>& exact) {
    for (unsigned key = 0; key < EXACT_KEYS<P>; ++key) {
#pragma unroll
        for (unsigned at = 0; at < P / SHARERS; ++at) {
            const float value = memory.rows[key][at * SHARERS + exact.number];
#pragma unroll
            for (unsigned own = 0; own < OWN; ++own) {
                exact.sums[own][at] += memory.shares[exact.first_row + own][key] * value;
            }
        }
    }
}

template <unsigned P>
__device__ __forceinline__ void write_exact_answers(const Attention<f32>& attention, const Span& span,
                                                    const Exact<P>& exact) {
#pragma unroll
    for (unsigned own = 0; own < OWN; ++own) {
        const unsigned query = span.first + exact.first_row + own;
        const float scale = 1.0f / sharers_sum(exact.softmax[own].sum);
        if (query >= span.end) continue;
#pragma unroll
        for (unsigned at = 0; at < P / SHARERS; ++at) {
            const unsigned column = at * SHARERS + exact.number;
            if (column < attention.width) attention.out_at(query, span.head)[column] = exact.sums[own][at] * scale;
        }
    }
}

template <unsigned P>
__device__ __forceinline__ void attend_exactly(const Attention<f32>& attention, const unsigned* tiles) {
    constexpr unsigned KEYS = EXACT_KEYS<P>;
    ExactShared<P>& memory = shared<ExactShared<P>>();
    const Span span = span_of(tiles, attention.tokens, attention.reach);
    if (span.first == span.end) return;
    Exact<P> exact = {{}, {}, threadIdx.x / SHARERS * OWN, threadIdx.x % SHARERS};
    load_rows<QUERIES, P>(attention, span.head, 0, span.first, span.end, memory.queries);
    for (unsigned start = span.low; start < span.high; start += KEYS) {
        load_rows<KEYS, P>(attention, span.head, 1, start, span.high, memory.rows);
        __syncthreads();
        float scores[OWN][KEYS / SHARERS];
        make_exact_scores(memory, exact, scores);
        __syncthreads();
        load_rows<KEYS, P>(attention, span.head, 2, start, span.high, memory.rows);
        make_exact_shares(attention, span, start, scores, exact, memory);
        __syncthreads();
        add_exact_values(memory, exact);
        __syncthreads();
    }
    write_exact_answers(attention, span, exact);
}
