// Attention in f16 and bf16 by tensor cores: each of four warps answers 16 queries, whose scores never leave its registers.
//
// Values are copied while scores are made, and the next keys while values are used. `P` is the width of a head, rounded up; the
// numbers beyond it are zeros.
#pragma once

#include "attend.cuh"
#include "tile.cuh"

constexpr unsigned TILE_KEYS = 64;

template <class T, unsigned P>
struct TileShared {
    // Eight numbers more than needed put the rows of a matrix into different banks.
    T keys[TILE_KEYS][P + 8];
    T values[TILE_KEYS][P + 8];
};

// What a warp knows of its queries. A lane has those of rows `g` and `g + 8`.
template <unsigned P>
struct Queries {
    uint32_t words[P / 16][4];
    unsigned rows[2];
    bool is_any;
};

// Two numbers of a row, zeros where there are none; at once where rows are at multiples of 16 bytes.
template <class T>
__device__ __forceinline__ uint32_t load_pair(const T* row, unsigned column, unsigned width, bool wide) {
    if (wide) return column < width ? word_at(row + column) : 0;
    const T zero = {};
    const T first = column < width ? row[column] : zero;
    const T second = column + 1 < width ? row[column + 1] : zero;
    return word_of(first, second);
}

template <class T, unsigned P>
__device__ __forceinline__ Queries<P> load_queries(const Attention<T>& attention, const Span& span) {
    const unsigned lane = threadIdx.x % LANES, start = span.first + threadIdx.x / LANES * 16;
    const bool wide = is_wide(attention.qkv, attention.width);
    Queries<P> queries = {{}, {start + lane / 4, start + lane / 4 + 8}, start < span.end};
#pragma unroll
    for (unsigned part = 0; part < P / 16; ++part) {
#pragma unroll
        for (unsigned word = 0; word < 4; ++word) {
            // After the last, that one again, whose answer is not written twice.
            const T* row = attention.at(min(queries.rows[word % 2], span.end - 1), 0, span.head);
            const unsigned column = part * 16 + lane % 4 * 2 + word / 2 * 8;
            queries.words[part][word] = load_pair(row, column, attention.width, wide);
        }
    }
    return queries;
}

// Begins to copy keys or values of a tile. Rows that no query may see, and columns beyond the width, become zeros, as a product with
// whatever was there could be NaN.
template <class T, unsigned P>
__device__ __forceinline__ void copy_tile(const Attention<T>& attention, const Span& span, unsigned part, unsigned start,
                                          T (&to)[TILE_KEYS][P + 8]) {
    const bool wide = is_wide(attention.qkv, attention.width);
    for (unsigned at = threadIdx.x; at < TILE_KEYS * (P / 8); at += ATTEND_THREADS) {
        const unsigned row = at / (P / 8), column = at % (P / 8) * 8;
        T* target = &to[row][column];
        const bool is_there = start + row < span.high;
        const T* source = attention.at(is_there ? start + row : span.low, part, span.head);
        if (wide && is_there && column < attention.width) {
            copy_later(target, source + column);
        } else {
#pragma unroll
            for (unsigned more = 0; more < 8; ++more) {
                target[more] = is_there && column + more < attention.width ? source[column + more] : T{};
            }
        }
    }
}

// Scores of 16 queries and a tile of keys: 8 x (16 x 8).
template <class T, unsigned P>
__device__ __forceinline__ void make_scores(const Queries<P>& queries, const T (&keys)[TILE_KEYS][P + 8],
                                            float (&scores)[TILE_KEYS / 8][4]) {
    const unsigned lane = threadIdx.x % LANES;
#pragma unroll
    for (unsigned block = 0; block < TILE_KEYS / 8; block += 2) {
#pragma unroll
        for (unsigned at = 0; at < 4; ++at) scores[block][at] = scores[block + 1][at] = 0.0f;
#pragma unroll
        for (unsigned part = 0; part < P / 16; ++part) {
            // Eight keys and their next, each in two halves of the 16 columns.
            uint32_t words[4];
            load_matrices(&keys[(block + lane / 16) * 8 + lane % 8][part * 16 + lane / 8 % 2 * 8], words);
            multiply_add(T{}, scores[block], queries.words[part], {words[0], words[1]});
            multiply_add(T{}, scores[block + 1], queries.words[part], {words[2], words[3]});
        }
    }
}

// The largest of the four lanes that share a row, and their sum.
__device__ __forceinline__ float quad_max(float value) {
    value = fmaxf(value, shuffle_xor(value, 1));
    return fmaxf(value, shuffle_xor(value, 2));
}
__device__ __forceinline__ float quad_sum(float value) {
    value += shuffle_xor(value, 1);
    return value + shuffle_xor(value, 2);
}

