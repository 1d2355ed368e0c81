// Kernels with the faults that the host's build is there to find. They run in its own tests alone.
#pragma once

#include "../base.cuh"

// Half of the threads leave before the barrier.
KERNEL fault_absent_threads(unsigned* out) {
    if (threadIdx.x % 2 == 0) return;
    __syncthreads();
    out[threadIdx.x] = 0;
}
REGISTER(fault_absent_threads)

// Lanes meet in different collectives.
KERNEL fault_different_collectives(unsigned* out) {
    if (threadIdx.x % 2 == 0) {
        __syncwarp();
    } else {
        out[threadIdx.x] = shuffle_xor(1u, 1);
    }
}
REGISTER(fault_different_collectives)

// Each thread reads what its neighbour writes, without a barrier between.
KERNEL fault_missing_barrier(unsigned* out) {
    unsigned(&numbers)[64] = shared<unsigned[64]>();
    numbers[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = numbers[(threadIdx.x + 1) % 64];
}
REGISTER(fault_missing_barrier)

// A thread ends before its copy has been made.
KERNEL fault_lost_copies(unsigned* out) {
    copy_later(shared<unsigned[64]>(), out);
}
REGISTER(fault_lost_copies)
