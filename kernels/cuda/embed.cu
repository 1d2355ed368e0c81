// Sums of rows of up to three tables, normalised. The meaning: `embed.rs`.
#include "norm.cuh"

namespace {

constexpr unsigned TABLES = 3;

// Rows of tables, of which the first is there; a null one adds nothing.
template <class T>
struct SumOfEntries {
    const T* entries[TABLES];
    // An index that its table does not have makes the row NaN: a fault that shows, where an address outside would end the process.
    bool is_outside;

    template <unsigned N>
    __device__ __forceinline__ void load(unsigned column, float (&to)[N]) const {
#pragma unroll
        for (unsigned at = 0; at < N; ++at) to[at] = is_outside ? not_a_number() : 0.0f;
        if (is_outside) return;
#pragma unroll
        for (unsigned table = 0; table < TABLES; ++table) {
            if (!entries[table]) continue;
            float more[N];
            ::load(entries[table] + column, more);
#pragma unroll
            for (unsigned at = 0; at < N; ++at) to[at] += more[at];
        }
    }
};

template <class T>
struct Table {
    const T* entries;
    const unsigned* indices;
    unsigned size;
};

template <class T>
__device__ __forceinline__ void embed(const Table<T> (&tables)[TABLES], const float* weight, const float* bias, float eps,
                                      unsigned tokens, unsigned width, T* out) {
    const unsigned token = blockIdx.x * NORM_ROWS + threadIdx.x / LANES;
    if (token >= tokens) return;
    SumOfEntries<T> source = {};
    bool wide = is_wide(out, width);
#pragma unroll
    for (unsigned at = 0; at < TABLES; ++at) {
        if (!tables[at].entries) continue;
        const unsigned index = tables[at].indices[token];
        const bool is_there = index < tables[at].size;
        source.is_outside |= !is_there;
        source.entries[at] = tables[at].entries + static_cast<size_t>(is_there ? index : 0) * width;
        wide &= is_wide(tables[at].entries, width);
    }
    const NormTarget<T> target = {weight, bias, eps, nullptr, out + static_cast<size_t>(token) * width};
    normalise(source, width, wide, target);
}

}  // namespace

#define EMBED(T)                                                                                                      \
    KERNEL __launch_bounds__(NORM_ROWS* LANES)                                                                        \
        embed_##T(const T* words, const unsigned* word, unsigned word_count, const T* types, const unsigned* type,    \
                  unsigned type_count, const T* positions, const unsigned* position, unsigned position_count,         \
                  const float* weight, const float* bias, float eps, unsigned tokens, unsigned width, T* out) {       \
        const Table<T> tables[TABLES] = {                                                                             \
            {words, word, word_count}, {types, type, type_count}, {positions, position, position_count}};             \
        embed(tables, weight, bias, eps, tokens, width, out);                                                         \
    }                                                                                                                 \
    REGISTER(embed_##T)

EMBED(f32)
EMBED(f16)
EMBED(bf16)
#undef EMBED
