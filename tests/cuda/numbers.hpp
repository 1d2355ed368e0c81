// Numbers of 16 bits, which the host computes with in 32.
#pragma once

#include <cstdint>
#include <cstring>

using F16 = _Float16;

struct Bf16 {
    uint16_t bits;
    Bf16(float value = 0) {
        uint32_t wide;
        std::memcpy(&wide, &value, sizeof wide);
        // To the nearest, ties to even; NaN stays one.
        if (value == value) wide += 0x7fff + (wide >> 16 & 1);
        bits = static_cast<uint16_t>(wide >> 16);
    }
    operator float() const {
        const uint32_t wide = uint32_t{bits} << 16;
        float value;
        std::memcpy(&value, &wide, sizeof value);
        return value;
    }
};
