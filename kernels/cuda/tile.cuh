// What a warp does with tiles of f16 and bf16: tensor cores on a device, plain loops on the host (`host/tile.hpp`).
//
// The contract is the instruction set's. Lane l has group g = l / 4 and pair p = 2 · (l % 4). A word holds two numbers, the first in
// its lower half. Of a left tile, 16 x 16, the lane holds (g, p..), (g + 8, p..), (g, p + 8..), (g + 8, p + 8..); of a right one,
// 16 x 8, rows p.. and p + 8.. of column g; of the sums, 16 x 8 in f32, (g, p), (g, p + 1), (g + 8, p), (g + 8, p + 1).
#pragma once

#include "base.cuh"

#ifdef __CUDACC__

// sums += left · right.
__device__ __forceinline__ void multiply_add(f16, float (&sums)[4], const uint32_t (&left)[4], const uint32_t (&right)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
}

__device__ __forceinline__ void multiply_add(bf16, float (&sums)[4], const uint32_t (&left)[4], const uint32_t (&right)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
}

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Four matrices of 8 x 8 numbers, of which lanes 0..8, 8..16, 16..24 and 24..32 point to the rows. A lane gets (g, p..) of each.
__device__ __forceinline__ void load_matrices(const void* row, uint32_t (&out)[4]) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same, but a lane gets (p, g) and (p + 1, g) of each.
__device__ __forceinline__ void load_transposed(const void* row, uint32_t (&out)[4]) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// 16 bytes into shared memory, there after `wait_for_copies`. Past the first-level cache: each is read once.
__device__ __forceinline__ void copy_later(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

#else

#include "host/tile.hpp"

template <class T>
void multiply_add(T, float (&sums)[4], const uint32_t (&left)[4], const uint32_t (&right)[2]) {
    host::multiply_add<T>(sums, left, right);
}
inline void load_matrices(const void* row, uint32_t (&out)[4]) { host::load_matrices(row, false, out); }
inline void load_transposed(const void* row, uint32_t (&out)[4]) { host::load_matrices(row, true, out); }
using host::copy_later;
using host::wait_for_copies;

#endif

// Two numbers in a word.
template <class T>
__device__ __forceinline__ uint32_t word_of(T first, T second) {
    return first.bits | static_cast<uint32_t>(second.bits) << 16;
}

template <class T>
__device__ __forceinline__ uint32_t word_of(float first, float second) {
    T numbers[2];
    narrow(first, numbers[0]);
    narrow(second, numbers[1]);
    return word_of(numbers[0], numbers[1]);
}

// The two numbers at a multiple of 4 bytes.
template <class T>
__device__ __forceinline__ uint32_t word_at(const T* numbers) {
    const Pack<T, 2> pack = *reinterpret_cast<const Pack<T, 2>*>(numbers);
    return word_of(pack.at[0], pack.at[1]);
}
