// Attention within rows of any lengths. The meaning: `attend.rs`.
#include "attend_exact.cuh"
#include "attend_tiles.cuh"

namespace {

template <unsigned P>
__device__ __forceinline__ void attend(const Attention<f32>& attention, const unsigned* tiles) {
    attend_exactly<P>(attention, tiles);
}

template <unsigned P, class T>
__device__ __forceinline__ void attend(const Attention<T>& attention, const unsigned* tiles) {
    attend_by_tiles<T, P>(attention, tiles);
}

}  // namespace

#define ATTEND(T, P)                                                                                                  \
    KERNEL __launch_bounds__(ATTEND_THREADS)                                                                          \
        attend_##T##_##P(const T* qkv, const unsigned* tiles, unsigned tokens, unsigned heads, unsigned width,        \
                         unsigned reach, T* out) {                                                                    \
        attend<P>(Attention<T>{qkv, out, tokens, heads, width, reach}, tiles);                                        \
    }                                                                                                                 \
    REGISTER(attend_##T##_##P)

#define ATTEND_WIDTHS(T) ATTEND(T, 16) ATTEND(T, 32) ATTEND(T, 64) ATTEND(T, 96) ATTEND(T, 128)

ATTEND_WIDTHS(f32)
ATTEND_WIDTHS(f16)
ATTEND_WIDTHS(bf16)
#undef ATTEND_WIDTHS
#undef ATTEND
