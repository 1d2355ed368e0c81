// What all kernels share: numbers of three types, packs of 16 bytes, reductions within a warp, and how a kernel is named.
//
// The same sources are compiled for a device by nvcc, and for the host under `host/shim.hpp`.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#else
#include "host/shim.hpp"
#endif

constexpr unsigned LANES = 32;
constexpr unsigned NONE = 0xffffffffu;

using f32 = float;
struct f16 {
    uint16_t bits;
};
struct bf16 {
    uint16_t bits;
};

// A number of another type is computed with in f32.
__device__ __forceinline__ float widen(f32 value) { return value; }

#ifdef __CUDACC__

__device__ __forceinline__ float widen(f16 value) { return __half2float(__ushort_as_half(value.bits)); }
__device__ __forceinline__ float widen(bf16 value) { return __bfloat162float(__ushort_as_bfloat16(value.bits)); }
__device__ __forceinline__ void narrow(float value, f16& to) { to.bits = __half_as_ushort(__float2half_rn(value)); }
__device__ __forceinline__ void narrow(float value, bf16& to) {
    to.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

// Memory that the threads of a block share, as large as it was launched with. The host's build checks that.
template <class S>
__device__ __forceinline__ S& shared(size_t = sizeof(S)) {
    extern __shared__ __align__(16) unsigned char shared_bytes[];
    return *reinterpret_cast<S*>(shared_bytes);
}

// The value of the lane whose number differs in the bits of `mask`.
template <class Value>
__device__ __forceinline__ Value shuffle_xor(Value value, unsigned mask) {
    static_assert(sizeof(Value) % 4 == 0, "words are exchanged");
    union {
        Value value;
        uint32_t words[sizeof(Value) / 4];
    } both = {value};
#pragma unroll
    for (unsigned at = 0; at < sizeof(Value) / 4; ++at) both.words[at] = __shfl_xor_sync(NONE, both.words[at], mask);
    return both.value;
}

#define REGISTER(name)

#else

inline float widen(f16 value) { return host::f16_to_float(value.bits); }
inline float widen(bf16 value) { return host::bf16_to_float(value.bits); }
inline void narrow(float value, f16& to) { to.bits = host::f16_from_float(value); }
inline void narrow(float value, bf16& to) { to.bits = host::bf16_from_float(value); }

template <class S>
S& shared(size_t bytes = sizeof(S)) {
    return *static_cast<S*>(host::shared(bytes));
}

using host::shuffle_xor;

#define REGISTER(name) [[maybe_unused]] static const bool registered_##name = host::add_entry<name>(#name, name);

#endif

__device__ __forceinline__ void narrow(float value, f32& to) { to = value; }

// A kernel that a launch finds by its name.
#define KERNEL extern "C" __global__ void

__device__ __forceinline__ float infinity() { return INFINITY; }
__device__ __forceinline__ float not_a_number() { return NAN; }

// As many numbers as are read or written at once.
template <class T>
constexpr unsigned WIDE = 16 / sizeof(T);

template <class T, unsigned N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
    T at[N];
};

template <class T, unsigned N>
__device__ __forceinline__ void load(const T* from, float (&to)[N]) {
    const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
    for (unsigned at = 0; at < N; ++at) to[at] = widen(pack.at[at]);
}

template <class T, unsigned N>
__device__ __forceinline__ void store(const float (&from)[N], T* to) {
    Pack<T, N> pack;
#pragma unroll
    for (unsigned at = 0; at < N; ++at) narrow(from[at], pack.at[at]);
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// Can all rows of `width` numbers that begin at `first` be read in packs of 16 bytes?
template <class T>
__device__ __forceinline__ bool is_wide(const T* first, unsigned width) {
    return width % WIDE<T> == 0 && reinterpret_cast<uintptr_t>(first) % 16 == 0;
}

// The sum of the values of all lanes, the same in each.
template <class Value>
__device__ __forceinline__ Value warp_sum(Value value) {
#pragma unroll
    for (unsigned mask = LANES / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
    return value;
}
