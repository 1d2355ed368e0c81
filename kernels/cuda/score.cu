// What a classifier's logits say: the class, its probability, margin and entropy, and the bin of the confidence's histogram, in
// one pass over the numbers. The meaning: `score.rs`.
#include "base.cuh"

namespace {

constexpr unsigned SCORE_WARPS_MAX = 8;
constexpr float LN_2 = 0.69314718f;

// Of some of a row's logits: the largest, the largest of the others, and sums relative to the largest.
struct Part {
    float top;
    float second;
    unsigned column;
    // Of `e^d`, and of `d · e^d`, where `d` is how far a logit is below the largest, sharpened.
    float sum;
    float weighted;
    // Was there a NaN, or +infinity?
    unsigned is_unsound;
};

struct ScoreShared {
    Part parts[SCORE_WARPS_MAX];
};

// How far `value` is below `top`, sharpened. A difference beyond f32 is so far, however little it is sharpened, that nothing is left.
__device__ __forceinline__ float below(float value, float top, float sharpness) {
    return (value - top) * sharpness;
}

// Moves sums to a largest that is `distance` above: -infinity leaves nothing of them.
__device__ __forceinline__ void rescale(Part& part, float distance) {
    const float factor = expf(distance);
    if (factor > 0.0f) {
        part.weighted = factor * (part.weighted + distance * part.sum);
        part.sum *= factor;
    } else {
        part.weighted = part.sum = 0.0f;
    }
}

__device__ __forceinline__ Part join(Part left, Part right, float sharpness) {
    const unsigned is_unsound = left.is_unsound | right.is_unsound;
    // Of equals, the first.
    if (right.top > left.top || (right.top == left.top && right.column < left.column)) {
        const Part other = left;
        left = right;
        right = other;
    }
    left.second = fmaxf(left.second, right.top);
    left.is_unsound = is_unsound;
    if (right.top > -infinity()) {
        rescale(right, below(right.top, left.top, sharpness));
        left.sum += right.sum;
        left.weighted += right.weighted;
    }
    return left;
}

template <class T>
__device__ __forceinline__ Part part_of(const T* row, unsigned columns, float sharpness) {
    Part part = {-infinity(), -infinity(), NONE, 0.0f, 0.0f, 0};
    for (unsigned column = threadIdx.x; column < columns; column += blockDim.x) {
        const float value = widen(row[column]);
        const Part one = {value, -infinity(), column, 1.0f, 0.0f, 0};
        if (!(value < infinity())) {
            part.is_unsound = 1;
        } else if (value > -infinity()) {
            part = join(part, one, sharpness);
        }
    }
    return part;
}

// Of the whole row, the same in each thread.
__device__ __forceinline__ Part joined(Part part, float sharpness) {
#pragma unroll
    for (unsigned mask = LANES / 2; mask > 0; mask /= 2) part = join(part, shuffle_xor(part, mask), sharpness);
    ScoreShared& memory = shared<ScoreShared>();
    if (threadIdx.x % LANES == 0) memory.parts[threadIdx.x / LANES] = part;
    __syncthreads();
    part = memory.parts[0];
    for (unsigned warp = 1; warp < blockDim.x / LANES; ++warp) part = join(part, memory.parts[warp], sharpness);
    return part;
}

struct Score {
    unsigned column;
    float confidence, margin, entropy;
};

__device__ __forceinline__ Score score_of(const Part& part, unsigned columns, float sharpness) {
    const float runner_up = expf(below(part.second, part.top, sharpness));
    const float entropy = logf(part.sum) - part.weighted / part.sum;
    return {part.column, 1.0f / part.sum, (1.0f - runner_up) / part.sum, entropy / logf(static_cast<float>(columns))};
}

// A single logit is that of the second of two classes.
__device__ __forceinline__ Score score_of_single(float logit, float sharpness) {
    const float distance = fabsf(logit * sharpness);
    const float odds = expf(-distance);
    const float confidence = 1.0f / (1.0f + odds);
    const float rest = odds > 0.0f ? distance * odds * confidence : 0.0f;
    return {logit > 0.0f ? 1u : 0u, confidence, (1.0f - odds) * confidence, (log1pf(odds) + rest) / LN_2};
}

__device__ __forceinline__ float unit(float value) { return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value; }

// How many bounds lie below: a bin holds what is at most its own bound.
__device__ __forceinline__ unsigned bin_of(float confidence, const double* bounds, unsigned count) {
    unsigned bin = 0;
    while (bin < count && bounds[bin] < static_cast<double>(confidence)) ++bin;
    return bin;
}

// Where each confidence's bin goes; nowhere if `bins` is null.
struct Histogram {
    const double* bounds;
    unsigned count;
    unsigned* bins;
};

__device__ __forceinline__ void write_score(Score score, bool is_sound, unsigned* label, float* measures) {
    const float confidence = unit(score.confidence);
    *label = is_sound ? score.column : NONE;
    measures[0] = is_sound ? confidence : not_a_number();
    measures[1] = is_sound ? unit(score.margin) : not_a_number();
    measures[2] = is_sound ? unit(score.entropy) : not_a_number();
}

template <class T>
__device__ __forceinline__ void score(const T* logits, unsigned columns, float sharpness, unsigned* classes,
                                      float* measures, float* probabilities, Histogram histogram) {
    const size_t number = blockIdx.x;
    const T* row = logits + number * columns;
    const Part part = joined(part_of(row, columns, sharpness), sharpness);
    const bool is_sound = !part.is_unsound && part.top > -infinity();
    if (threadIdx.x == 0) {
        const Score found = columns == 1 ? score_of_single(part.top, sharpness) : score_of(part, columns, sharpness);
        write_score(found, is_sound, classes + number, measures + number * 3);
        if (histogram.bins) {
            const unsigned bin = bin_of(unit(found.confidence), histogram.bounds, histogram.count);
            histogram.bins[number] = is_sound ? bin : NONE;
        }
    }
    if (!probabilities) return;
    for (unsigned column = threadIdx.x; column < columns; column += blockDim.x) {
        const float share = expf(below(widen(row[column]), part.top, sharpness)) / part.sum;
        const float single = 1.0f / (1.0f + expf(-part.top * sharpness));
        probabilities[number * columns + column] = !is_sound ? not_a_number() : columns == 1 ? single : share;
    }
}

}  // namespace

#define SCORE(T)                                                                                                      \
    KERNEL __launch_bounds__(SCORE_WARPS_MAX* LANES)                                                                  \
        score_##T(const T* logits, unsigned columns, float sharpness, unsigned* classes, float* measures,             \
                  float* probabilities, const double* bounds, unsigned bound_count, unsigned* bins) {                 \
        score(logits, columns, sharpness, classes, measures, probabilities, {bounds, bound_count, bins});             \
    }                                                                                                                 \
    REGISTER(score_##T)

SCORE(f32)
SCORE(f16)
SCORE(bf16)
#undef SCORE
