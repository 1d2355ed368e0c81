// Ragged rows of ids, laid out in slots, with the position and the row of each. The meaning: `pack.rs`.
#include "base.cuh"

namespace {

// The last of `rows` that begins at `slot` or before; `rows` if none does, or the last has ended.
__device__ __forceinline__ unsigned row_of(const unsigned* starts, unsigned rows, unsigned slot) {
    if (slot < starts[0] || slot >= starts[rows]) return rows;
    unsigned low = 0, high = rows;
    while (high - low > 1) {
        const unsigned middle = low + (high - low) / 2;
        if (starts[middle] <= slot) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

}  // namespace

KERNEL pack(const unsigned* ids, const unsigned* offsets, const unsigned* order, const unsigned* starts, unsigned id_count,
            unsigned rows, unsigned slots, unsigned padding, unsigned first_position, unsigned* out, unsigned* positions,
            unsigned* row_numbers) {
    const unsigned slot = blockIdx.x * blockDim.x + threadIdx.x;
    if (slot >= slots) return;
    unsigned id = padding, position = 0, row = row_of(starts, rows, slot);
    const unsigned source = row < rows ? order[row] : NONE;
    if (source < rows) {
        const unsigned at = slot - starts[row], from = offsets[source], end = offsets[source + 1];
        // In this order nothing wraps, whatever the offsets are.
        const bool is_there = from <= end && at < end - from && end <= id_count;
        id = is_there ? ids[from + at] : padding;
        position = is_there ? first_position + at : 0;
        row = is_there ? row : rows;
    } else {
        row = rows;
    }
    out[slot] = id;
    positions[slot] = position;
    row_numbers[slot] = row;
}
REGISTER(pack)
