// Products of matrices, of which the device is the host.
#include "driver.hpp"
#include "numbers.hpp"

API void cuda_host_tell(Stream* stream, Work* work);

namespace {

constexpr int NOT_SUPPORTED = 15;
// As CUDA numbers types, and cuBLAS what it computes in.
enum Type { SINGLE = 0, HALF = 2, BRAIN = 14 };
constexpr int COMPUTE_HALF = 64;

int handle;
Stream* current;

float read(const void* numbers, int type, size_t at) {
    if (type == SINGLE) return static_cast<const float*>(numbers)[at];
    if (type == HALF) return static_cast<const F16*>(numbers)[at];
    return static_cast<const Bf16*>(numbers)[at];
}

void write(void* numbers, int type, size_t at, float value) {
    if (type == SINGLE) {
        static_cast<float*>(numbers)[at] = value;
    } else if (type == HALF) {
        static_cast<F16*>(numbers)[at] = static_cast<F16>(value);
    } else {
        static_cast<Bf16*>(numbers)[at] = value;
    }
}

// One of the factors: `rows` by `columns`, column by column, or as it lies if it is not turned.
struct Factor {
    const void* numbers;
    int type;
    size_t step;
    bool is_turned;

    std::vector<float> columns(size_t begin, size_t rows, size_t count) const {
        std::vector<float> all(rows * count);
        for (size_t column = 0; column < count; ++column)
            for (size_t row = 0; row < rows; ++row)
                all[column * rows + row] = read(numbers, type, begin + (is_turned ? row * step + column : column * step + row));
        return all;
    }
};

struct Product {
    void* numbers;
    int type;
    size_t step;
};

// `left · right · factor`, `rows` by `columns` over `inner`.
void multiply(const std::vector<float>& left, const std::vector<float>& right, size_t rows, size_t columns, size_t inner, float factor,
              const Product& product, size_t begin) {
    std::vector<float> sums(rows);
    for (size_t column = 0; column < columns; ++column) {
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (size_t at = 0; at < inner; ++at) {
            const float share = right[column * inner + at];
            for (size_t row = 0; row < rows; ++row) sums[row] += left[at * rows + row] * share;
        }
        for (size_t row = 0; row < rows; ++row) write(product.numbers, product.type, begin + column * product.step + row, factor * sums[row]);
    }
}

float scalar(const void* number, int compute) { return read(number, compute == COMPUTE_HALF ? HALF : SINGLE, 0); }

}  // namespace

API int cublasCreate_v2(void** created) {
    *created = &handle;
    return 0;
}

API int cublasDestroy_v2(void*) { return 0; }

API int cublasSetStream_v2(void*, Stream* stream) {
    current = stream;
    return 0;
}

API int cublasDgemmStridedBatched() { return NOT_SUPPORTED; }

API int cublasGemmStridedBatchedEx(void*, int turns_left, int turns_right, int rows, int columns, int inner, const void* factor,
                                   const void* left, int left_type, int left_step, long long left_next, const void* right,
                                   int right_type, int right_step, long long right_next, const void* kept, void* product,
                                   int product_type, int product_step, long long product_next, int count, int compute, int) {
    if (scalar(kept, compute) != 0) return NOT_SUPPORTED;
    const Factor a = {left, left_type, static_cast<size_t>(left_step), turns_left != 0};
    const Factor b = {right, right_type, static_cast<size_t>(right_step), turns_right != 0};
    const Product c = {product, product_type, static_cast<size_t>(product_step)};
    const float times = scalar(factor, compute);
    const size_t m = static_cast<size_t>(rows), n = static_cast<size_t>(columns), k = static_cast<size_t>(inner);
    Work work = [=] {
        for (size_t at = 0; at < static_cast<size_t>(count); ++at) {
            const auto begin = [at](long long next) { return at * static_cast<size_t>(next); };
            multiply(a.columns(begin(left_next), m, k), b.columns(begin(right_next), k, n), m, n, k, times, c, begin(product_next));
        }
    };
    cuda_host_tell(current, &work);
    return 0;
}
