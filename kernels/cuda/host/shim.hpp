// What CUDA C++ has beyond C++, for a host compiler: qualifiers, indices, barriers, and the numbers of 16 bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "fibers.hpp"

#define __device__
#define __forceinline__ inline
#define __global__
#define __launch_bounds__(...)

#define threadIdx (host::thread_index())
#define blockIdx (host::block_index())
#define blockDim (host::block_dim())
#define gridDim (host::grid_dim())

inline void __syncthreads() { host::barrier(); }
inline void __syncwarp() { host::exchange("__syncwarp", "", 0); }

namespace host {

// A kernel as a launch finds it: by name, with a pointer to each parameter.
using Entry = void (*)(void* const* parameters);
std::unordered_map<std::string, std::pair<Entry, size_t>>& entries();

template <auto kernel, class... Parameters, size_t... at>
void call(void* const* parameters, std::index_sequence<at...>) {
    std::tuple<Parameters...> values;
    // As a driver does: as many bytes as the parameter has, from wherever they are.
    (std::memcpy(&std::get<at>(values), parameters[at], sizeof(Parameters)), ...);
    kernel(std::get<at>(values)...);
}

template <auto kernel, class... Parameters>
bool add_entry(const char* name, void (*)(Parameters...)) {
    Entry entry = [](void* const* parameters) {
        call<kernel, Parameters...>(parameters, std::index_sequence_for<Parameters...>{});
    };
    return entries().emplace(name, std::make_pair(entry, sizeof...(Parameters))).second;
}

template <class Value>
Value shuffle_xor(const Value& value, unsigned mask) {
    const unsigned char* all = exchange("shuffle_xor", &value, sizeof value);
    Value other;
    std::memcpy(&other, all + (lane() ^ mask) * SLOT_BYTES, sizeof other);
    return other;
}

inline uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Drops the `count` lowest bits, to the nearest, ties to even.
inline uint32_t round_bits(uint32_t bits, unsigned count) {
    const uint32_t half = (1u << (count - 1)) - 1;
    return (bits + half + ((bits >> count) & 1)) >> count;
}

inline float f16_to_float(uint16_t bits) {
    const uint32_t sign = (bits & 0x8000u) << 16;
    const uint32_t rest = bits & 0x7fffu;
    if (rest >= 0x7c00u) return float_of(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    // The exponent's bias differs by 112; a product with 2^112 moves it, and normalises what is below 2^-14.
    const float magnitude = float_of(rest << 13) * 0x1p112f;
    return float_of(sign | bits_of(magnitude));
}

inline uint16_t f16_from_float(float value) {
    const uint32_t bits = bits_of(value);
    const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
    const uint32_t rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return 0x7fff;
    if (rest >= 0x47800000u) return sign | 0x7c00u;
    if (rest < 0x38800000u) {
        // Below 2^-14, steps are 2^-24: added to 0.5, whose steps in f32 are just these, the number is rounded to them.
        const uint32_t steps = bits_of(float_of(rest) + 0.5f) - bits_of(0.5f);
        return static_cast<uint16_t>(sign | steps);
    }
    return static_cast<uint16_t>(sign | round_bits(rest - (112u << 23), 13));
}

inline float bf16_to_float(uint16_t bits) { return float_of(static_cast<uint32_t>(bits) << 16); }

inline uint16_t bf16_from_float(float value) {
    if (value != value) return 0x7fff;
    return static_cast<uint16_t>(round_bits(bits_of(value), 16));
}

}  // namespace host

inline unsigned min(unsigned left, unsigned right) { return left < right ? left : right; }
inline unsigned max(unsigned left, unsigned right) { return left > right ? left : right; }