// Turns scores of a tile into shares, and takes them into `softmax` and the sums made before.
template <unsigned P>
__device__ __forceinline__ void make_shares(const Queries<P>& queries, const Span& span, unsigned reach, unsigned start,
                                            float (&scores)[TILE_KEYS / 8][4], Softmax (&softmax)[2],
                                            float (&sums)[P / 8][4]) {
    const unsigned column = start + threadIdx.x % 4 * 2;
    float top[2] = {-infinity(), -infinity()};
#pragma unroll
    for (unsigned block = 0; block < TILE_KEYS / 8; ++block) {
#pragma unroll
        for (unsigned at = 0; at < 4; ++at) {
            const unsigned key = column + block * 8 + at % 2;
            if (!sees(span, queries.rows[at / 2], key, reach)) scores[block][at] = -infinity();
            top[at / 2] = fmaxf(top[at / 2], scores[block][at]);
        }
    }
    float factor[2];
#pragma unroll
    for (unsigned row = 0; row < 2; ++row) factor[row] = softmax[row].raise(quad_max(top[row]));
#pragma unroll
    for (unsigned block = 0; block < P / 8; ++block) {
#pragma unroll
        for (unsigned at = 0; at < 4; ++at) sums[block][at] *= factor[at / 2];
    }
#pragma unroll
    for (unsigned block = 0; block < TILE_KEYS / 8; ++block) {
#pragma unroll
        for (unsigned at = 0; at < 4; ++at) {
            scores[block][at] = softmax[at / 2].share(scores[block][at]);
            // A lane's own part; the four are added at the end.
            softmax[at / 2].sum += scores[block][at];
        }
    }
}

// sums += shares · values.
template <class T, unsigned P>
__device__ __forceinline__ void add_values(const float (&shares)[TILE_KEYS / 8][4], const T (&values)[TILE_KEYS][P + 8],
                                           float (&sums)[P / 8][4]) {
    const unsigned lane = threadIdx.x % LANES;
#pragma unroll
    for (unsigned part = 0; part < TILE_KEYS / 16; ++part) {
        // Sums of two blocks of 8 keys are laid out just as a left tile of 16 is.
        const float(&low)[4] = shares[part * 2];
        const float(&high)[4] = shares[part * 2 + 1];
        const uint32_t left[4] = {word_of<T>(low[0], low[1]), word_of<T>(low[2], low[3]), word_of<T>(high[0], high[1]),
                                  word_of<T>(high[2], high[3])};
#pragma unroll
        for (unsigned block = 0; block < P / 8; block += 2) {
            // 16 keys in two halves, of eight columns and the next.
            uint32_t words[4];
            load_transposed(&values[part * 16 + lane / 8 % 2 * 8 + lane % 8][(block + lane / 16) * 8], words);
            multiply_add(T{}, sums[block], left, {words[0], words[1]});
            multiply_add(T{}, sums[block + 1], left, {words[2], words[3]});
        }
    }
}

template <class T>
__device__ __forceinline__ void store_pair(float first, float second, T* row, unsigned column, unsigned width, bool wide) {
    if (wide && column < width) {
        const float both[2] = {first, second};
        store(both, row + column);
        return;
    }
    if (column < width) narrow(first, row[column]);
    if (column + 1 < width) narrow(second, row[column + 1]);
}

template <class T, unsigned P>
__device__ __forceinline__ void write_answers(const Attention<T>& attention, const Span& span, const Queries<P>& queries,
                                              const Softmax (&softmax)[2], const float (&sums)[P / 8][4]) {
    const bool wide = is_wide(attention.out, attention.width);
#pragma unroll
    for (unsigned row = 0; row < 2; ++row) {
        const float scale = 1.0f / quad_sum(softmax[row].sum);
        if (queries.rows[row] >= span.end) continue;
        T* to = attention.out_at(queries.rows[row], span.head);
#pragma unroll
        for (unsigned block = 0; block < P / 8; ++block) {
            const float first = sums[block][row * 2] * scale, second = sums[block][row * 2 + 1] * scale;
            store_pair(first, second, to, block * 8 + threadIdx.x % 4 * 2, attention.width, wide);
        }
    }
}

template <class T, unsigned P>
__device__ __forceinline__ void attend_by_tiles(const Attention<T>& attention, const unsigned* tiles) {
    TileShared<T, P>& memory = shared<TileShared<T, P>>();
    const Span span = span_of(tiles, attention.tokens, attention.reach);
    if (span.first == span.end) return;
    const Queries<P> queries = load_queries<T, P>(attention, span);
    Softmax softmax[2];
    float sums[P / 8][4] = {};
    copy_tile<T, P>(attention, span, 1, span.low, memory.keys);
    for (unsigned start = span.low; start < span.high; start += TILE_KEYS) {
        wait_for_copies();
        __syncthreads();
        copy_tile<T, P>(attention, span, 2, start, memory.values);
        float scores[TILE_KEYS / 8][4];
        // A short row leaves warps without queries; they still copy, and meet the others.
        if (queries.is_any) make_scores<T, P>(queries, memory.keys, scores);
        wait_for_copies();
        __syncthreads();
        if (start + TILE_KEYS < span.high) copy_tile<T, P>(attention, span, 1, start + TILE_KEYS, memory.keys);
        if (!queries.is_any) continue;
        make_shares<P>(queries, span, attention.reach, start, scores, softmax, sums);
        add_values<T, P>(scores, memory.values, sums);
    }
    if (queries.is_any) write_answers<T, P>(attention, span, queries, softmax, sums);
}
