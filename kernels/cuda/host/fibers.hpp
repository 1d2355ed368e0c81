// Runs a kernel's blocks on the host: each thread of a block is a fiber, so that barriers and warp collectives stand where they
// stand on a device. What a device would hang on, or silently get wrong, ends the launch with an error instead.
#pragma once

#include <cstddef>

namespace host {

struct Dim {
    unsigned x, y, z;
};

constexpr unsigned WARP = 32;
// What a thread can put before its warp at once.
constexpr size_t SLOT_BYTES = 64;

// Runs one launch. `body` is what each thread does. Returns null, or what went wrong.
//
// `descending` runs the threads of a block in the other order: what depends on an order that no barrier gives, differs.
struct Launch {
    Dim grid;
    Dim block;
    size_t shared;
    bool descending;
    void (*body)(void*);
    void* argument;
};
const char* run(const Launch& launch);

// Of the thread that asks.
Dim thread_index();
Dim block_index();
Dim block_dim();
Dim grid_dim();
unsigned lane();

// All threads of the block arrive before any goes on.
void barrier();

// All lanes of the warp put `size` bytes before each other. Returns those of all lanes, `SLOT_BYTES` apart, until the next but
// one exchange. `what` names the collective: lanes that meet in different ones are an error.
const unsigned char* exchange(const char* what, const void* mine, size_t size);

// The block's shared memory, of which `size` bytes are wanted.
void* shared(size_t size);

// Copies 16 bytes, but not before `wait_for_copies`.
void copy_later(void* to, const void* from);
void wait_for_copies();

// Ends the launch with this error.
[[noreturn]] void fail(const char* message);

}  // namespace host
