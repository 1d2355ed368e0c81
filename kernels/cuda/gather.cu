// Rows of a table, by their indices. The meaning: `gather.rs`. Numbers are moved as bits, so that one kernel serves each size.
#include "base.cuh"

namespace {

constexpr unsigned GATHER_ROWS = 4;

// One warp moves one row, in units of `U`. A row that is not there is zeros.
template <class U>
__device__ __forceinline__ void gather_row(const U* from, U* to, unsigned units) {
    for (unsigned at = threadIdx.x % LANES; at < units; at += LANES) to[at] = from ? from[at] : U{};
}

template <class U>
__device__ __forceinline__ void gather(const U* table, const unsigned* indices, unsigned entries, unsigned count,
                                       unsigned width, U* out) {
    using Wide = Pack<U, WIDE<U>>;
    const unsigned row = blockIdx.x * GATHER_ROWS + threadIdx.x / LANES;
    if (row >= count) return;
    const unsigned index = indices[row];
    const U* from = index < entries ? table + static_cast<size_t>(index) * width : nullptr;
    U* to = out + static_cast<size_t>(row) * width;
    if (is_wide(table, width) && is_wide(out, width)) {
        gather_row(reinterpret_cast<const Wide*>(from), reinterpret_cast<Wide*>(to), width / WIDE<U>);
    } else {
        gather_row(from, to, width);
    }
}

}  // namespace

#define GATHER(BITS)                                                                                                  \
    KERNEL __launch_bounds__(GATHER_ROWS* LANES)                                                                      \
        gather_##BITS(const uint##BITS##_t* table, const unsigned* indices, unsigned entries, unsigned count,         \
                      unsigned width, uint##BITS##_t* out) {                                                          \
        gather(table, indices, entries, count, width, out);                                                           \
    }                                                                                                                 \
    REGISTER(gather_##BITS)

GATHER(16)
GATHER(32)
#undef GATHER
