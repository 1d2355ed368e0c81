// The warp's operations on tiles, as the instruction set defines them, one number after the other: what stands in for tensor cores
// on the host. The layouts of fragments are those of `mma.m16n8k16` and `ldmatrix`, so that a kernel's indices are tested too.
#pragma once

#include "shim.hpp"

namespace host {

// The `at`-th number of those that the words of a lane hold.
template <class T>
float element(const unsigned char* words, unsigned at) {
    T number;
    std::memcpy(&number, words + at * sizeof(T), sizeof number);
    return widen(number);
}

template <class T>
void multiply_add(float (&sums)[4], const uint32_t (&left)[4], const uint32_t (&right)[2]) {
    unsigned char mine[24];
    std::memcpy(mine, left, 16);
    std::memcpy(mine + 16, right, 8);
    const unsigned char* all = exchange("multiply_add", mine, sizeof mine);
    const unsigned group = lane() / 4, column = lane() % 4 * 2;
    for (unsigned at = 0; at < 4; ++at) {
        const unsigned row = group + at / 2 * 8, other = column + at % 2;
        for (unsigned k = 0; k < 16; ++k) {
            // Left: of a lane's 8 numbers, pairs of (row, k), (row + 8, k), (row, k + 8), (row + 8, k + 8).
            const unsigned char* lefts = all + (row % 8 * 4 + k % 8 / 2) * SLOT_BYTES;
            const float x = element<T>(lefts, k % 2 + row / 8 * 2 + k / 8 * 4);
            // Right: of a lane's 4, pairs of (k, column), (k + 8, column).
            const unsigned char* rights = all + (other * 4 + k % 8 / 2) * SLOT_BYTES + 16;
            sums[at] += x * element<T>(rights, k % 2 + k / 8 * 2);
        }
    }
}

// The number at `row` and `column` of the 8 x 8 matrix whose rows 8 lanes point to.
inline uint16_t matrix_element(const unsigned char* all, unsigned matrix, unsigned row, unsigned column) {
    const unsigned char* address;
    std::memcpy(&address, all + (matrix * 8 + row) * SLOT_BYTES, sizeof address);
    uint16_t bits;
    std::memcpy(&bits, address + column * sizeof bits, sizeof bits);
    return bits;
}

inline void load_matrices(const void* row, bool transposed, uint32_t (&out)[4]) {
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fail("a row of a matrix is not at a multiple of 16 bytes");
    const unsigned char* all = exchange(transposed ? "load_transposed" : "load", &row, sizeof row);
    const unsigned group = lane() / 4, pair = lane() % 4 * 2;
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
        uint32_t both[2];
        for (unsigned at = 0; at < 2; ++at) {
            both[at] = transposed ? matrix_element(all, matrix, pair + at, group)
                                  : matrix_element(all, matrix, group, pair + at);
        }
        out[matrix] = both[0] | both[1] << 16;
    }
}

}  // namespace host
