// Rotary positions, in place. The meaning: `rotate.rs`.
//
// A pass of its own: in the attention's loads each key would be turned once for every tile of queries, and copies into shared
// memory could not be asynchronous.
#include "base.cuh"

namespace {

// `pairs` of all queries and keys, `half` for each head.
template <class T>
__device__ __forceinline__ void rotate(T* qkv, const unsigned* positions, const float* cosines, const float* sines,
                                       unsigned position_count, unsigned pairs, unsigned heads, unsigned half) {
    for (size_t at = blockIdx.x * blockDim.x + threadIdx.x; at < pairs; at += gridDim.x * blockDim.x) {
        const unsigned pair = static_cast<unsigned>(at), column = pair % half, head = pair / half;
        // Queries and keys are the first two thirds of a token's numbers.
        const unsigned token = head / (2 * heads), of_token = head % (2 * heads);
        T* first = qkv + (static_cast<size_t>(token) * 3 * heads + of_token) * 2 * half + column;
        const unsigned position = positions[token];
        const bool is_there = position < position_count;
        const size_t angle = static_cast<size_t>(is_there ? position : 0) * half + column;
        const float cosine = is_there ? cosines[angle] : not_a_number(), sine = sines[angle];
        const float x = widen(first[0]), y = widen(first[half]);
        narrow(x * cosine - y * sine, first[0]);
        narrow(x * sine + y * cosine, first[half]);
    }
}

}  // namespace

#define ROTATE(T)                                                                                                     \
    KERNEL rotate_##T(T* qkv, const unsigned* positions, const float* cosines, const float* sines,                    \
                      unsigned position_count, unsigned pairs, unsigned heads, unsigned half) {                       \
        rotate(qkv, positions, cosines, sines, position_count, pairs, heads, half);                                   \
    }                                                                                                                 \
    REGISTER(rotate_##T)

ROTATE(f32)
ROTATE(f16)
ROTATE(bf16)
#undef ROTATE
